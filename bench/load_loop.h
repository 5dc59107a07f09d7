// A loop of requests, a fixed number in flight, each submitted again from its own completion. The
// same for an image and for a storage, so that the two can be compared.
#pragma once

#include <algorithm>
#include <vector>

#include "base/buffer.h"
#include "base/try.h"
#include "load.h"

namespace varve::bench {

inline constexpr std::uint64_t kForever = ~std::uint64_t{0};

// Device: Image with BlockRequest, or Storage with StorageRequest.
template <class Device, class Request>
class Loop {
 public:
  Loop(Device& device, const LoadOptions& options, Places places) noexcept
      : device_(device), options_(options), places_(places), left_(options.count) {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Puts `depth` requests in flight. Errors: no_memory.
  Result<void> start(std::uint64_t depth) {
    const auto slots = static_cast<std::size_t>(std::min(depth, left_));
    const auto bytes = static_cast<std::size_t>(options_.bytes);
    memory_ = VARVE_TRY(Buffer::allocate(slots * bytes));
    std::ranges::fill(memory_.bytes(), std::byte{0x5a});
    slots_ = std::vector<Slot>(slots);
    for (std::size_t i = 0; i < slots; ++i) {
      slots_[i].loop = this;
      slots_[i].vector = {memory_.data() + i * bytes, bytes};
      submit(slots_[i]);
    }
    return {};
  }
  // No further requests are submitted.
  void stop() noexcept { left_ = 0; }
  [[nodiscard]] bool is_done() const noexcept { return in_flight_ == 0; }
  [[nodiscard]] const Result<void>& result() const noexcept { return result_; }
  [[nodiscard]] std::uint64_t completed() const noexcept { return completed_; }
  // From here on the guest is watched: what it got done, and the longest time between completions.
  void begin_watch() noexcept {
    watch_ = Stopwatch();
    last_completion_ = 0;
    longest_gap_ = 0;
    completed_before_ = completed_;
    is_watched_ = true;
  }
  // The gap that is still open counts too.
  [[nodiscard]] GuestReport end_watch() noexcept {
    note_gap();
    is_watched_ = false;
    return {last_completion_, completed_ - completed_before_, longest_gap_};
  }
  [[nodiscard]] double watched_seconds() const noexcept { return watch_.seconds(); }

 private:
  struct Slot {
    Loop* loop = nullptr;
    IoVector vector;
    Request request;
  };

  void note_gap() noexcept {
    const double now = watch_.seconds();
    longest_gap_ = std::max(longest_gap_, now - last_completion_);
    last_completion_ = now;
  }

  void submit(Slot& slot) noexcept {
    using Operation = decltype(slot.request.operation);
    slot.request.operation = options_.write ? Operation::write : Operation::read;
    slot.request.offset = places_.next();
    slot.request.length = options_.bytes;
    slot.request.vectors = &slot.vector;
    slot.request.vector_count = 1;
    slot.request.owner = &slot;
    slot.request.complete = completed;
    --left_;
    ++in_flight_;
    device_.submit(slot.request);
  }

  static void completed(Request& request, const Result<void>& result) {
    Slot& slot = *static_cast<Slot*>(request.owner);
    Loop& loop = *slot.loop;
    --loop.in_flight_;
    ++loop.completed_;
    if (loop.is_watched_) {
      loop.note_gap();
    }
    if (!result) {
      loop.result_ = result;
      loop.left_ = 0;
    }
    if (loop.left_ != 0) {
      loop.submit(slot);
    }
  }

  Device& device_;
  const LoadOptions& options_;
  Places places_;
  std::uint64_t left_;
  std::uint64_t in_flight_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t completed_before_ = 0;
  bool is_watched_ = false;
  double last_completion_ = 0;
  double longest_gap_ = 0;
  Stopwatch watch_;
  Buffer memory_;
  std::vector<Slot> slots_;
  Result<void> result_;
};

}  // namespace varve::bench
