#include "control_server.h"

#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <varve/snapshot.h>

#include "control/new_snapshot.h"
#include "control/socket_address.h"

namespace varve::nbd {

namespace {

constexpr std::size_t kClientsMax = 16;  // More wait in the socket's queue.

Error system_error(const char* what) {
  Error error;
  error.os_errno = errno;
  error.code = errno == EADDRINUSE ? ErrorCode::exists : ErrorCode::io;
  error.what = what;
  return error;
}

// Whether `address` is the socket of a server that is no more.
bool is_left_over(const control::SocketAddress& address) {
  struct stat found = {};
  if (::lstat(address.path(), &found) != 0 || !S_ISSOCK(found.st_mode)) {
    return false;
  }
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool refused = !address.connect(probe) && errno == ECONNREFUSED;
  ::close(probe);
  return refused;
}

}  // namespace

struct ControlServer::Client {
  explicit Client(int descriptor) : fd(descriptor) {}
  ~Client() { ::close(fd); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The next command is read when the one before is answered and the answer sent.
  [[nodiscard]] bool wants_input() const { return !is_waiting && output.empty() && !is_ended; }
  [[nodiscard]] bool is_over() const {
    return is_broken || (is_ended && !is_waiting && output.empty());
  }

  int fd;
  std::string input;        // Less than a line.
  std::string output;       // Not sent yet.
  bool is_waiting = false;  // For the operation it has started.
  bool is_ended = false;    // It says nothing more, or is not listened to.
  bool is_broken = false;
};

struct ControlServer::Work {
  Client* client = nullptr;  // Null: it has gone, and the work goes on.
  control::Verb verb = control::Verb::create;
  std::unique_ptr<SnapshotOperation> operation;
};

ControlServer::ControlServer(Image& image, std::string file, const std::atomic<unsigned>* clients)
    : image_(image), file_(std::move(file)), client_count_(clients) {}

ControlServer::~ControlServer() {
  work_.reset();
  if (listener_ >= 0) {
    ::close(listener_);
  }
  if (!path_.empty()) {
    ::unlink(path_.c_str());
  }
}

Result<void> ControlServer::listen(const std::string& path) {
  control::SocketAddress address;
  if (!address.set(path)) {
    return system_error("the control socket's path is too long");
  }
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // The mode before there is a name: nobody else can connect in between.
  if (listener_ < 0 || ::fchmod(listener_, S_IRUSR | S_IWUSR) != 0) {
    return system_error("cannot make the control socket");
  }
  if (is_left_over(address)) {
    ::unlink(address.path());
  }
  if (!address.bind(listener_)) {
    return system_error("cannot make the control socket");
  }
  path_ = path;
  if (::listen(listener_, kClientsMax) != 0) {
    return system_error("cannot make the control socket");
  }
  return {};
}

void ControlServer::add_descriptors(std::vector<pollfd>& descriptors) const {
  const bool has_room = clients_.size() < kClientsMax;
  descriptors.push_back({listener_, static_cast<short>(has_room ? POLLIN : 0), 0});
  for (const std::unique_ptr<Client>& client : clients_) {
    // A client that waits for its answer is only watched for its end, which poll always tells.
    short events = client->wants_input() ? POLLIN : 0;
    events = client->output.empty() ? events : POLLOUT;
    descriptors.push_back({client->fd, events, 0});
  }
}

void ControlServer::serve(std::span<const pollfd> descriptors) {
  for (std::size_t i = 0; i + 1 < descriptors.size(); ++i) {
    Client& client = *clients_[i];
    const short ready = descriptors[i + 1].revents;
    client.is_broken = client.is_broken || (ready & (POLLERR | POLLNVAL)) != 0 ||
                       ((ready & POLLHUP) != 0 && (ready & POLLIN) == 0);
    if ((ready & POLLIN) != 0 && client.wants_input()) {
      read_from(client);
    }
    go_on(client);
  }
  while (finish_work()) {
  }
  if ((descriptors.front().revents & POLLIN) != 0) {
    take_client();
  }
  std::erase_if(clients_, [this](const std::unique_ptr<Client>& client) {
    if (client->is_over() && work_ != nullptr && work_->client == client.get()) {
      work_->client = nullptr;
    }
    return client->is_over();
  });
}

void ControlServer::take_client() {
  const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd >= 0) {
    clients_.push_back(std::make_unique<Client>(fd));
  }
}

void ControlServer::read_from(Client& client) {
  std::array<char, 4096> piece;
  const ssize_t count = ::recv(client.fd, piece.data(), piece.size(), 0);
  if (count > 0) {
    client.input.append(piece.data(), static_cast<std::size_t>(count));
  } else if (count == 0) {
    client.is_ended = true;
  } else {
    client.is_broken = errno != EAGAIN && errno != EINTR;
  }
}

// Sends what there is, obeys the next line, and so on, as far as it goes without waiting.
void ControlServer::go_on(Client& client) {
  while (!client.is_broken && !client.is_waiting) {
    if (!client.output.empty()) {
      const ssize_t sent =
          ::send(client.fd, client.output.data(), client.output.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        client.is_broken = errno != EAGAIN && errno != EINTR;
        return;
      }
      client.output.erase(0, static_cast<std::size_t>(sent));
      continue;
    }
    const std::size_t end = client.input.find('\n');
    if (end != std::string::npos && end <= control::kCommandBytesMax) {
      const std::string line = client.input.substr(0, end);
      client.input.erase(0, end + 1);
      obey(client, line);
    } else if (client.input.size() > control::kCommandBytesMax) {
      // Where the next one would begin is anybody's guess: it is answered and not listened to.
      const std::string line = std::exchange(client.input, {});
      obey(client, line);
      client.is_ended = true;
    } else {
      return;
    }
  }
}

void ControlServer::obey(Client& client, std::string_view line) {
  const std::variant<control::Problem, control::Command> parsed = control::parse_command(line);
  if (const auto* problem = std::get_if<control::Problem>(&parsed)) {
    return answer(client, *problem);
  }
  const auto& command = std::get<control::Command>(parsed);
  switch (command.verb) {
    case control::Verb::list:
      return answer(client, list());
    case control::Verb::status:
      return answer(client, status());
    case control::Verb::create:
    case control::Verb::apply:
    case control::Verb::remove:
      return start(client, command);
  }
}

void ControlServer::start(Client& client, const control::Command& command) {
  Result<std::unique_ptr<SnapshotOperation>> started = start_operation(command);
  if (!started) {
    return answer(client, control::problem_of(started.error()));
  }
  work_ = std::make_unique<Work>();
  work_->client = &client;
  work_->verb = command.verb;
  work_->operation = std::move(*started);
  client.is_waiting = true;
}

Result<std::unique_ptr<SnapshotOperation>> ControlServer::start_operation(
    const control::Command& command) {
  const auto refuse = [](ErrorCode code, const char* what) {
    Error error;
    error.code = code;
    error.what = what;
    return error;
  };
  if (work_ != nullptr) {
    return refuse(ErrorCode::busy, "another command is being carried out");
  }
  if (command.verb == control::Verb::create) {
    return start_create(image_, new_snapshot(command.snapshot));
  }
  const Result<std::size_t> index = find_snapshot(image_, {.text = command.snapshot});
  if (!index) {
    return index.error();
  }
  if (command.verb == control::Verb::remove) {
    return start_delete(image_, *index);
  }
  const Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(image_);
  if (!snapshots) {
    return snapshots.error();
  }
  if ((*snapshots)[*index].disk_size != image_.size()) {
    return refuse(ErrorCode::unsupported, "the disk had another size then, which clients rely on");
  }
  return start_apply(image_, *index);
}

bool ControlServer::finish_work() {
  if (work_ == nullptr || !work_->operation->is_done()) {
    return false;
  }
  const std::unique_ptr<Work> work = std::move(work_);
  if (work->client == nullptr) {
    return true;
  }
  const SnapshotOperation& operation = *work->operation;
  work->client->is_waiting = false;
  if (!operation.result()) {
    answer(*work->client, control::problem_of(operation.result().error()));
  } else {
    control::Done done;
    if (work->verb == control::Verb::create) {
      done.id = operation.id();
      done.uuid = operation.uuid().text();
    }
    done.pause = operation.times().pause_nanoseconds;
    done.total = operation.times().total_nanoseconds;
    answer(*work->client, done);
  }
  go_on(*work->client);
  return true;
}

void ControlServer::answer(Client& client, const control::Answer& answer) {
  client.output += control::format_answer(answer);
  client.output += '\n';
}

control::Answer ControlServer::list() const {
  const Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(image_);
  if (!snapshots) {
    return control::problem_of(snapshots.error());
  }
  std::vector<control::Listed> listed;
  for (const SnapshotInfo& snapshot : *snapshots) {
    listed.push_back(control::listed_of(snapshot));
  }
  return listed;
}

control::Answer ControlServer::status() const {
  const ImageFacts facts = image_.facts();
  const Image::Counters& counters = image_.counters();
  constexpr auto kData = static_cast<std::size_t>(IoTag::guest_data);
  control::Status status;
  status.file = file_;
  status.disk_bytes = facts.virtual_size;
  status.file_bytes = facts.file_size;
  status.snapshots = facts.snapshot_count;
  status.clients = client_count_ == nullptr ? 0 : client_count_->load();
  status.reads = counters.reads[kData];
  status.writes = counters.writes[kData];
  status.flushes = counters.flushes;
  if (work_ != nullptr) {
    const SnapshotProgress progress = work_->operation->progress();
    status.operation = control::verb_name(work_->verb);
    status.clusters_done = progress.clusters_done;
    status.clusters_total = progress.clusters_total;
  }
  return status;
}

}  // namespace varve::nbd
