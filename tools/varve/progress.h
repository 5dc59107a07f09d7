// Long work, seen from the terminal: -p as qemu-img prints it, SIGUSR1, and Ctrl-C.
#pragma once

#include <atomic>
#include <cstdint>

namespace varve::tool {

class Progress {
 public:
  // Prints to stdout when `enabled`, in steps of at least `step_percent`; SIGUSR1 makes the next
  // report print a line on stderr in any case.
  Progress(bool enabled, double step_percent);
  ~Progress();  // Ends the line.
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void report(std::uint64_t done, std::uint64_t total);

 private:
  void show(double percent);
  bool enabled_;
  double step_percent_;
  double shown_percent_ = -1;
};

// Set when SIGINT or SIGTERM arrives, from catch_interrupts on: the work under way drains and
// leaves a consistent image behind.
[[nodiscard]] const std::atomic<bool>& interrupted();
void catch_interrupts();

// Ends the process by the signal that interrupted it, as the shell expects.
[[noreturn]] void exit_by_signal();

}  // namespace varve::tool
