// Holding what is done for an image against its budgets: the one place where they are enforced.
//
// Whoever is about to hold memory, read or compute on an image's behalf says so first. The first
// budget that is exhausted stays the answer, so that loops may ask now and then, and what a failed
// read hides is not taken for damage. Threads: the engine's thread only.
#pragma once

#include <cstdint>

#include <varve/budget.h>
#include <varve/result.h>
#include <varve/types.h>

namespace varve {

class Meter {
 public:
  // What the file takes on its device raises the budgets of reads and steps.
  Meter(const Budget& budget, std::uint64_t allocated_bytes) noexcept;

  // `bytes` more are held for the image, until they are given back. Errors: over_budget.
  [[nodiscard]] Result<void> take_memory(std::uint64_t bytes) noexcept;
  void give_memory(std::uint64_t bytes) noexcept;
  [[nodiscard]] std::uint64_t memory_left() const noexcept { return budget_.memory_bytes - held_; }

  // A read that is about to be issued. Errors: over_budget.
  [[nodiscard]] Result<void> spend_read(IoTag tag, std::uint64_t bytes) noexcept;
  // Work that is about to be done, or just was: verdict() tells when it was too much.
  void spend_steps(std::uint64_t steps) noexcept;

  // The first budget that was exhausted. Errors: over_budget.
  [[nodiscard]] Result<void> verdict() const noexcept { return verdict_; }

 private:
  void exhaust(const char* what, std::uint64_t wanted, std::uint64_t limit) noexcept;

  Budget budget_;
  std::uint64_t held_ = 0;
  std::uint64_t read_ = 0;
  std::uint64_t steps_ = 0;
  Result<void> verdict_;
};

// Without a meter nothing is limited.
inline void spend_steps(Meter* meter, std::uint64_t steps) noexcept {
  if (meter != nullptr) {
    meter->spend_steps(steps);
  }
}
// Errors: over_budget.
[[nodiscard]] inline Result<void> verdict_of(const Meter* meter) noexcept {
  return meter != nullptr ? meter->verdict() : Result<void>();
}
// Errors: over_budget.
[[nodiscard]] inline Result<void> take_memory(Meter* meter, std::uint64_t bytes) noexcept {
  return meter != nullptr ? meter->take_memory(bytes) : Result<void>();
}

// Memory held for a while.
class MeteredMemory {
 public:
  MeteredMemory() = default;
  MeteredMemory(const MeteredMemory&) = delete;
  MeteredMemory& operator=(const MeteredMemory&) = delete;
  ~MeteredMemory() {
    if (meter_ != nullptr) {
      meter_->give_memory(bytes_);
    }
  }

  // Without a meter there is no limit. REQUIRES: holds nothing. Errors: over_budget.
  [[nodiscard]] Result<void> take(Meter* meter, std::uint64_t bytes) noexcept {
    if (meter == nullptr) {
      return {};
    }
    const Result<void> taken = meter->take_memory(bytes);
    if (taken) {
      meter_ = meter;
      bytes_ = bytes;
    }
    return taken;
  }

 private:
  Meter* meter_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace varve
