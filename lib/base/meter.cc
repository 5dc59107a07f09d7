#include "base/meter.h"

#include <algorithm>

#include "base/assert.h"
#include "base/failure.h"

namespace varve {
namespace {

// What an honest image costs grows with it: its data is read once, compressed data twice at worst,
// and its tables a few times; an entry of eight bytes maps at least 512.
constexpr std::uint64_t kReadsPerByte = 4;
constexpr std::uint64_t kBytesPerStep = 16;
constexpr std::uint64_t kTableRequestSteps = 3000;
constexpr std::uint64_t kDataRequestSteps = 16;

std::uint64_t saturated_sum(std::uint64_t a, std::uint64_t b) noexcept {
  return a + std::min(b, ~std::uint64_t{0} - a);
}

bool is_data(IoTag tag) noexcept {
  return tag == IoTag::guest_data || tag == IoTag::compressed_data || tag == IoTag::state;
}

}  // namespace

Meter::Meter(const Budget& budget, std::uint64_t allocated_bytes) noexcept : budget_(budget) {
  constexpr std::uint64_t kAllocatedMax = Budget::kUnlimited / (2 * kReadsPerByte);
  allocated_bytes = std::min(allocated_bytes, kAllocatedMax);
  budget_.read_bytes = saturated_sum(budget_.read_bytes, kReadsPerByte * allocated_bytes);
  budget_.steps = saturated_sum(budget_.steps, allocated_bytes / kBytesPerStep);
}

void Meter::exhaust(const char* what, std::uint64_t wanted, std::uint64_t limit) noexcept {
  if (verdict_) {
    Error error = failure(ErrorCode::over_budget, what);
    error.value = wanted;
    error.limit = limit;
    verdict_ = error;
  }
}

Result<void> Meter::take_memory(std::uint64_t bytes) noexcept {
  if (bytes > memory_left()) {
    exhaust("the budget of memory for the image's tables is exhausted; bytes",
            saturated_sum(held_, bytes), budget_.memory_bytes);
    return verdict_;
  }
  held_ += bytes;
  return {};
}

void Meter::give_memory(std::uint64_t bytes) noexcept {
  VARVE_ASSERT(bytes <= held_);
  held_ -= bytes;
}

Result<void> Meter::spend_read(IoTag tag, std::uint64_t bytes) noexcept {
  read_ = saturated_sum(read_, bytes);
  if (read_ > budget_.read_bytes) {
    exhaust("the budget of bytes read from the image is exhausted; bytes", read_,
            budget_.read_bytes);
  }
  spend_steps(is_data(tag) ? kDataRequestSteps : kTableRequestSteps + bytes / 8);
  return verdict_;
}

void Meter::spend_steps(std::uint64_t steps) noexcept {
  steps_ = saturated_sum(steps_, steps);
  if (steps_ > budget_.steps) {
    exhaust("the budget of steps for the image is exhausted; steps", steps_, budget_.steps);
  }
}

}  // namespace varve
