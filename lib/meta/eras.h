// Eras of requests (rule O7): a cluster dropped now may still be in use by every request that began
// before. Requests enter and leave; a drop is stamped, and is idle once every request of its era
// and earlier has left.
#pragma once

#include <cstdint>
#include <new>
#include <vector>

#include <varve/result.h>

#include "base/assert.h"
#include "base/failure.h"

namespace varve {

class Eras {
 public:
  // REQUIRES: called once, before use. Errors: no_memory.
  Result<void> reserve(std::size_t requests_max) noexcept {
    try {
      counts_.assign(requests_max + 2, 0);
    } catch (const std::bad_alloc&) {
      return failure(ErrorCode::no_memory, "cannot allocate the request eras");
    }
    return {};
  }

  // A request begins; give the number back to leave().
  [[nodiscard]] std::uint64_t enter() noexcept {
    if (is_sealed_ && current_ - oldest_ + 1 < counts_.size()) {
      ++current_;
      is_sealed_ = false;
    }
    ++slot(current_);
    ++entered_;
    return current_;
  }
  // Requests that have ever begun: those who step back for others look at its pace.
  [[nodiscard]] std::uint64_t entered() const noexcept { return entered_; }
  void leave(std::uint64_t era) noexcept {
    VARVE_ASSERT(slot(era) != 0);
    --slot(era);
    while (oldest_ < current_ && slot(oldest_) == 0) {
      ++oldest_;
    }
  }

  // The stamp of something dropped now; later requests belong to a later era where there is room
  // for one.
  [[nodiscard]] std::uint64_t seal() noexcept {
    is_sealed_ = true;
    return current_;
  }
  [[nodiscard]] bool is_drained(std::uint64_t stamp) const noexcept {
    if (stamp < oldest_) {
      return true;
    }
    return stamp == oldest_ && oldest_ == current_ && counts_[current_ % counts_.size()] == 0;
  }

 private:
  std::uint32_t& slot(std::uint64_t era) noexcept { return counts_[era % counts_.size()]; }

  std::vector<std::uint32_t> counts_;
  std::uint64_t oldest_ = 0;
  std::uint64_t current_ = 0;
  std::uint64_t entered_ = 0;
  bool is_sealed_ = false;
};

}  // namespace varve
