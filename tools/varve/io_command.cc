#include "io_command.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <unistd.h>

#include "io_functions.h"
#include "io_open.h"
#include "io_parse.h"

namespace varve::tool {

namespace {

constexpr const char* kReads = "reads a number of bytes at a specified offset";
constexpr const char* kWrites = "writes a number of bytes at a specified offset";
constexpr const char* kZone = "offset len";

// Names, arguments and summaries are qemu-io's: its usage lines are what scripts know.
constexpr std::array<IoCommand, 32> kCommands = {{
    {"abort", nullptr, io_abort, 0, 0, false, false, nullptr,
     "simulate a program crash using abort(3)"},
    {"aio_flush", nullptr, io_aio_flush, 0, 0, true, false, nullptr,
     "completes all outstanding aio requests"},
    {"aio_read", nullptr, io_aio_read, 2, kAnyCount, true, false,
     "[-Ciqrv] [-P pattern] off len [len..]", "asynchronously reads a number of bytes"},
    {"aio_write", nullptr, io_aio_write, 2, kAnyCount, true, true,
     "[-Cfiqruz] [-P pattern] off len [len..]", "asynchronously writes a number of bytes"},
    {"alloc", "a", io_alloc, 1, 2, true, false, "offset [count]",
     "checks if offset is allocated in the file"},
    {"break", nullptr, io_break, 2, 2, true, false, "event tag",
     "sets a breakpoint on event and tags the stopped request as tag"},
    {"close", "c", io_close, 0, 0, true, false, nullptr, "close the current open file"},
    {"discard", "d", io_discard, 2, kAnyCount, true, true, "[-Cq] off len",
     "discards a number of bytes at a specified offset"},
    {"flush", "f", io_flush, 0, 0, true, false, nullptr, "flush all in-core file state to disk"},
    {"help", "?", io_help, 0, 1, false, false, "[command]", "help for one or all commands"},
    {"info", "i", io_info, 0, 0, true, false, nullptr, "prints information about the current file"},
    {"length", "l", io_length, 0, 0, true, false, nullptr, "gets the length of the current file"},
    {"map", nullptr, io_map, 0, 0, true, false, "", "prints the allocated areas of a file"},
    {"open", "o", io_open, 1, kAnyCount, false, false,
     "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path"},
    {"quit", "q", io_quit, 0, kAnyCount, false, false, nullptr, "exit the program"},
    {"read", "r", io_read, 2, kAnyCount, true, false,
     "[-abCqrv] [-P pattern [-s off] [-l len]] off len", kReads},
    {"readv", nullptr, io_readv, 2, kAnyCount, true, false, "[-Cqrv] [-P pattern] off len [len..]",
     kReads},
    {"remove_break", nullptr, io_remove_break, 1, 1, true, false, "tag",
     "remove a breakpoint by tag"},
    {"reopen", nullptr, io_reopen, 0, kAnyCount, true, false, "[(-r|-w)] [-c cache] [-o options]",
     "reopens an image with new options"},
    {"resume", nullptr, io_resume, 1, 1, true, false, "tag", "resumes the request tagged as tag"},
    {"sigraise", nullptr, io_sigraise, 1, 1, false, false, "signal", "raises a signal"},
    {"sleep", nullptr, io_sleep, 1, 1, false, false, nullptr,
     "waits for the given value in milliseconds"},
    {"truncate", "t", io_truncate, 1, 3, true, true, "[-m prealloc_mode] off",
     "truncates the current file at the given offset"},
    {"wait_break", nullptr, io_wait_break, 1, 1, true, false, "tag",
     "waits for the suspension of a request"},
    {"write", "w", io_write, 2, kAnyCount, true, true,
     "[-bcCfnqruz] [-P pattern | -s source_file] off len", kWrites},
    {"writev", nullptr, io_writev, 2, kAnyCount, true, true, "[-Cfqr] [-P pattern] off len [len..]",
     kWrites},
    {"zone_append", "zap", io_zone_append, 3, 4, true, false, "offset len [len..]",
     "append write a number of bytes at a specified offset"},
    {"zone_close", "zc", io_zone_range, 2, 2, true, false, kZone,
     "close a range of zones in zone block device"},
    {"zone_finish", "zf", io_zone_range, 2, 2, true, false, kZone,
     "finish a range of zones in zone block device"},
    {"zone_open", "zo", io_zone_range, 2, 2, true, false, kZone,
     "explicit open a range of zones in zone block device"},
    {"zone_report", "zrp", io_zone_report, 2, 2, true, false, "offset number",
     "report zone information"},
    {"zone_reset", "zrs", io_zone_range, 2, 2, true, false, kZone,
     "reset a zone write pointer in zone block device"},
}};

// Whether `count` words may follow the command's name; a message otherwise. `called`: the name or
// alias used.
bool check_count(const IoCommand& command, const std::string& called, int count) {
  const bool unbounded = command.maximum == kAnyCount;
  if (count >= command.minimum && (unbounded || count <= command.maximum)) {
    return true;
  }
  std::string expected = fmt::format("between {} and {}", command.minimum, command.maximum);
  if (unbounded) {
    expected = fmt::format("at least {}", command.minimum);
  } else if (command.minimum == command.maximum) {
    expected = std::to_string(command.minimum);
  }
  fmt::print(stderr, "bad argument count {} to {}, expected {} arguments\n", count, called,
             expected);
  return false;
}

}  // namespace

IoArguments::IoArguments(std::vector<std::string> words) : words_(std::move(words)) {
  for (std::string& word : words_) {
    pointers_.push_back(word.data());
  }
  pointers_.push_back(nullptr);
  // Zero makes the GNU getopt start afresh, its hidden state included.
  optind = 0;
}

int IoArguments::next_option(const char* letters) {
  return ::getopt(count(), pointers_.data(), letters);
}

std::vector<std::string> IoArguments::operands() const {
  return {pointers_.begin() + optind, pointers_.end() - 1};
}

const IoCommand* find_io_command(std::string_view name) {
  for (const IoCommand& command : kCommands) {
    if (name == command.name || (command.alias != nullptr && name == command.alias)) {
      return &command;
    }
  }
  return nullptr;
}

std::span<const IoCommand> io_commands() {
  return kCommands;
}

bool print_io_usage(const IoCommand& command) {
  print("{} {} -- {}\n", command.name, command.arguments, command.summary);
  return false;
}

bool run_io_line(IoSession& session, const std::string& line) {
  IoArguments arguments(split_words(line));
  if (arguments.count() == 0) {
    return true;
  }
  const std::string& called = arguments.word(0);
  const IoCommand* command = find_io_command(called);
  if (command == nullptr) {
    fmt::print(stderr, "command \"{}\" not found\n", called);
    return false;
  }
  if (command->needs_image && !session.is_open()) {
    fmt::print(stderr, "no file open, try 'help open'\n");
    return false;
  }
  if (!check_count(*command, called, arguments.count() - 1)) {
    return false;
  }
  if (command->writes && !session.is_writable()) {
    print_io_error(session.context(), "Block node is read-only");
    return false;
  }
  return command->run(session, *command, arguments);
}

std::optional<std::uint64_t> take_count(const std::string& text) {
  std::string complaint;
  const std::optional<std::uint64_t> count = parse_count(text, complaint);
  if (!count) {
    print("{}{}\n", complaint, text);
  }
  return count;
}

}  // namespace varve::tool
