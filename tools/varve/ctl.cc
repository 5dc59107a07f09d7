// varve ctl: tells a running export (nbdkit varve control=SOCKET) to take, apply, delete or list
// snapshots of the image it serves.

#include <cerrno>
#include <ctime>

#include <sys/socket.h>
#include <unistd.h>

#include "control/protocol.h"
#include "control/socket_address.h"
#include "json_text.h"
#include "messages.h"
#include "own_verb.h"
#include "verbs.h"

#include <CLI/CLI.hpp>

namespace varve::tool {

namespace {

class Connection {
 public:
  Connection() : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Connection() { ::close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // False: errno says why.
  bool connect(const std::string& path) {
    control::SocketAddress address;
    return address.set(path) && address.connect(fd_);
  }
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EINTR) {
        return false;
      }
      text.remove_prefix(sent < 0 ? 0 : static_cast<std::size_t>(sent));
    }
    return true;
  }
  // A line without its end; nothing where the other side has gone before.
  std::optional<std::string> receive_line() {
    std::string text;
    char piece[4096];
    while (text.empty() || text.back() != '\n') {
      const ssize_t count = ::recv(fd_, piece, sizeof(piece), 0);
      if (count == 0 || (count < 0 && errno != EINTR)) {
        return std::nullopt;
      }
      text.append(piece, count < 0 ? 0 : static_cast<std::size_t>(count));
    }
    text.pop_back();
    return text;
  }

 private:
  int fd_;
};

double milliseconds(std::uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e6;
}

void print_answer(const control::Command& command, const control::Done& done) {
  if (command.verb == control::Verb::create) {
    print("snapshot {} '{}' {}", done.id, command.snapshot, done.uuid);
  } else {
    print("{} '{}' done", control::verb_name(command.verb), command.snapshot);
  }
  print(", pause {:.3f} ms, total {:.3f} ms\n", milliseconds(done.pause), milliseconds(done.total));
}

void print_answer(const control::Command&, const std::vector<control::Listed>& list) {
  for (const control::Listed& one : list) {
    const auto seconds = static_cast<std::time_t>(one.date_seconds);
    std::tm local{};
    char date[32] = "";
    std::strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &local));
    print("{:<5} {}  {:<36}  {}\n", one.id, date, one.uuid, one.name);
  }
}

void print_answer(const control::Command&, const control::Status& status) {
  print("image: {}\ndisk size: {} bytes\nfile size: {} bytes\nsnapshots: {}\nclients: {}\n",
        status.file, status.disk_bytes, status.file_bytes, status.snapshots, status.clients);
  print("data read, written: {}, {} times; flushed: {}\n", status.reads, status.writes,
        status.flushes);
  if (!status.operation.empty()) {
    print("under way: {}, {} of {} clusters\n", status.operation, status.clusters_done,
          status.clusters_total);
  }
}

int tell(const Context& context, const std::string& socket, const control::Command& command,
         bool json) {
  Connection connection;
  if (!connection.connect(socket)) {
    context.error("{}: {}", socket, system_words(errno));
    return 1;
  }
  std::optional<std::string> line;
  if (connection.send(control::format_command(command) + "\n")) {
    line = connection.receive_line();
  }
  if (!line) {
    context.error("{}: the server has gone; what became of '{}' is for 'list' to tell", socket,
                  control::verb_name(command.verb));
    return 1;
  }
  const control::Answer answer = control::parse_answer(*line);
  if (const auto* problem = std::get_if<control::Problem>(&answer)) {
    context.error("{}: cannot {}: {}", socket, control::verb_name(command.verb), problem->message);
    return 1;
  }
  if (json) {
    print("{}\n", format_json(Json::parse(*line).front()));
  } else if (const auto* done = std::get_if<control::Done>(&answer)) {
    print_answer(command, *done);
  } else if (const auto* list = std::get_if<std::vector<control::Listed>>(&answer)) {
    print_answer(command, *list);
  } else {
    print_answer(command, std::get<control::Status>(answer));
  }
  return 0;
}

}  // namespace

int run_ctl(Context& context, int argc, char** argv) {
  std::string socket;
  std::string action;
  control::Command command;
  bool json = false;
  CLI::App app("Control a running export: snapshots of the image it serves.",
               fmt::format("{} ctl", context.program));
  app.footer(
      fmt::format("Examples:\n"
                  "  nbdkit varve file=disk.qcow2 control=disk.ctl\n"
                  "  {0} ctl disk.ctl create before-upgrade\n"
                  "  {0} ctl disk.ctl list --json",
                  context.program));
  app.add_option("socket", socket, "The export's control socket")->required();
  app.add_option("command", action, "create, apply, delete, list or status")->required();
  app.add_option("snapshot", command.snapshot,
                 "The new snapshot's name; or a snapshot: its name, id or UUID");
  app.add_flag("--json", json, "Answer as JSON");
  if (const std::optional<int> code = parse_own(context, "ctl", app, argc, argv)) {
    return *code;
  }
  const std::optional<control::Verb> verb = control::find_verb(action);
  if (!verb) {
    return context.usage_error("ctl", "There is no command '{}'", action);
  }
  if (control::names_a_snapshot(*verb) == command.snapshot.empty()) {
    return context.usage_error("ctl", "{} {}", action,
                               command.snapshot.empty() ? "needs a snapshot" : "takes no snapshot");
  }
  command.verb = *verb;
  return tell(context, socket, command, json);
}

}  // namespace varve::tool
