// FlatSet: a set of 64-bit hashes in one table of memory, for counting many millions of states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/random.h"

namespace varve::sim {

class FlatSet {
 public:
  // Whether it was not there before.
  bool insert(std::uint64_t value) {
    if (value == 0) {
      const bool is_new = !has_zero_;
      has_zero_ = true;
      return is_new;
    }
    if ((size_ + 1) * 10 > slots_.size() * 7) {
      grow();
    }
    std::uint64_t& slot = find(value);
    if (slot == value) {
      return false;
    }
    slot = value;
    ++size_;
    return true;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_ + (has_zero_ ? 1 : 0); }
  void clear() noexcept {
    slots_.assign(slots_.size(), 0);
    size_ = 0;
    has_zero_ = false;
  }

 private:
  static constexpr std::size_t kFirstSlots = 256;

  // Where `value` stands, or the free slot where it belongs.
  std::uint64_t& find(std::uint64_t value) noexcept {
    std::size_t at = static_cast<std::size_t>(Random::mix(value)) & (slots_.size() - 1);
    while (slots_[at] != 0 && slots_[at] != value) {
      at = (at + 1) & (slots_.size() - 1);
    }
    return slots_[at];
  }
  void grow() {
    std::vector<std::uint64_t> old(slots_.empty() ? kFirstSlots : slots_.size() * 2);
    old.swap(slots_);
    for (const std::uint64_t value : old) {
      if (value != 0) {
        find(value) = value;
      }
    }
  }

  std::vector<std::uint64_t> slots_;  // A power of two of them; 0: free.
  std::size_t size_ = 0;
  bool has_zero_ = false;
};

}  // namespace varve::sim
