#include "meta/batch.h"

#include <algorithm>
#include <new>

#include "base/buffer.h"
#include "base/failure.h"
#include "base/try.h"

namespace varve {

void count_request(Image::Counters& counters, const StorageRequest& request) noexcept {
  const auto tag = static_cast<std::size_t>(request.tag);
  switch (request.operation) {
    case StorageOperation::read:
      ++counters.reads[tag];
      break;
    case StorageOperation::flush:
      ++counters.flushes;
      break;
    default:
      ++counters.writes[tag];
      break;
  }
}

Batch::~Batch() {
  VARVE_ASSERT(pending_ == 0);
}

Result<void> Batch::reserve(std::size_t count) noexcept {
  try {
    items_.reserve(count);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate an I/O batch");
  }
  return {};
}

Result<Batch::Item*> Batch::add(Storage& storage, StorageOperation operation, IoTag tag,
                                HostOffset offset) noexcept {
  VARVE_ASSERT(pending_ == 0);
  try {
    items_.emplace_back();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate an I/O batch");
  }
  Item& item = items_.back();
  item.storage = &storage;
  item.request.operation = operation;
  item.request.tag = tag;
  item.request.offset = offset.value();
  item.request.owner = this;
  item.request.complete = &Batch::completed;
  return &item;
}

Result<void> Batch::read(Storage& storage, IoTag tag, HostOffset offset, Bytes target) noexcept {
  Item* item = VARVE_TRY(add(storage, StorageOperation::read, tag, offset));
  item->vector = {target.data(), target.size()};
  item->request.vector_count = 1;
  return {};
}

Result<void> Batch::write(Storage& storage, IoTag tag, HostOffset offset,
                          ConstBytes source) noexcept {
  Item* item = VARVE_TRY(add(storage, StorageOperation::write, tag, offset));
  // A write only reads the memory; the vector type serves both directions.
  item->vector = {const_cast<std::byte*>(source.data()), source.size()};
  item->request.vector_count = 1;
  return {};
}

Result<void> Batch::flush(Storage& storage) noexcept {
  VARVE_TRY(add(storage, StorageOperation::flush, IoTag::none, HostOffset()));
  return {};
}

Result<void> Batch::write_zeroes(Storage& storage, IoTag tag, HostOffset offset,
                                 std::uint64_t length) noexcept {
  Item* item = VARVE_TRY(add(storage, StorageOperation::write_zeroes, tag, offset));
  item->request.length = length;
  return {};
}

Result<void> Batch::discard(Storage& storage, IoTag tag, HostOffset offset,
                            std::uint64_t length) noexcept {
  Item* item = VARVE_TRY(add(storage, StorageOperation::discard, tag, offset));
  item->request.length = length;
  return {};
}

Result<void> Batch::allocate(Storage& storage, HostOffset offset, std::uint64_t length) noexcept {
  Item* item = VARVE_TRY(add(storage, StorageOperation::allocate, IoTag::guest_data, offset));
  item->request.length = length;
  return {};
}

Result<void> Batch::resize(Storage& storage, std::uint64_t new_size) noexcept {
  VARVE_TRY(add(storage, StorageOperation::resize, IoTag::none, HostOffset(new_size)));
  return {};
}

void Batch::clear() noexcept {
  VARVE_ASSERT(pending_ == 0);
  items_.clear();
}

void Batch::start(Waiter& waiter) noexcept {
  VARVE_ASSERT(pending_ == 0 && !items_.empty());
  waiter_ = &waiter;
  result_ = Result<void>();
  pending_ = items_.size();
  for (Item& item : items_) {
    item.request.vectors = item.request.vector_count == 0 ? nullptr : &item.vector;
    count_request(*counters_, item.request);
    item.storage->submit(item.request);
  }
}

void Batch::completed(StorageRequest& request, const Result<void>& result) noexcept {
  Batch& batch = *static_cast<Batch*>(request.owner);
  if (!result && batch.result_) {
    batch.result_ = result;
  }
  if (--batch.pending_ == 0) {
    batch.items_.clear();
    const Result<void> outcome = batch.result_;
    batch.waiter_->resume(outcome);
  }
}

Result<void> Batch::run() noexcept {
  struct Done final : Waiter {
    void resume(const Result<void>& result) noexcept override {
      outcome = result;
      done = true;
    }
    Result<void> outcome;
    bool done = false;
  } waiter;
  if (items_.empty()) {
    return {};
  }
  Engine& engine = items_.front().storage->engine();
  start(waiter);
  while (!waiter.done) {
    engine.wait();
  }
  return waiter.outcome;
}

Result<void> Batch::run(const Result<void>& added) noexcept {
  return added ? run() : added;
}

Result<void> write_zero_data(Storage& storage, Image::Counters& counters, HostOffset offset,
                             std::uint64_t length) noexcept {
  constexpr std::uint64_t kPieceBytes = kMiB;
  constexpr std::size_t kPiecesInFlight = 8;
  const Buffer zeros = VARVE_TRY(Buffer::allocate_zeroed(kPieceBytes));
  Batch batch(counters);
  while (length != 0) {
    const std::uint64_t piece = std::min(length, kPieceBytes);
    VARVE_TRY(batch.write(storage, IoTag::guest_data, offset, zeros.bytes().first(piece)));
    offset += piece;
    length -= piece;
    if (batch.size() == kPiecesInFlight || length == 0) {
      VARVE_TRY(batch.run());
    }
  }
  return {};
}

}  // namespace varve
