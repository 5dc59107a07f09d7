// PlainDisk: the first bytes of a disk as one piece of memory, and its size. What is behind them
// the fuzzers leave alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace varve::fuzz {

struct PlainDisk {
  std::vector<std::byte> bytes;  // As far as the window and the disk reach.
  std::uint64_t size = 0;

  void resize(std::uint64_t new_size, std::uint64_t window) {
    size = new_size;
    bytes.resize(static_cast<std::size_t>(std::min(size, window)));  // New bytes are zeros.
  }
  [[nodiscard]] Bytes at(std::uint64_t offset, std::uint64_t length) {
    return Bytes(bytes).subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length));
  }
};

}  // namespace varve::fuzz
