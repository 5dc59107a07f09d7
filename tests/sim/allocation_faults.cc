#include "sim/allocation_faults.h"

#include <utility>

namespace varve::sim {

namespace {

struct AllocationState {
  bool armed = false;
  bool counts = false;  // Inside a window.
  bool from_then_on = false;
  std::uint64_t index = 0;
  std::uint64_t seen = 0;
  std::uint64_t failed = 0;
};
// Without a destructor: allocations may come late in the life of a thread.
thread_local constinit AllocationState allocation_state;

}  // namespace

void AllocationFaults::arm(std::uint64_t index, bool from_then_on) noexcept {
  const bool counts = allocation_state.counts;
  allocation_state = AllocationState{};
  allocation_state.armed = true;
  allocation_state.counts = counts;
  allocation_state.index = index;
  allocation_state.from_then_on = from_then_on;
}

std::uint64_t AllocationFaults::disarm() noexcept {
  allocation_state.armed = false;
  return allocation_state.seen;
}

std::uint64_t AllocationFaults::failed() noexcept {
  return allocation_state.failed;
}

bool AllocationFaults::must_fail() noexcept {
  AllocationState& state = allocation_state;
  if (!state.armed || !state.counts) {
    return false;
  }
  const std::uint64_t index = state.seen++;
  const bool fails = index == state.index || (state.from_then_on && index > state.index);
  state.failed += fails ? 1 : 0;
  return fails;
}

AllocationWindow::AllocationWindow() noexcept
    : before_(std::exchange(allocation_state.counts, true)) {}

AllocationWindow::~AllocationWindow() {
  allocation_state.counts = before_;
}

AllocationPause::AllocationPause() noexcept
    : before_(std::exchange(allocation_state.counts, false)) {}

AllocationPause::~AllocationPause() {
  allocation_state.counts = before_;
}

}  // namespace varve::sim
