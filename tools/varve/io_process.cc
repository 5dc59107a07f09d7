// Commands about the program itself: sleep, sigraise, abort, quit, help.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "io_functions.h"
#include "io_parse.h"

namespace varve::tool {

namespace {

constexpr std::uint64_t kSignalMax = 65;  // What qemu-io takes for one on Linux.

// `called`: the name or alias asked for.
void print_help_line(const IoCommand& command, const std::string& called) {
  if (command.arguments == nullptr) {
    print("{} -- {}\n", called, command.summary);
  } else {
    print("{} {} -- {}\n", called, command.arguments, command.summary);
  }
}

}  // namespace

bool io_sleep(IoSession& session, const IoCommand&, IoArguments& arguments) {
  const ParsedSleep parsed = parse_sleep(arguments.word(1));
  if (parsed.status == SleepStatus::malformed) {
    print("{} is not a valid number\n", arguments.word(1));
    return false;
  }
  if (parsed.status == SleepStatus::overflow) {
    return true;  // As qemu-io, which does not sleep at all then.
  }
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(parsed.milliseconds);
  session.async().finish_deferred();
  while (!session.async().is_idle()) {
    const auto rest =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (rest <= 0) {
      return true;
    }
    (void)session.context().engine()->wait(static_cast<int>(std::min<long>(rest, 1000)));
  }
  std::this_thread::sleep_until(end);
  return true;
}

bool io_sigraise(IoSession&, const IoCommand&, IoArguments& arguments) {
  const std::optional<std::uint64_t> signal = take_count(arguments.word(1));
  if (!signal) {
    return false;
  }
  if (*signal > kSignalMax) {
    print("signal argument '{}' is too large to be a valid signal\n", arguments.word(1));
    return false;
  }
  (void)std::fflush(stdout);
  (void)std::raise(static_cast<int>(*signal));
  return true;
}

bool io_abort(IoSession&, const IoCommand&, IoArguments&) {
  std::abort();
}

bool io_quit(IoSession& session, const IoCommand&, IoArguments&) {
  session.quit = true;
  return true;
}

bool io_help(IoSession&, const IoCommand&, IoArguments& arguments) {
  if (arguments.count() == 1) {
    for (const IoCommand& command : io_commands()) {
      print_help_line(command, command.name);
    }
    print("\nUse 'help commandname' for extended help.\n");
    return true;
  }
  const std::string& called = arguments.word(1);
  const IoCommand* command = find_io_command(called);
  if (command == nullptr) {
    print("command {} not found\n", called);
    return false;
  }
  print_help_line(*command, called);
  if (const char* text = io_long_help(command->name); text != nullptr) {
    (void)std::fputs(text, stdout);
  }
  return true;
}

}  // namespace varve::tool
