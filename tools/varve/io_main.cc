// varve io: qemu-io's commands on one image.

#include <array>
#include <cerrno>
#include <csignal>

#include <getopt.h>
#include <poll.h>
#include <unistd.h>

#include "io_command.h"
#include "io_open.h"
#include "messages.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kIoHelp = R"(Run qemu-io's commands on an image.  Usage:

  {0} [OPTIONS] [-c COMMAND]... [FILENAME]

  -c, --cmd COMMAND     run this command; without any, standard input is read
  -f, --format FMT      raw or qcow2; detected otherwise
  --image-opts          FILENAME is a list of key=value pairs
  -r, --read-only       for reading only
  -s, --snapshot        changes go to a temporary overlay
  -U, --force-share     also while another program has it open (with -r)
  -C, --copy-on-read    copy what is read up from the backing file
  -t, --cache MODE      none, writeback, writethrough (the default), directsync, unsafe
  -n, --nocache         past the page cache: -t none
  -d, --discard MODE    off, ignore, on, unmap (the default)
  -i, --aio ENGINE      threads, native, io_uring
  -k, --native-aio      -i native
  -m, --misalign        buffers that O_DIRECT does not like
  -T, --trace FILE      accepted; there is nothing to trace
  --object DEFINITION   checked; nothing here uses it
  -V, --version         show the version
  -h, --help            show this

Examples:
  {0} -c 'write -P 7 0 64k' -c 'read -P 7 0 64k' disk.qcow2
  {0} -r -c map disk.qcow2

See '{0} -c help' for the commands.
)";

constexpr option kIoLongOptions[] = {{"help", no_argument, nullptr, 'h'},
                                     {"version", no_argument, nullptr, 'V'},
                                     {"cmd", required_argument, nullptr, 'c'},
                                     {"format", required_argument, nullptr, 'f'},
                                     {"read-only", no_argument, nullptr, 'r'},
                                     {"snapshot", no_argument, nullptr, 's'},
                                     {"nocache", no_argument, nullptr, 'n'},
                                     {"copy-on-read", no_argument, nullptr, 'C'},
                                     {"misalign", no_argument, nullptr, 'm'},
                                     {"native-aio", no_argument, nullptr, 'k'},
                                     {"aio", required_argument, nullptr, 'i'},
                                     {"discard", required_argument, nullptr, 'd'},
                                     {"cache", required_argument, nullptr, 't'},
                                     {"trace", required_argument, nullptr, 'T'},
                                     {"force-share", no_argument, nullptr, 'U'},
                                     {"object", required_argument, nullptr, kOptionObject},
                                     {"image-opts", no_argument, nullptr, kOptionImageOpts},
                                     {nullptr, 0, nullptr, 0}};

struct IoInvocation {
  IoSettings settings;
  std::vector<std::string> commands;
  std::optional<std::string> filename;
  bool misaligned = false;
  bool image_opts = false;
  std::optional<int> exit_code;  // Set: nothing more to do.
};

std::string called_by(const Context& context) {
  return context.program == "qemu-io" ? context.program : context.program + " io";
}

int show_help(const Context& context, int exit_code) {
  print(kIoHelp, called_by(context));
  return exit_code;
}

int show_version(Context& context) {
  std::string verb = "version";
  char* arguments[] = {verb.data(), nullptr};
  return run_version(context, 1, arguments);
}

void take_option(Context& context, IoInvocation& invocation, int letter) {
  switch (letter) {
    case 'h':
      invocation.exit_code = show_help(context, 0);
      break;
    case 'V':
      invocation.exit_code = show_version(context);
      break;
    case 'c':
      invocation.commands.emplace_back(optarg);
      break;
    case 'f':
      invocation.settings.format = optarg;
      break;
    case 'm':
      invocation.misaligned = true;
      break;
    case 'T':
      break;
    case kOptionObject:
      refuse_bad_object(context, optarg);
      break;
    case kOptionImageOpts:
      invocation.image_opts = true;
      break;
    case '?':
      invocation.exit_code = show_help(context, 1);
      break;
    default:
      if (!take_open_option(context, invocation.settings, letter, optarg)) {
        invocation.exit_code = 1;
      }
  }
}

IoInvocation parse_invocation(Context& context, int argc, char** argv) {
  IoInvocation invocation;
  std::string name = called_by(context);
  std::vector<char*> arguments(argv, argv + argc);
  arguments[0] = name.data();
  arguments.push_back(nullptr);
  optind = 0;
  while (!invocation.exit_code) {
    const int letter =
        getopt_long(argc, arguments.data(), "hVc:d:f:rsCnmki:t:T:U", kIoLongOptions, nullptr);
    if (letter == -1) {
      break;
    }
    take_option(context, invocation, letter);
  }
  if (invocation.exit_code) {
    return invocation;
  }
  if (argc - optind > 1) {
    invocation.exit_code = show_help(context, 1);
  } else if (invocation.settings.format && invocation.image_opts) {
    print_io_error(context, "--image-opts and -f are mutually exclusive");
    invocation.exit_code = 1;
  } else if (optind < argc) {
    invocation.filename = arguments[static_cast<std::size_t>(optind)];
  }
  return invocation;
}

// Lines of standard input. Requests in flight go on while a line is waited for.
class LineReader {
 public:
  explicit LineReader(IoSession& session) : session_(session) {}

  // Nothing at the end.
  std::optional<std::string> next() {
    while (true) {
      const std::size_t end = pending_.find('\n');
      if (end != std::string::npos || (at_end_ && !pending_.empty())) {
        std::string line = pending_.substr(0, end);
        pending_.erase(0, end == std::string::npos ? end : end + 1);
        return line;
      }
      if (at_end_) {
        return std::nullopt;
      }
      fill();
    }
  }

 private:
  void fill() {
    wait_for_input();
    std::array<char, 4096> part{};
    const ssize_t got = ::read(STDIN_FILENO, part.data(), part.size());
    if (got > 0) {
      pending_.append(part.data(), static_cast<std::size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      at_end_ = true;
    }
  }

  void wait_for_input() {
    session_.async().finish_deferred();
    while (!session_.async().is_idle()) {
      Engine& engine = *session_.context().engine();
      engine.submit_pending();
      std::array<pollfd, 2> events = {{{STDIN_FILENO, POLLIN, 0}, {engine.event_fd(), POLLIN, 0}}};
      (void)::poll(events.data(), events.size(), -1);
      (void)engine.poll();
      (void)std::fflush(stdout);
      if (events[0].revents != 0) {
        return;
      }
    }
  }

  IoSession& session_;
  std::string pending_;
  bool at_end_ = false;
};

// True when every command succeeded.
bool run_commands(IoSession& session, const std::vector<std::string>& commands) {
  bool good = true;
  for (const std::string& command : commands) {
    if (session.quit) {
      break;
    }
    good = run_io_line(session, command) && good;
  }
  return good;
}

bool run_standard_input(IoSession& session) {
  LineReader reader(session);
  bool good = true;
  while (!session.quit) {
    print("qemu-io> ");
    (void)std::fflush(stdout);
    const std::optional<std::string> line = reader.next();
    if (!line) {
      break;
    }
    good = run_io_line(session, *line) && good;
  }
  return good;
}

}  // namespace

int run_io(Context& context, int argc, char** argv) {
  IoInvocation invocation = parse_invocation(context, argc, argv);
  if (invocation.exit_code) {
    return *invocation.exit_code;
  }
  // A reader of our output that goes away must not leave the image open for writing.
  (void)std::signal(SIGPIPE, SIG_IGN);
  IoSession session(context, invocation.misaligned);
  session.image_opts = invocation.image_opts;
  if (invocation.filename) {
    if (invocation.image_opts) {
      add_node_options(context, *invocation.filename, invocation.settings.options);
    } else {
      invocation.settings.name = invocation.filename;
    }
    if (!session.open(invocation.settings)) {
      return 1;
    }
  }
  const bool good = invocation.commands.empty() ? run_standard_input(session)
                                                : run_commands(session, invocation.commands);
  const bool closed = !session.is_open() || session.close();
  return good && closed ? 0 : 1;
}

}  // namespace varve::tool
