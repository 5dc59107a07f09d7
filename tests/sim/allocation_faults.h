// Allocation failure at a chosen index, for programs that replace operator new and aligned_alloc
// (tests/fault/allocations.cc); elsewhere this counts nothing. Only allocations made for the
// library count: those inside an AllocationWindow, and not inside an AllocationPause.
//
// Threads: the calling one; other threads' allocations never count.
#pragma once

#include <cstdint>

namespace varve::sim {

class AllocationFaults {
 public:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  // Counts from 0; allocation number `index` fails, and with `from_then_on` all later ones.
  static void arm(std::uint64_t index, bool from_then_on) noexcept;
  // Nothing fails or counts any more. How many allocations were counted.
  static std::uint64_t disarm() noexcept;
  [[nodiscard]] static std::uint64_t failed() noexcept;

  // Asked by the replaced functions for every allocation.
  [[nodiscard]] static bool must_fail() noexcept;
};

// The library is at work.
class AllocationWindow {
 public:
  AllocationWindow() noexcept;
  ~AllocationWindow();
  AllocationWindow(const AllocationWindow&) = delete;
  AllocationWindow& operator=(const AllocationWindow&) = delete;

 private:
  bool before_;
};

// What `call` answers, the library being at work.
template <class Call>
auto within_window(Call call) {
  const AllocationWindow window;
  return call();
}

// The test's own code at work inside a window (a simulated storage, say).
class AllocationPause {
 public:
  AllocationPause() noexcept;
  ~AllocationPause();
  AllocationPause(const AllocationPause&) = delete;
  AllocationPause& operator=(const AllocationPause&) = delete;

 private:
  bool before_;
};

}  // namespace varve::sim
