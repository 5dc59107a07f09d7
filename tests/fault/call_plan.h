// What happens to the system calls of lib/io, which the linker sends through transfer_test.cc. They
// come from the storage's one thread; the test sets the plan while nothing is in flight.
#pragma once

#include <atomic>
#include <cstdint>

namespace varve::model {

enum class Trouble : std::uint8_t {
  none,
  interrupted,  // EINTR.
  put_off,      // EAGAIN.
  part,         // About half of the bytes.
  broken,       // EIO.
  full,         // ENOSPC.
};

struct CallPlan {
  Trouble trouble = Trouble::none;
  std::uint64_t index = 0;
  bool every_other = false;  // From `index` on.
  std::atomic<std::uint64_t> seen = 0;
  std::atomic<std::uint64_t> hits = 0;

  void reset(Trouble what, std::uint64_t where, bool again_and_again) {
    trouble = what;
    index = where;
    every_other = again_and_again;
    seen = 0;
    hits = 0;
  }
  [[nodiscard]] Trouble next() {
    const std::uint64_t number = seen++;
    const bool is_hit = number == index || (every_other && number > index && number % 2 == 0);
    hits += is_hit && trouble != Trouble::none ? 1 : 0;
    return is_hit ? trouble : Trouble::none;
  }
};
inline CallPlan call_plan;

}  // namespace varve::model
