// One chunk's way: read, salvaged where it must be, compressed where it shall be, written.

#include <algorithm>

#include "base/bytes.h"
#include "base/failure.h"
#include "base/units.h"
#include "maintenance/conversion.h"

namespace varve {

void Conversion::on_complete(BlockRequest& request, const Result<void>& result) {
  ConversionPiece& piece = *static_cast<ConversionPiece*>(request.owner);
  ConversionSlot& slot = *piece.slot;
  piece.busy = false;
  --slot.in_flight;
  if (!result && slot.result) {
    slot.result = result;
    slot.failed_side =
        slot.step == ConversionSlot::Step::writing ? CopySide::target : CopySide::source;
    slot.failed_offset = request.offset;
  }
}

void Conversion::submit(Image& image, ConversionSlot& slot, BlockOperation operation,
                        std::uint64_t offset, Bytes bytes, std::uint64_t length, IoVector packed) {
  ConversionPiece& piece =
      *std::find_if(slot.pieces.begin(), slot.pieces.end(),
                    [](const ConversionPiece& candidate) { return !candidate.busy; });
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
  if (packed.size != 0) {
    packed_target_->submit_packed(piece.request, packed);
  } else {
    image.submit(piece.request);
  }
}

// How much of the chunk can be written next by one request, and whether it is all zeros.
std::uint64_t Conversion::piece_length(const ConversionSlot& slot, bool& zero) const {
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

// Fails the copy when so much more data is more than was allowed.
bool Conversion::is_within_limit(std::uint64_t length, std::uint64_t offset) {
  const std::uint64_t limit = options_.output_bytes_max;
  if (limit == 0 || length <= limit - report_.written_bytes) {
    return true;
  }
  Error error = failure(ErrorCode::over_budget, "more data would be written than was allowed");
  error.value = report_.written_bytes + length;
  error.limit = limit;
  fail(error, CopySide::target, offset);
  return false;
}

void Conversion::write_piece(ConversionSlot& slot, bool zero, std::uint64_t length) {
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
  if (!is_within_limit(length, offset)) {
    return;
  }
  report_.written_bytes += length;
  const auto at = static_cast<std::size_t>(slot.planned);
  const Bytes bytes = slot.buffer.bytes().subspan(at, static_cast<std::size_t>(length));
  if (packer_ != nullptr) {
    const std::uint32_t packed_bytes = slot.stream_bytes[at / options_.cluster_bytes];
    submit(target_, slot,
           packed_bytes != 0 ? BlockOperation::write_compressed : BlockOperation::write, offset,
           bytes, length, {slot.packed.data() + at, packed_bytes});
    return;
  }
  submit(target_, slot,
         options_.compressed ? BlockOperation::write_compressed : BlockOperation::write, offset,
         bytes, length);
}

void Conversion::plan_writes(ConversionSlot& slot) {
  while (result_ && slot.planned < slot.length && slot.in_flight < ConversionSlot::kPieces) {
    bool zero = false;
    const std::uint64_t length = piece_length(slot, zero);
    write_piece(slot, zero, length);
    slot.planned += length;
  }
}

// Reads what can be read of a chunk that could not be read as a whole: ever smaller pieces, and
// zeros for a sector that fails alone. False when the chunk is complete.
bool Conversion::salvage(ConversionSlot& slot) {
  const Bytes chunk = slot.buffer.bytes();
  if (slot.step == ConversionSlot::Step::reading) {
    slot.step = ConversionSlot::Step::salvaging;
    slot.salvaged = 0;
    slot.salvage_length = slot.length;
  }
  if (slot.result) {
    slot.salvaged += slot.salvage_length;
    slot.salvage_length *= 2;
  } else if (slot.salvage_length > kSectorBytes) {
    slot.salvage_length = round_up(slot.salvage_length / 2, kSectorBytes);
  } else {
    if (options_.unreadable) {
      options_.unreadable(slot.offset + slot.salvaged, slot.result.error(), false);
    }
    report_.unreadable_bytes += slot.salvage_length;
    zero_bytes(chunk.subspan(static_cast<std::size_t>(slot.salvaged),
                             static_cast<std::size_t>(slot.salvage_length)));
    slot.salvaged += slot.salvage_length;
  }
  slot.result = {};
  if (slot.salvaged == slot.length) {
    return false;
  }
  slot.salvage_length = std::min(slot.salvage_length, slot.length - slot.salvaged);
  submit(source_, slot, BlockOperation::read, slot.offset + slot.salvaged,
         chunk.subspan(static_cast<std::size_t>(slot.salvaged),
                       static_cast<std::size_t>(slot.salvage_length)),
         slot.salvage_length);
  return true;
}

void Conversion::on_packed(StorageRequest& request, const Result<void>& result) {
  ConversionSlot& slot = *static_cast<ConversionSlot*>(request.owner);
  --slot.in_flight;
  if (!result && slot.result) {
    slot.result = result;
    slot.failed_side = CopySide::target;
    slot.failed_offset = slot.offset;
  }
}

// Hands the chunk to the workers, some clusters to each. Clusters of zeros are packed in vain; they
// take next to no time.
void Conversion::start_packing(ConversionSlot& slot) {
  const std::size_t cluster_bytes = options_.cluster_bytes;
  const auto length = static_cast<std::size_t>(round_up(slot.length, cluster_bytes));
  // The disk's last cluster may be shorter.
  zero_bytes(slot.buffer.bytes().first(length).subspan(static_cast<std::size_t>(slot.length)));
  slot.step = ConversionSlot::Step::packing;
  const std::size_t step = std::max(kPackJobBytes, cluster_bytes);
  for (std::size_t at = 0; at < length; at += step) {
    Packer::Job& job = slot.jobs[at / step];
    const std::size_t bytes = std::min(step, length - at);
    job.clusters = slot.buffer.bytes().subspan(at, bytes);
    job.packed = slot.packed.bytes().subspan(at, bytes);
    job.stream_bytes = slot.stream_bytes.data() + at / cluster_bytes;
    job.done = StorageRequest();
    job.done.owner = &slot;
    job.done.complete = on_packed;
    ++slot.in_flight;
    packer_->submit(job);
  }
}

// A chunk that has been read, or could not be: whether more is under way before it can be written.
bool Conversion::is_completed_by_more(ConversionSlot& slot) {
  using Step = ConversionSlot::Step;
  if (!result_ || (slot.step != Step::reading && slot.step != Step::salvaging)) {
    return false;
  }
  const bool is_incomplete = slot.step == Step::salvaging || !slot.result;
  const bool can_go_on = slot.result || is_salvageable(slot.result.error());
  if (is_incomplete && can_go_on && salvage(slot)) {
    return true;
  }
  if (packer_ != nullptr && slot.result) {
    start_packing(slot);
    return true;
  }
  return false;
}

// Takes the slot as far as it goes without waiting; whether anything changed.
bool Conversion::advance(ConversionSlot& slot) {
  using Step = ConversionSlot::Step;
  if (slot.step == Step::idle || (slot.step != Step::writing && slot.in_flight != 0)) {
    return false;
  }
  if (is_completed_by_more(slot)) {
    return true;
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
    slot.step = Step::writing;
    plan_writes(slot);
    if (slot.planned == slot.length && slot.sequence == writing_sequence_) {
      ++writing_sequence_;
    }
  }
  if (slot.in_flight == 0 && (!result_ || slot.planned == slot.length)) {
    slot.step = Step::idle;
    add_done(slot.length);
    return true;
  }
  return slot.planned != planned_before;
}

}  // namespace varve
