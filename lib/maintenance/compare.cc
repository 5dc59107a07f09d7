// Comparing in chunks: several pairs of reads are in flight and are judged in disk order, so that
// the first difference is the one told.
// Threads: the calling thread's engine. Completions only count down and keep the first error.

#include <algorithm>
#include <array>
#include <new>
#include <vector>

#include <varve/compare.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/failure.h"
#include "base/try.h"
#include "base/units.h"

namespace varve {

namespace {

constexpr unsigned kComparedAtOnceMax = 64;
constexpr std::size_t kComparedChunkMax = 64 * kMiB;
constexpr std::uint64_t kComparedRunMax = 4 * kGiB;

struct Slot;

struct Side {
  Slot* slot = nullptr;
  bool needed = false;  // Otherwise the side is known to read as zeros.
  Result<void> result;
  Buffer buffer;
  IoVector vector;
  BlockRequest request;
};

struct Slot {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // 0: idle.
  unsigned in_flight = 0;
  std::array<Side, 2> sides;
};

void on_complete(BlockRequest& request, const Result<void>& result) {
  Side& side = *static_cast<Side*>(request.owner);
  side.result = result;
  --side.slot->in_flight;
}

// What both images say about the stretch that begins where they were asked.
struct CommonStretch {
  std::uint64_t length = 0;
  std::array<bool, 2> zero = {false, false};
  bool status_differs = false;
};

class ComparisonRun {
 public:
  ComparisonRun(Image& first, Image& second, const CompareOptions& options, CompareReport& report)
      : images_{&first, &second},
        options_(options),
        report_(report),
        end_(std::max(sectors_of(first), sectors_of(second))) {}

  Result<void> run();

 private:
  static std::uint64_t sectors_of(const Image& image) {
    return image.size() + (kSectorBytes - image.size() % kSectorBytes) % kSectorBytes;
  }
  [[nodiscard]] Result<CommonStretch> look_at(std::uint64_t offset);
  [[nodiscard]] Result<void> fill_slots();
  [[nodiscard]] Result<void> start(Slot& slot);
  [[nodiscard]] Result<void> judge(Slot& slot);
  void start_side(Slot& slot, std::size_t index);
  void wait_for(const Slot& slot);
  void drain();
  void tell_difference(Comparison result, std::uint64_t offset);
  void fail_at(std::size_t index, std::uint64_t offset);
  [[nodiscard]] bool is_over() const { return report_.result != Comparison::identical; }

  std::array<Image*, 2> images_;
  const CompareOptions& options_;
  CompareReport& report_;
  std::uint64_t end_;
  std::vector<Slot> slots_;  // A ring: the oldest chunk is at oldest_.
  std::size_t oldest_ = 0;
  std::size_t started_ = 0;
  CommonStretch stretch_;
  std::uint64_t next_offset_ = 0;
};

void ComparisonRun::tell_difference(Comparison result, std::uint64_t offset) {
  if (!is_over()) {
    report_.result = result;
    report_.offset = offset;
  }
}

void ComparisonRun::fail_at(std::size_t index, std::uint64_t offset) {
  report_.failed_image = static_cast<unsigned>(index + 1);
  report_.failed_offset = offset;
}

Result<CommonStretch> ComparisonRun::look_at(std::uint64_t offset) {
  CommonStretch stretch;
  stretch.length = std::min(end_ - offset, kComparedRunMax);
  std::array<BlockStatus, 2> status;
  for (std::size_t i = 0; i < images_.size(); ++i) {
    const std::uint64_t size = images_[i]->size();
    if (offset >= size) {
      stretch.zero[i] = true;  // Past its end a disk counts as zeros.
      continue;
    }
    const Result<BlockStatus> told =
        images_[i]->status(offset, std::min(stretch.length, size - offset));
    if (!told) {
      fail_at(i, offset);
      return told.error();
    }
    status[i] = *told;
    stretch.zero[i] = told->zero;
    stretch.length = std::min(stretch.length, told->length);
  }
  stretch.status_differs =
      options_.strict && (status[0].data != status[1].data || status[0].zero != status[1].zero ||
                          status[0].allocated != status[1].allocated);
  return stretch;
}

void ComparisonRun::start_side(Slot& slot, std::size_t index) {
  Side& side = slot.sides[index];
  side.slot = &slot;
  side.result = {};
  const std::uint64_t size = images_[index]->size();
  side.needed = !stretch_.zero[index] && slot.offset < size;
  if (!side.needed) {
    return;
  }
  const std::uint64_t length = std::min(slot.length, size - slot.offset);
  const Bytes bytes = side.buffer.bytes();
  zero_bytes(bytes.subspan(static_cast<std::size_t>(length)));
  side.vector = {bytes.data(), static_cast<std::size_t>(length)};
  side.request = BlockRequest{};
  side.request.operation = BlockOperation::read;
  side.request.offset = slot.offset;
  side.request.length = length;
  side.request.vectors = &side.vector;
  side.request.vector_count = 1;
  side.request.complete = on_complete;
  side.request.owner = &side;
  ++slot.in_flight;
  images_[index]->submit(side.request);
}

Result<void> ComparisonRun::start(Slot& slot) {
  for (Side& side : slot.sides) {
    if (side.buffer.empty()) {
      side.buffer = VARVE_TRY(Buffer::allocate(options_.chunk_bytes));
    }
  }
  slot.offset = next_offset_;
  slot.length = std::min<std::uint64_t>(stretch_.length, options_.chunk_bytes);
  next_offset_ += slot.length;
  stretch_.length -= slot.length;
  start_side(slot, 0);
  start_side(slot, 1);
  ++started_;
  return {};
}

// Starts chunks while there is room. Stretches that are zero on both sides need no reads.
Result<void> ComparisonRun::fill_slots() {
  while (started_ < slots_.size() && next_offset_ < end_) {
    if (stretch_.length == 0) {
      stretch_ = VARVE_TRY(look_at(next_offset_));
    }
    if (stretch_.status_differs) {
      // Told only once everything before it has been judged.
      if (started_ == 0) {
        tell_difference(Comparison::status_differs, next_offset_);
      }
      return {};
    }
    if (stretch_.zero[0] && stretch_.zero[1]) {
      next_offset_ += stretch_.length;
      stretch_.length = 0;
      continue;
    }
    VARVE_TRY(start(slots_[(oldest_ + started_) % slots_.size()]));
  }
  return {};
}

void ComparisonRun::wait_for(const Slot& slot) {
  while (slot.in_flight != 0) {
    images_[0]->engine().wait();
  }
}

Result<void> ComparisonRun::judge(Slot& slot) {
  for (std::size_t i = 0; i < slot.sides.size(); ++i) {
    if (!slot.sides[i].result) {
      fail_at(i, slot.offset);
      return slot.sides[i].result;
    }
  }
  const auto length = static_cast<std::size_t>(slot.length);
  const ConstBytes first = slot.sides[0].buffer.bytes().first(length);
  const ConstBytes second = slot.sides[1].buffer.bytes().first(length);
  const auto agrees = [&](std::size_t at, std::size_t size) {
    if (!slot.sides[0].needed) {
      return is_all_zero(second.subspan(at, size));
    }
    return slot.sides[1].needed ? equal_bytes(first.subspan(at, size), second.subspan(at, size))
                                : is_all_zero(first.subspan(at, size));
  };
  if (agrees(0, length)) {
    return {};
  }
  for (std::size_t at = 0; at < length; at += kSectorBytes) {
    if (!agrees(at, std::min<std::size_t>(kSectorBytes, length - at))) {
      tell_difference(Comparison::content_differs, slot.offset + at);
      break;
    }
  }
  return {};
}

void ComparisonRun::drain() {
  for (const Slot& slot : slots_) {
    wait_for(slot);
  }
}

Result<void> ComparisonRun::run() {
  if (options_.parallel < 1 || options_.parallel > kComparedAtOnceMax ||
      options_.chunk_bytes == 0 || options_.chunk_bytes > kComparedChunkMax ||
      options_.chunk_bytes % kSectorBytes != 0) {
    return failure(ErrorCode::invalid_argument, "a comparison option is outside its limits");
  }
  if (options_.strict && sectors_of(*images_[0]) != sectors_of(*images_[1])) {
    tell_difference(Comparison::size_differs, 0);
    return {};
  }
  slots_ = std::vector<Slot>(options_.parallel);
  Result<void> result;
  while (result && !is_over()) {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      result = failure(ErrorCode::cancelled, "the comparison was cancelled");
      break;
    }
    result = fill_slots();
    if (!result || started_ == 0) {
      break;
    }
    Slot& slot = slots_[oldest_];
    wait_for(slot);
    result = judge(slot);
    oldest_ = (oldest_ + 1) % slots_.size();
    --started_;
    if (options_.progress) {
      options_.progress(slot.offset + slot.length, end_);
    }
  }
  drain();
  if (result && !is_over() && options_.progress) {
    options_.progress(end_, end_);
  }
  return result;
}

}  // namespace

Result<void> compare(Image& first, Image& second, const CompareOptions& options,
                     CompareReport& report) noexcept {
  report = CompareReport{};
  try {
    return ComparisonRun(first, second, options, report).run();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the comparison's slots");
  }
}

}  // namespace varve
