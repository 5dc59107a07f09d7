// XXH3 in 128 bits: sums that find damage. Not against an adversary. Threads: plain functions; a
// Hasher has one user at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include <varve/result.h>

#include "base/bytes.h"

namespace varve {

// In the canonical (big-endian) order of the XXH3 documentation.
using Hash128 = std::array<std::uint8_t, 16>;

[[nodiscard]] Hash128 hash128(ConstBytes bytes, std::uint64_t seed = 0) noexcept;

// The same over a stream.
class Hasher {
 public:
  // Errors: no_memory.
  [[nodiscard]] static Result<Hasher> make(std::uint64_t seed = 0) noexcept;
  void add(ConstBytes bytes) noexcept;
  [[nodiscard]] Hash128 digest() const noexcept;

 private:
  struct Free {
    void operator()(void* state) const noexcept;
  };
  explicit Hasher(void* state) noexcept : state_(state) {}
  std::unique_ptr<void, Free> state_;
};

}  // namespace varve
