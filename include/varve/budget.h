// What looking at an image may cost, so that an image made to be expensive is refused instead.
//
// Budgets bound what the image's own tables make a program do: memory for tables, bytes read from
// its file, steps of computing. Where one is exhausted, the call, and every later one that needs
// more, answers over_budget; `what` names the budget. Honest images stay below the standard one.
#pragma once

#include <cstdint>

namespace varve {

struct Budget {
  static constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};

  // Held at any one moment for the image's tables and caches. What the program itself needs, and
  // buffers for guest data, come on top.
  std::uint64_t memory_bytes = kUnlimited;
  // Read from the image's file beyond four times what it takes on its device
  // (Storage::allocated_bytes): holes that are read again and again, not data.
  std::uint64_t read_bytes = kUnlimited;
  // Of computing, beyond one for sixteen bytes of what the file takes on its device: one for an
  // entry of a table, or eight bytes read of it; 3,000 for each request that reads a table. A step
  // is about a nanosecond.
  std::uint64_t steps = kUnlimited;

  // Enough for every honest image; for a hostile one at most 64 MiB and a second of one core in the
  // whole process, beyond the cost of reading the bytes it really has.
  static constexpr Budget standard() noexcept {
    return {.memory_bytes = 40u << 20, .read_bytes = 160u << 20, .steps = 160'000'000};
  }
};

}  // namespace varve
