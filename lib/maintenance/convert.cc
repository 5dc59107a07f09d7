// Copying in chunks: each slot carries one chunk from the source to the target, several slots are
// in flight, and the calling thread plans the next chunk meanwhile.
// Threads: the calling thread's engine. Completions only count down and keep the first error; every
// decision is made in the loop of Conversion::run, so that it reads top to bottom.

#include <algorithm>
#include <array>
#include <chrono>
#include <new>
#include <vector>

#include <varve/convert.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "base/units.h"

namespace varve {

namespace {

constexpr unsigned kParallelMax = 64;
constexpr std::size_t kChunkMax = 64 * kMiB;
constexpr std::size_t kPiecesPerSlot = 16;   // Writes one chunk has in flight at most.
constexpr std::uint64_t kZeroChunk = kGiB;   // Longest stretch of zeros told at once.
constexpr std::uint64_t kRunMax = 4 * kGiB;  // Longest stretch asked of the source at once.
constexpr int kRateWaitMilliseconds = 10;

// What happens to a stretch of the source.
enum class Treatment : std::uint8_t {
  skip,  // The target has it already.
  zero,  // The target is told that it reads as zeros.
  copy,
};

struct Stretch {
  Treatment treatment = Treatment::skip;
  std::uint64_t length = 0;
};

struct Slot;

// One request of a slot.
struct Piece {
  Slot* slot = nullptr;
  bool busy = false;
  IoVector vector;
  BlockRequest request;
};

// One chunk on its way. A step of idle means that the slot is free.
struct Slot {
  enum class Step : std::uint8_t { idle, reading, writing };
  Step step = Step::idle;
  Treatment treatment = Treatment::copy;
  std::uint64_t sequence = 0;
  std::uint64_t offset = 0;  // In the source.
  std::uint64_t length = 0;
  std::uint64_t planned = 0;  // Bytes whose writes have been submitted, or need none.
  unsigned in_flight = 0;
  Result<void> result;
  CopySide failed_side = CopySide::none;
  std::uint64_t failed_offset = 0;
  Buffer buffer;
  std::array<Piece, kPiecesPerSlot> pieces;
};

void on_complete(BlockRequest& request, const Result<void>& result) {
  Piece& piece = *static_cast<Piece*>(request.owner);
  Slot& slot = *piece.slot;
  piece.busy = false;
  --slot.in_flight;
  if (!result && slot.result) {
    slot.result = result;
    slot.failed_side = slot.step == Slot::Step::reading ? CopySide::source : CopySide::target;
    slot.failed_offset = request.offset;
  }
}

void submit(Image& image, Slot& slot, BlockOperation operation, std::uint64_t offset, Bytes bytes,
            std::uint64_t length) {
  Piece& piece = *std::find_if(slot.pieces.begin(), slot.pieces.end(),
                               [](const Piece& candidate) { return !candidate.busy; });
  piece.slot = &slot;
  piece.busy = true;
  piece.vector = {bytes.data(), bytes.size()};
  piece.request = BlockRequest{};
  piece.request.operation = operation;
  piece.request.may_unmap = operation == BlockOperation::write_zeroes;
  piece.request.offset = offset;
  piece.request.length = length;
  piece.request.vectors = bytes.empty() ? nullptr : &piece.vector;
  piece.request.vector_count = bytes.empty() ? 0 : 1;
  piece.request.complete = on_complete;
  piece.request.owner = &piece;
  ++slot.in_flight;
  image.submit(piece.request);
}

class Conversion {
 public:
  Conversion(Image& source, Image& target, const ConvertOptions& options, ConvertReport& report)
      : source_(source), target_(target), options_(options), report_(report) {}

  Result<void> run();

 private:
  [[nodiscard]] Result<void> check_options() const;
  [[nodiscard]] Result<Stretch> look_at(std::uint64_t offset) const;
  [[nodiscard]] Stretch fit_to_clusters(Stretch stretch) const;
  [[nodiscard]] std::uint64_t chunk_end(std::uint64_t end) const;
  void fill_slots();
  void start_chunk(Slot& slot, std::uint64_t length);
  bool advance(Slot& slot);
  void plan_writes(Slot& slot);
  void write_piece(Slot& slot, bool zero, std::uint64_t length);
  [[nodiscard]] std::uint64_t piece_length(const Slot& slot, bool& zero) const;
  [[nodiscard]] bool is_ahead_of_rate() const;
  void fail(const Error& error, CopySide side, std::uint64_t offset);
  void add_done(std::uint64_t bytes);

  Image& source_;
  Image& target_;
  const ConvertOptions& options_;
  ConvertReport& report_;
  std::vector<Slot> slots_;
  Stretch stretch_;                // What is left of the one being copied.
  std::uint64_t next_offset_ = 0;  // First source byte no slot has taken.
  std::uint64_t next_sequence_ = 0;
  std::uint64_t writing_sequence_ = 0;  // The chunk whose turn it is to submit writes.
  std::uint64_t done_bytes_ = 0;
  std::uint64_t copied_bytes_ = 0;  // Against the rate.
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  Result<void> result_;
};

Result<void> Conversion::check_options() const {
  const auto is_chunk = [](std::size_t bytes) {
    return bytes <= kChunkMax && bytes % kSectorBytes == 0;
  };
  if (options_.parallel < 1 || options_.parallel > kParallelMax ||
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

void Conversion::start_chunk(Slot& slot, std::uint64_t length) {
  slot.treatment = stretch_.treatment;
  slot.sequence = next_sequence_++;
  slot.offset = next_offset_;
  slot.length = length;
  slot.planned = 0;
  slot.result = {};
  next_offset_ += length;
  stretch_.length -= length;
  slot.step = Slot::Step::writing;
  if (slot.treatment == Treatment::copy) {
    copied_bytes_ += length;
    slot.step = Slot::Step::reading;
    submit(source_, slot, BlockOperation::read, slot.offset,
           slot.buffer.bytes().first(static_cast<std::size_t>(length)), length);
  }
}

// Gives every idle slot the next chunk of the source.
void Conversion::fill_slots() {
  for (Slot& slot : slots_) {
    while (slot.step == Slot::Step::idle && next_offset_ < source_.size() && result_ &&
           !is_ahead_of_rate()) {
      if (stretch_.length == 0) {
        const Result<Stretch> looked = look_at(next_offset_);
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

// How much of the chunk can be written next by one request, and whether it is all zeros.
std::uint64_t Conversion::piece_length(const Slot& slot, bool& zero) const {
  const std::uint64_t left = slot.length - slot.planned;
  zero = slot.treatment == Treatment::zero;
  if (zero) {
    return left;
  }
  const ConstBytes chunk = slot.buffer.bytes();
  const std::uint64_t granule =
      options_.compressed ? options_.cluster_bytes : options_.sparse_bytes;
  if (granule == 0) {
    return left;
  }
  std::uint64_t length = 0;
  while (length < left) {
    const std::uint64_t at = slot.planned + length;
    const std::uint64_t place = slot.offset + at;
    const std::uint64_t step = std::min((place / granule + 1) * granule - place, left - length);
    const bool step_zero =
        options_.sparse_bytes != 0 &&
        is_all_zero(chunk.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(step)));
    if (length != 0 && (step_zero != zero || (options_.compressed && !zero))) {
      break;
    }
    zero = step_zero;
    length += step;
  }
  return length;
}

void Conversion::write_piece(Slot& slot, bool zero, std::uint64_t length) {
  const std::uint64_t offset = options_.target_offset + slot.offset + slot.planned;
  if (zero) {
    const bool known_zero =
        options_.skip_backing ? offset >= options_.target_backing_size : options_.target_is_zero;
    if (!known_zero) {
      report_.zeroed_bytes += length;
      submit(target_, slot, BlockOperation::write_zeroes, offset, {}, length);
    }
    return;
  }
  report_.written_bytes += length;
  submit(target_, slot,
         options_.compressed ? BlockOperation::write_compressed : BlockOperation::write, offset,
         slot.buffer.bytes().subspan(static_cast<std::size_t>(slot.planned),
                                     static_cast<std::size_t>(length)),
         length);
}

void Conversion::plan_writes(Slot& slot) {
  while (slot.planned < slot.length && slot.in_flight < kPiecesPerSlot) {
    bool zero = false;
    const std::uint64_t length = piece_length(slot, zero);
    write_piece(slot, zero, length);
    slot.planned += length;
  }
}

// Takes the slot as far as it goes without waiting; whether anything changed.
bool Conversion::advance(Slot& slot) {
  if (slot.step == Slot::Step::idle || (slot.step == Slot::Step::reading && slot.in_flight != 0)) {
    return false;
  }
  if (!slot.result) {
    fail(slot.result.error(), slot.failed_side, slot.failed_offset);
  }
  const std::uint64_t planned_before = slot.planned;
  if (result_) {
    // In order: what is written first lies first in the file.
    if (!options_.out_of_order && slot.sequence > writing_sequence_) {
      return false;
    }
    slot.step = Slot::Step::writing;
    plan_writes(slot);
    if (slot.planned == slot.length && slot.sequence == writing_sequence_) {
      ++writing_sequence_;
    }
  }
  if (slot.in_flight == 0 && (!result_ || slot.planned == slot.length)) {
    slot.step = Slot::Step::idle;
    add_done(slot.length);
    return true;
  }
  return slot.planned != planned_before;
}

Result<void> Conversion::run() {
  VARVE_TRY(check_options());
  slots_ = std::vector<Slot>(options_.parallel);
  for (Slot& slot : slots_) {
    slot.buffer = VARVE_TRY(Buffer::allocate(options_.chunk_bytes));
  }
  for (;;) {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      fail(failure(ErrorCode::cancelled, "the conversion was cancelled"), CopySide::none, 0);
    }
    fill_slots();
    bool changed = false;
    bool in_flight = false;
    for (Slot& slot : slots_) {
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

}  // namespace

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
