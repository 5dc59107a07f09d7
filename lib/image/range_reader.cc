#include "image/range_reader.h"

#include <algorithm>

#include "base/failure.h"

namespace varve {

Answer<bool> reads_as_zeros(const ReadSource& source, GuestOffset begin, GuestOffset end) noexcept {
  while (begin < end) {
    Answer<MapExtent> extent = source.map->find(begin, end - begin);
    if (const Need* need = extent.need()) {
      return *need;
    }
    if (extent.error() != nullptr) {
      return false;
    }
    const bool shows_backing = extent->kind == MapExtent::Kind::unallocated &&
                               source.backing != nullptr && begin.value() < source.backing->size();
    if (shows_backing || extent->kind == MapExtent::Kind::data ||
        extent->kind == MapExtent::Kind::compressed) {
      return false;
    }
    begin += extent->length;
  }
  return true;
}

RangeReader::RangeReader() noexcept {
  for (Slot& slot : slots_) {
    slot.reader = this;
  }
}

bool RangeReader::start(const ReadSource& source, GuestOffset offset, std::uint64_t length,
                        VectorCursor target, Waiter& done) noexcept {
  VARVE_ASSERT(pending_ == 0 && !is_waiting_ && !is_compressed_);
  source_ = source;
  position_ = offset;
  end_ = offset + length;
  target_ = target;
  done_ = &done;
  result_ = Result<void>();
  return !pump();
}

RangeReader::Slot& RangeReader::free_slot() noexcept {
  const auto slot = std::ranges::find(slots_, false, &Slot::is_used);
  VARVE_ASSERT(slot != slots_.end());
  return *slot;
}

bool RangeReader::pump() noexcept {
  while (result_ && position_ < end_ && !is_waiting_ && !is_compressed_ && pending_ < kSlots) {
    Answer<MapExtent> answer = source_.map->find(position_, end_ - position_);
    if (const Need* need = answer.need()) {
      is_waiting_ = true;
      source_.metadata->satisfy(*need, *this);
    } else if (const Error* error = answer.error()) {
      fail(*error);
    } else if (!start_piece(*answer)) {
      break;
    }
  }
  const bool is_over = pending_ == 0 && !is_waiting_ && !is_compressed_;
  VARVE_ASSERT(!is_over || !result_ || position_ == end_);
  return is_over;
}

// False: no buffer for now.
bool RangeReader::start_piece(const MapExtent& extent) noexcept {
  const bool from_backing = extent.kind == MapExtent::Kind::unallocated &&
                            source_.backing != nullptr &&
                            position_.value() < source_.backing->size();
  if (extent.kind == MapExtent::Kind::compressed) {
    return start_compressed(extent);
  }
  if (extent.kind == MapExtent::Kind::data) {
    read_file(free_slot(), extent);
  } else if (from_backing) {
    read_backing(free_slot(), extent);
  } else {
    target_.fill_zero(extent.length);
    position_ += extent.length;
  }
  return true;
}

void RangeReader::read_file(Slot& slot, const MapExtent& extent) noexcept {
  std::uint64_t length = extent.length;
  const std::uint32_t count = target_.describe(slot.vectors.data(), kVectorsPerSlot, length);
  target_.advance(length);
  position_ += length;
  slot.is_used = true;
  ++pending_;
  StorageRequest& request = slot.storage_request;
  request.operation = StorageOperation::read;
  request.tag = IoTag::guest_data;
  request.offset = extent.host.value();
  request.vectors = slot.vectors.data();
  request.vector_count = count;
  request.owner = &slot;
  request.complete = [](StorageRequest& done, const Result<void>& result) {
    Slot& used = *static_cast<Slot*>(done.owner);
    used.is_used = false;
    used.reader->piece_done(result);
  };
  count_request(source_.metadata->counters, request);
  source_.metadata->guest_source().submit(request);
}

void RangeReader::read_backing(Slot& slot, const MapExtent& extent) noexcept {
  // Beyond the backing disk's end the disk reads as zeros.
  std::uint64_t length = std::min(extent.length, source_.backing->size() - position_.value());
  const std::uint32_t count = target_.describe(slot.vectors.data(), kVectorsPerSlot, length);
  BlockRequest& request = slot.block_request;
  request = BlockRequest();
  request.operation = BlockOperation::read;
  request.offset = position_.value();
  request.length = length;
  request.vectors = slot.vectors.data();
  request.vector_count = count;
  request.owner = &slot;
  request.complete = [](BlockRequest& done, const Result<void>& result) {
    Slot& used = *static_cast<Slot*>(done.owner);
    used.is_used = false;
    used.reader->piece_done(result);
  };
  target_.advance(length);
  position_ += length;
  slot.is_used = true;
  ++pending_;
  source_.backing->submit(request);
}

bool RangeReader::start_compressed(const MapExtent& extent) noexcept {
  Result<Buffer*> taken = source_.scratch->take(*this);
  if (!taken) {
    fail(taken.error());
    return true;
  }
  if (*taken == nullptr) {
    is_waiting_ = true;
    return false;
  }
  scratch_ = *taken;
  compressed_ = extent;
  is_compressed_ = true;
  Slot& slot = free_slot();
  slot.is_used = true;
  const CompressedExtent bytes = extent.entry.compressed_extent(source_.map->geometry());
  VARVE_ASSERT(bytes.length <= 2 * source_.map->geometry().cluster_bytes());
  slot.vectors[0] = {scratch_->data(), static_cast<std::size_t>(bytes.length)};
  StorageRequest& request = slot.storage_request;
  request = StorageRequest();
  request.operation = StorageOperation::read;
  request.tag = IoTag::compressed_data;
  request.offset = bytes.offset.value();
  request.vectors = slot.vectors.data();
  request.vector_count = 1;
  request.owner = &slot;
  request.complete = [](StorageRequest& done, const Result<void>& result) {
    Slot& used = *static_cast<Slot*>(done.owner);
    used.is_used = false;
    used.reader->finish_compressed(result);
  };
  count_request(source_.metadata->counters, request);
  source_.metadata->file->submit(request);
  return true;
}

void RangeReader::finish_compressed(const Result<void>& read) noexcept {
  const Geometry& geometry = source_.map->geometry();
  const CompressedExtent bytes = compressed_.entry.compressed_extent(geometry);
  const Bytes cluster =
      scratch_->bytes().subspan(2 * geometry.cluster_bytes(), geometry.cluster_bytes());
  Result<void> outcome = read;
  if (outcome) {
    outcome = source_.codec->decompress(scratch_->bytes().first(bytes.length), cluster);
    if (!outcome) {
      Error error = outcome.error();
      error.offset = bytes.offset.value();
      outcome = error;
    }
  }
  if (outcome) {
    target_.copy_in(cluster.subspan(geometry.in_cluster(position_.value()), compressed_.length));
    position_ += compressed_.length;
  } else if (result_) {
    result_ = outcome;
  }
  Buffer& scratch = *scratch_;
  scratch_ = nullptr;
  is_compressed_ = false;
  source_.scratch->give_back(scratch);
  step();
}

void RangeReader::fail(const Error& error) noexcept {
  if (result_) {
    result_ = error;
  }
}

void RangeReader::piece_done(const Result<void>& result) noexcept {
  --pending_;
  if (!result) {
    fail(result.error());
  }
  step();
}

void RangeReader::resume(const Result<void>& result) noexcept {
  is_waiting_ = false;
  if (!result) {
    fail(result.error());
  }
  step();
}

void RangeReader::step() noexcept {
  if (pump()) {
    done_->resume(result_);
  }
}

}  // namespace varve
