#include "image/raw_image.h"

#include <algorithm>
#include <new>

#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "base/units.h"
#include "meta/batch.h"

namespace varve {

Result<std::unique_ptr<RawImage>> RawImage::make(std::unique_ptr<Storage> storage, bool is_writable,
                                                 DiscardMode discard,
                                                 unsigned operations_max) noexcept {
  try {
    return std::make_unique<RawImage>(std::move(storage), is_writable, discard, operations_max);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate an image");
  }
}

RawImage::RawImage(std::unique_ptr<Storage> storage, bool is_writable, DiscardMode discard,
                   unsigned operations_max)
    : storage_(std::move(storage)),
      is_writable_(is_writable),
      can_discard_(discard == DiscardMode::unmap && storage_->capabilities().can_discard),
      slots_(operations_max) {
  free_.reserve(slots_.size());
  for (Slot& slot : slots_) {
    slot.image = this;
    free_.push_back(&slot);
  }
}

RawImage::~RawImage() {
  VARVE_ASSERT(free_.size() == slots_.size());
}

// A file that ends inside a sector is a disk whose last sector ends in zeros.
std::uint64_t RawImage::size() const noexcept {
  return round_up(storage_->size(), kSectorBytes);
}

ImageFacts RawImage::facts() const {
  ImageFacts facts;
  facts.format = Format::raw;
  facts.virtual_size = size();
  facts.file_size = storage_->size();
  return facts;
}

void RawImage::submit(BlockRequest& request) noexcept {
  request.internal = BlockRequest::Private();
  latency.begin(request);
  if (free_.empty()) {
    queue_.push(request);
    return;
  }
  Slot& slot = *free_.back();
  free_.pop_back();
  start(slot, request);
}

void RawImage::start(Slot& slot, BlockRequest& request) noexcept {
  slot.block = &request;
  slot.request = StorageRequest();
  slot.request.owner = &slot;
  slot.request.tag = IoTag::guest_data;
  slot.request.offset = request.offset;
  slot.request.length = request.length;
  slot.request.complete = [](StorageRequest& done, const Result<void>& result) {
    Slot& used = *static_cast<Slot*>(done.owner);
    used.image->finish(used, result);
  };
  Result<void> valid = validate_request(request, size(), is_writable_);
  bool is_nothing = request.length == 0 && request.operation != BlockOperation::flush;
  switch (request.operation) {
    case BlockOperation::read:
    case BlockOperation::write:
      slot.request.operation = request.operation == BlockOperation::read ? StorageOperation::read
                                                                         : StorageOperation::write;
      slot.request.vectors = request.vectors;
      slot.request.vector_count = request.vector_count;
      break;
    case BlockOperation::write_zeroes:
      slot.request.operation = StorageOperation::write_zeroes;
      break;
    case BlockOperation::discard:
      slot.request.operation = StorageOperation::discard;
      is_nothing = is_nothing || !can_discard_;
      break;
    case BlockOperation::flush:
      slot.request.operation = StorageOperation::flush;
      is_nothing = !is_writable_;
      break;
    case BlockOperation::write_compressed:
      valid = valid ? failure(ErrorCode::unsupported, "raw images cannot be compressed") : valid;
      break;
  }
  if (!valid || is_nothing) {
    storage_->engine().post(slot.request, valid);
    return;
  }
  count_request(counters_, slot.request);
  storage_->submit(slot.request);
}

void RawImage::finish(Slot& slot, const Result<void>& result) noexcept {
  BlockRequest& block = *slot.block;
  const Result<void> outcome = result;
  if (BlockRequest* next = queue_.pop()) {
    start(slot, *next);
  } else {
    free_.push_back(&slot);
  }
  latency.end(block);
  block.complete(block, outcome);
}

Result<void> RawImage::close() noexcept {
  if (is_closed_) {
    return {};
  }
  is_closed_ = true;
  while (has_requests()) {
    storage_->engine().wait();
  }
  const Result<void> result = flush_file();
  storage_->unlock();
  return result;
}

Result<void> RawImage::flush_file() noexcept {
  Batch batch(counters_);
  return is_writable_ ? batch.run(batch.flush(*storage_)) : Result<void>();
}

Result<void> RawImage::release() noexcept {
  VARVE_TRY(flush_file());
  storage_->unlock();
  return {};
}

Result<void> RawImage::reacquire() noexcept {
  if (lock_mode.is_wanted) {
    VARVE_TRY(storage_->lock(lock_mode.for_writing, lock_mode.share_everything));
  }
  const Result<void> refreshed = storage_->refresh();
  if (!refreshed) {
    storage_->unlock();
  }
  return refreshed;
}

Result<void> RawImage::grow(std::uint64_t new_size, Preallocation preallocation) noexcept {
  if (is_closed_) {
    return failure(ErrorCode::invalid_argument, "the image is closed");
  }
  if (!is_writable_) {
    return failure(ErrorCode::read_only, "the image is open read-only");
  }
  if (new_size < size()) {
    return failure(ErrorCode::unsupported, "disks are not made smaller");
  }
  if (preallocation == Preallocation::metadata) {
    return failure(ErrorCode::unsupported, "raw images have no metadata to preallocate");
  }
  const std::uint64_t old_size = storage_->size();
  Batch batch(counters_);
  if (new_size > old_size) {
    VARVE_TRY(batch.run(batch.resize(*storage_, new_size)));
    const Result<void> filled = fill(old_size, preallocation);
    if (!filled) {
      // The disk is as large as before, where that can still be had.
      static_cast<void>(batch.run(batch.resize(*storage_, old_size)));
      return filled;
    }
  }
  return batch.run(batch.flush(*storage_));
}

Result<void> RawImage::fill(std::uint64_t begin, Preallocation preallocation) noexcept {
  const std::uint64_t length = storage_->size() - begin;
  if (preallocation == Preallocation::full) {
    return write_zero_data(*storage_, counters_, HostOffset(begin), length);
  }
  Batch batch(counters_);
  return preallocation == Preallocation::falloc
             ? batch.run(batch.allocate(*storage_, HostOffset(begin), length))
             : Result<void>();
}

Result<BlockStatus> RawImage::layer_status(std::uint64_t offset, std::uint64_t length) noexcept {
  BlockStatus status;
  const std::uint64_t end = storage_->size();
  status.allocated = true;
  if (offset >= end) {
    status.length = length;
    status.zero = true;
    return status;
  }
  const StorageExtent extent = storage_->extent_at(offset, std::min(length, end - offset));
  status.length = extent.length;
  status.data = extent.is_data;
  status.zero = !extent.is_data;
  status.has_host_offset = true;
  status.host_offset = offset;
  return status;
}

}  // namespace varve
