// Planning a copy: what happens to each stretch of the source.

#include <algorithm>
#include <new>

#include <varve/convert.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "base/units.h"
#include "maintenance/conversion.h"

namespace varve {

namespace {

constexpr unsigned kParallelMax = 64;
constexpr unsigned kThreadsMax = 64;
constexpr std::size_t kChunkMax = 64 * kMiB;
constexpr std::uint64_t kZeroChunk = kGiB;   // Longest stretch of zeros told at once.
constexpr std::uint64_t kRunMax = 4 * kGiB;  // Longest stretch asked of the source at once.
constexpr int kRateWaitMilliseconds = 10;

}  // namespace

Result<void> Conversion::check_options() const {
  const auto is_chunk = [](std::size_t bytes) {
    return bytes <= kChunkMax && bytes % kSectorBytes == 0;
  };
  if (options_.parallel < 1 || options_.parallel > kParallelMax || options_.threads > kThreadsMax ||
      !is_chunk(options_.sparse_bytes) || !is_chunk(options_.chunk_bytes) ||
      options_.chunk_bytes == 0) {
    return failure(ErrorCode::invalid_argument, "a conversion option is outside its limits");
  }
  if (options_.compressed && (!is_power_of_two(options_.cluster_bytes) ||
                              options_.chunk_bytes % options_.cluster_bytes != 0 ||
                              !is_aligned(options_.target_offset, options_.cluster_bytes))) {
    return failure(ErrorCode::invalid_argument,
                   "compressed chunks must be made of whole clusters of the target");
  }
  if (!range_fits(options_.target_offset, source_.size(), target_.size())) {
    Error error = failure(ErrorCode::out_of_range, "the target is smaller than the source");
    error.value = source_.size();
    error.limit = target_.size();
    return error;
  }
  return {};
}

Result<Stretch> Conversion::look_at(std::uint64_t offset) const {
  const Image* backing = options_.skip_backing ? source_.backing() : nullptr;
  const std::uint64_t backing_size = backing == nullptr ? 0 : backing->size();
  std::uint64_t bound = std::min(source_.size() - offset, kRunMax);
  if (offset < backing_size) {
    bound = std::min(bound, backing_size - offset);
  }
  BlockStatus status = VARVE_TRY(source_.status(offset, bound, !options_.skip_backing));
  // Behind the end of a shorter backing file nothing shows through.
  status.zero =
      status.zero || (options_.skip_backing && !status.allocated && offset >= backing_size);
  Stretch stretch{Treatment::copy, std::min(status.length, bound)};
  if (options_.skip_backing && !status.allocated && !status.zero) {
    stretch.treatment = Treatment::skip;
  } else if (status.zero && options_.sparse_bytes != 0) {
    // Past the end of its backing file the target reads as zeros without being told.
    const bool known_zero = options_.skip_backing
                                ? offset + options_.target_offset >= options_.target_backing_size
                                : options_.target_is_zero;
    stretch.treatment = known_zero ? Treatment::skip : Treatment::zero;
  }
  return options_.compressed ? fit_to_clusters(stretch) : stretch;
}

bool Conversion::is_salvageable(const Error& error) const {
  return options_.salvage && error.code != ErrorCode::no_memory &&
         error.code != ErrorCode::cancelled;
}

// Where the source's tables do not tell, the next sector is read all the same.
Result<Stretch> Conversion::look_at_or_salvage(std::uint64_t offset) const {
  Result<Stretch> looked = look_at(offset);
  if (looked || !is_salvageable(looked.error())) {
    return looked;
  }
  if (options_.unreadable) {
    options_.unreadable(offset, looked.error(), true);
  }
  const Stretch sector{Treatment::copy, std::min(kSectorBytes, source_.size() - offset)};
  return options_.compressed ? fit_to_clusters(sector) : sector;
}

// Compressed clusters are written whole: a cluster with any data in it is copied.
Stretch Conversion::fit_to_clusters(Stretch stretch) const {
  const std::uint64_t cluster = options_.cluster_bytes;
  const std::uint64_t left = source_.size() - next_offset_;
  if (stretch.treatment != Treatment::copy && stretch.length < left) {
    const std::uint64_t whole = round_down(stretch.length, cluster);
    if (whole != 0) {
      return {stretch.treatment, whole};
    }
    stretch = {Treatment::copy, cluster};
  }
  if (stretch.treatment == Treatment::copy) {
    stretch.length = std::min(round_up(stretch.length, cluster), left);
  }
  return stretch;
}

// Chunks end on multiples of their size, so that no cluster is split between two of them.
std::uint64_t Conversion::chunk_end(std::uint64_t end) const {
  const std::uint64_t chunk = options_.chunk_bytes;
  const std::uint64_t boundary = (next_offset_ / chunk + 1) * chunk;
  return std::min(end, boundary);
}

bool Conversion::is_ahead_of_rate() const {
  if (options_.rate_bytes_per_second == 0) {
    return false;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started_;
  return static_cast<double>(copied_bytes_) >
         elapsed.count() * static_cast<double>(options_.rate_bytes_per_second);
}

void Conversion::fail(const Error& error, CopySide side, std::uint64_t offset) {
  if (result_) {
    result_ = error;
    report_.failed_side = side;
    report_.failed_offset = offset;
  }
}

void Conversion::add_done(std::uint64_t bytes) {
  done_bytes_ += bytes;
  if (options_.progress) {
    options_.progress(done_bytes_, source_.size());
  }
}

void Conversion::start_chunk(ConversionSlot& slot, std::uint64_t length) {
  slot.treatment = stretch_.treatment;
  slot.sequence = next_sequence_++;
  slot.offset = next_offset_;
  slot.length = length;
  slot.planned = 0;
  slot.result = {};
  next_offset_ += length;
  stretch_.length -= length;
  slot.step = ConversionSlot::Step::writing;
  if (slot.treatment == Treatment::copy) {
    copied_bytes_ += length;
    slot.step = ConversionSlot::Step::reading;
    submit(source_, slot, BlockOperation::read, slot.offset,
           slot.buffer.bytes().first(static_cast<std::size_t>(length)), length);
  }
}

// Gives every idle slot the next chunk of the source.
void Conversion::fill_slots() {
  for (ConversionSlot& slot : slots_) {
    while (slot.step == ConversionSlot::Step::idle && next_offset_ < source_.size() && result_ &&
           !is_ahead_of_rate()) {
      if (stretch_.length == 0) {
        const Result<Stretch> looked = look_at_or_salvage(next_offset_);
        if (!looked) {
          return fail(looked.error(), CopySide::source, next_offset_);
        }
        stretch_ = *looked;
      }
      if (stretch_.treatment == Treatment::skip) {
        next_offset_ += stretch_.length;
        add_done(stretch_.length);
        stretch_.length = 0;
        continue;
      }
      const std::uint64_t end = next_offset_ + stretch_.length;
      start_chunk(slot, stretch_.treatment == Treatment::zero
                            ? std::min(stretch_.length, kZeroChunk)
                            : chunk_end(end) - next_offset_);
    }
  }
}

Result<void> Conversion::prepare() {
  slots_ = std::vector<ConversionSlot>(options_.parallel);
  for (ConversionSlot& slot : slots_) {
    slot.buffer = VARVE_TRY(Buffer::allocate(options_.chunk_bytes));
  }
  packed_target_ = dynamic_cast<Qcow2Image*>(&target_.core());
  if (!options_.compressed || options_.threads == 0 || packed_target_ == nullptr) {
    return {};  // The target compresses, or refuses to.
  }
  const std::size_t step = std::max<std::size_t>(kPackJobBytes, options_.cluster_bytes);
  for (ConversionSlot& slot : slots_) {
    slot.packed = VARVE_TRY(Buffer::allocate(options_.chunk_bytes));
    slot.stream_bytes.resize(options_.chunk_bytes / options_.cluster_bytes);
    slot.jobs = std::vector<Packer::Job>(divide_up(options_.chunk_bytes, step));
  }
  packer_ = VARVE_TRY(Packer::start(target_.engine(), target_.facts().compression,
                                    options_.cluster_bytes, options_.threads));
  return {};
}

Result<void> Conversion::run() {
  VARVE_TRY(check_options());
  VARVE_TRY(prepare());
  for (;;) {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      fail(failure(ErrorCode::cancelled, "the conversion was cancelled"), CopySide::none, 0);
    }
    fill_slots();
    bool changed = false;
    bool in_flight = false;
    for (ConversionSlot& slot : slots_) {
      changed = advance(slot) || changed;
      in_flight = in_flight || slot.in_flight != 0;
    }
    if (changed) {
      continue;
    }
    if (in_flight) {
      source_.engine().wait();
    } else if (result_ && next_offset_ < source_.size()) {
      source_.engine().wait(kRateWaitMilliseconds);
    } else {
      return result_;
    }
  }
}

Result<void> convert(Image& source, Image& target, const ConvertOptions& options,
                     ConvertReport* report) noexcept {
  ConvertReport unused;
  ConvertReport& filled = report == nullptr ? unused : *report;
  filled = ConvertReport{};
  try {
    return Conversion(source, target, options, filled).run();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the conversion's slots");
  }
}

}  // namespace varve
