#include "progress.h"

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "context.h"

namespace varve::tool {

namespace {

std::atomic<bool> interrupt_flag{false};
std::atomic<int> interrupt_signal{0};
std::atomic<bool> progress_asked{false};

void on_interrupt(int signal_number) {
  interrupt_signal.store(signal_number);
  interrupt_flag.store(true);
}

void on_progress_asked(int) {
  progress_asked.store(true);
}

void handle(int signal_number, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal_number, &action, nullptr);
}

}  // namespace

Progress::Progress(bool enabled, double step_percent)
    : enabled_(enabled), step_percent_(step_percent) {
  handle(SIGUSR1, on_progress_asked, SA_RESTART);
  if (enabled_) {
    show(0);
  }
}

Progress::~Progress() {
  if (enabled_) {
    print("\n");
  }
}

void Progress::report(std::uint64_t done, std::uint64_t total) {
  const double percent =
      total == 0 ? 100.0 : static_cast<double>(done) * 100.0 / static_cast<double>(total);
  if (progress_asked.exchange(false)) {
    fmt::print(stderr, "    ({:.2f}/100%)\n", percent);
  }
  if (enabled_ && (percent >= shown_percent_ + step_percent_ || done >= total)) {
    show(percent);
  }
}

void Progress::show(double percent) {
  shown_percent_ = percent;
  print("    ({:.2f}/100%)\r", percent);
  std::fflush(stdout);
}

const std::atomic<bool>& interrupted() {
  return interrupt_flag;
}

void catch_interrupts() {
  // A second Ctrl-C ends the process at once.
  handle(SIGINT, on_interrupt, static_cast<int>(SA_RESETHAND));
  handle(SIGTERM, on_interrupt, static_cast<int>(SA_RESETHAND));
}

void exit_by_signal() {
  const int signal_number = interrupt_signal.load() != 0 ? interrupt_signal.load() : SIGINT;
  std::fflush(stdout);
  handle(signal_number, SIG_DFL, 0);
  std::raise(signal_number);
  std::_Exit(128 + signal_number);
}

}  // namespace varve::tool
