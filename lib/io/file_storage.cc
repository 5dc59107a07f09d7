#include "io/file_storage.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/checked.h"
#include "base/failure.h"
#include "io/bounce.h"
#include "io/transfer.h"

namespace varve {
namespace {

// off_t is signed.
constexpr std::uint64_t kFileOffsetMax = std::numeric_limits<std::int64_t>::max();

bool is_change(StorageOperation operation) noexcept {
  return operation != StorageOperation::read && operation != StorageOperation::flush;
}

const char* failure_text(StorageOperation operation) noexcept {
  switch (operation) {
    case StorageOperation::read:
      return "cannot read the file";
    case StorageOperation::write:
      return "cannot write the file";
    case StorageOperation::flush:
      return "cannot flush the file";
    case StorageOperation::write_zeroes:
      return "cannot write zeros to the file";
    case StorageOperation::discard:
      return "cannot discard a range of the file";
    case StorageOperation::allocate:
      return "cannot reserve space for the file";
    case StorageOperation::resize:
      return "cannot change the size of the file";
  }
  return "unknown operation";
}

Error call_failure(const StorageRequest& request, std::int64_t result) noexcept {
  // A write that moves nothing and gives no reason met a full device.
  const int os_errno = result < 0 ? static_cast<int>(-result) : ENOSPC;
  return system_failure(os_errno, request.tag, request.offset + request.internal.done_bytes,
                        failure_text(request.operation));
}

bool means_not_offered(std::int64_t result) noexcept {
  return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENOTTY || result == -ENODEV;
}

}  // namespace

FileStorage::FileStorage(Engine& engine, FileFacts facts) noexcept
    : engine_(engine),
      loop_(engine.implementation()),
      facts_(std::move(facts)),
      size_(facts_.size),
      tracker_(*this) {
  descriptor = facts_.descriptor.get();
  zero_range_works_ = facts_.capabilities.can_write_zeroes;
}

Result<void> FileStorage::attach() noexcept {
  return loop_.attach(*this);
}

FileStorage::~FileStorage() {
  VARVE_ASSERT(in_flight_ == 0);
  unlock();  // The ring may hold on to the file for a moment longer than we do.
  loop_.detach(*this);
}

std::uint64_t FileStorage::allocated_bytes() const noexcept {
  if (facts_.block_device) {
    return size_;
  }
  return std::min(size_, bytes_on_device(descriptor).value_or(0));
}

bool FileStorage::is_same_file(const Storage& other) const noexcept {
  const auto* file = dynamic_cast<const FileStorage*>(&other);
  return file != nullptr && file->facts_.block_device == facts_.block_device &&
         file->facts_.device == facts_.device && file->facts_.inode == facts_.inode;
}

Result<void> FileStorage::lock(bool for_writing, bool share_everything) noexcept {
  return change_image_locks(descriptor, held_locks_, locks_for(for_writing, share_everything));
}

void FileStorage::unlock() noexcept {
  if (held_locks_.used != 0 || held_locks_.unshared != 0) {
    (void)change_image_locks(descriptor, held_locks_, ImageLocks{});
  }
}

Result<void> FileStorage::refresh() noexcept {
  if (!facts_.block_device) {
    const std::optional<std::uint64_t> found = current_size(descriptor);
    if (!found) {
      return system_failure(errno, IoTag::none, Error::kNoOffset, "cannot find out about the file");
    }
    size_ = *found;
  }
  return {};
}

StorageExtent FileStorage::extent_at(std::uint64_t offset, std::uint64_t length) const noexcept {
  StorageExtent extent = {length, true};
  if (facts_.block_device || !range_fits(offset, length, kFileOffsetMax)) {
    return extent;
  }
  const auto here = static_cast<off_t>(offset);
  const off_t data = ::lseek(descriptor, here, SEEK_DATA);
  off_t end = data;
  if (data == here) {
    end = ::lseek(descriptor, here, SEEK_HOLE);
  } else {
    // ENXIO: no data from here to the end of the file. Other errors: it does not tell.
    extent.is_data = data < 0 && errno != ENXIO;
  }
  if (end > here) {
    extent.length = std::min(length, static_cast<std::uint64_t>(end - here));
  }
  return extent;
}

// --- From the caller to the system ---

Result<void> FileStorage::check(const StorageRequest& request,
                                std::uint64_t size_bytes) const noexcept {
  const auto fail = [&](ErrorCode code, const char* what) {
    return failure_at(code, request.tag, request.offset, what);
  };
  if (request.operation == StorageOperation::flush) {
    if (flush_failed_) {
      return fail(ErrorCode::poisoned, "an earlier flush of the file failed");
    }
    return {};
  }
  if (is_change(request.operation) && facts_.capabilities.read_only) {
    return fail(ErrorCode::read_only, "the file is open for reading only");
  }
  const bool is_resize = request.operation == StorageOperation::resize;
  const std::uint64_t length = is_resize ? 0 : size_bytes;
  if (!range_fits(request.offset, length, kFileOffsetMax)) {
    return fail(ErrorCode::out_of_range, "beyond the largest possible file");
  }
  if (facts_.block_device && is_change(request.operation)) {
    if (is_resize) {
      return fail(ErrorCode::unsupported, "a device cannot change its size");
    }
    if (!range_fits(request.offset, length, size_)) {
      return fail(ErrorCode::out_of_range, "beyond the end of the device");
    }
  }
  return {};
}

bool FileStorage::is_nothing_to_do(const StorageRequest& request,
                                   std::uint64_t size_bytes) const noexcept {
  switch (request.operation) {
    case StorageOperation::flush:
      return !facts_.sync || facts_.capabilities.read_only;
    case StorageOperation::resize:
      return false;
    case StorageOperation::allocate:
      return facts_.block_device || request.length == 0;
    case StorageOperation::discard:
      // A device gives back whole sectors only.
      return round_up(request.offset, facts_.sector_bytes) >=
             round_down(request.offset + request.length, facts_.sector_bytes);
    default:
      return size_bytes == 0;
  }
}

FileStep FileStorage::first_step(const StorageRequest& request) const noexcept {
  switch (request.operation) {
    case StorageOperation::read:
    case StorageOperation::write:
      return FileStep::transfer;
    case StorageOperation::flush:
      return FileStep::sync;
    case StorageOperation::write_zeroes:
      return zero_range_works_ && is_aligned(request.offset | request.length, facts_.sector_bytes)
                 ? FileStep::zero_range
                 : FileStep::transfer;
    case StorageOperation::discard:
      return punch_hole_works_ ? FileStep::punch_hole : FileStep::discard_device;
    case StorageOperation::allocate:
      return FileStep::allocate;
    case StorageOperation::resize:
      return FileStep::truncate;
  }
  return FileStep::transfer;
}

void FileStorage::submit(StorageRequest& request) noexcept {
  ++in_flight_;
  FileRequest(request).reset(this, first_step(request));
  const std::uint64_t size_bytes = request.size_bytes();
  const Result<void> valid = check(request, size_bytes);
  if (!valid || is_nothing_to_do(request, size_bytes)) {
    --in_flight_;
    engine_.post(request, valid);
    return;
  }
  if (facts_.direct) {
    route(request);
  } else {
    start(request);
  }
}

// Whether O_DIRECT takes the request's offset, length and memory.
bool FileStorage::is_direct_fit(const StorageRequest& request) const noexcept {
  const StorageCapabilities& capabilities = facts_.capabilities;
  std::uint64_t bits = request.offset;
  if (request.vectors == nullptr) {
    return is_aligned(bits | request.length, capabilities.request_alignment);
  }
  std::uint64_t addresses = 0;
  for (std::uint32_t i = 0; i < request.vector_count; ++i) {
    bits |= request.vectors[i].size;
    addresses |= std::bit_cast<std::uintptr_t>(request.vectors[i].data);
  }
  return is_aligned(bits, capabilities.request_alignment) &&
         is_aligned(addresses, capabilities.memory_alignment);
}

void FileStorage::route(StorageRequest& request) noexcept {
  if (FileRequest(request).step() == FileStep::transfer && !is_direct_fit(request)) {
    Bounce* bounce = Bounce::make(*this, request);
    if (bounce == nullptr) {
      finish(request, failure_at(ErrorCode::no_memory, request.tag, request.offset,
                                 "cannot allocate a buffer"));
      return;
    }
    FileRequest(request).set(FileRequest::bounced);
    request.internal.implementation = bounce;
  }
  if (is_change(request.operation)) {
    tracker_.enter(request);
  } else {
    admitted(request);
  }
}

void FileStorage::admitted(StorageRequest& request) noexcept {
  if (FileRequest(request).is(FileRequest::bounced)) {
    static_cast<Bounce*>(request.internal.implementation)->begin();
  } else {
    start(request);
  }
}

WriteTracker::Range FileStorage::range_of(const StorageRequest& request) const noexcept {
  if (request.operation == StorageOperation::resize) {
    // What remains of a block that is cut is zeroed through the page cache, where a direct write
    // into the same page collides with it: the kernel then fails the next flush.
    const std::uint64_t from = std::min(size_, request.offset);
    return {round_down(from, kIoAlignment), WriteTracker::kNoEnd, !is_aligned(from, kIoAlignment)};
  }
  const std::uint64_t end = request.offset + request.size_bytes();
  if (!FileRequest(const_cast<StorageRequest&>(request)).is(FileRequest::bounced)) {
    return {request.offset, end, false};
  }
  const std::uint64_t block = block_bytes();
  WriteTracker::Range range = {round_down(request.offset, block), round_up(end, block), false};
  range.exclusive = range.begin != request.offset || range.end != end;
  if (range.exclusive && grows() && range.end > std::max(size_, end)) {
    // It will cut the file behind its end: nobody else may be growing it meanwhile.
    range.end = WriteTracker::kNoEnd;
  }
  return range;
}

void FileStorage::start_inner(StorageRequest& inner, Bounce& bounce) noexcept {
  inner.owner = &bounce;
  FileRequest file_request(inner);
  file_request.reset(this, first_step(inner));
  file_request.set(FileRequest::inner);
  start(inner);
}

SystemCall FileStorage::next_call(const StorageRequest& request) const noexcept {
  SystemCall call;
  call.offset = request.offset;
  call.length = request.length;
  switch (FileRequest(const_cast<StorageRequest&>(request)).step()) {
    case FileStep::transfer:
      return next_transfer_call(request, block_bytes());
    case FileStep::sync:
      call.kind = SystemCall::Kind::sync_data;
      break;
    case FileStep::zero_range:
      call.kind = SystemCall::Kind::allocate;
      call.mode = FALLOC_FL_ZERO_RANGE;
      break;
    case FileStep::punch_hole:
    case FileStep::discard_device:
      call.offset = round_up(request.offset, facts_.sector_bytes);
      call.length = round_down(request.offset + request.length, facts_.sector_bytes) - call.offset;
      if (FileRequest(const_cast<StorageRequest&>(request)).step() == FileStep::discard_device) {
        call.kind = SystemCall::Kind::discard_device;
      } else {
        call.kind = SystemCall::Kind::allocate;
        call.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      }
      break;
    case FileStep::allocate:
      call.kind = SystemCall::Kind::allocate;
      call.mode = FALLOC_FL_KEEP_SIZE;
      break;
    case FileStep::truncate:
      call.kind = SystemCall::Kind::truncate;
      break;
  }
  return call;
}

// --- From the system back to the caller ---

void FileStorage::call_finished(StorageRequest& request, std::int64_t result) noexcept {
  if (FileRequest(request).step() == FileStep::transfer) {
    switch (account_transfer(request, block_bytes(), result, size_)) {
      case TransferStep::again:
        start(request);
        break;
      case TransferStep::complete:
        finish(request, {});
        break;
      case TransferStep::failed:
        finish(request, call_failure(request, result));
        break;
    }
    return;
  }
  if (is_transient(result)) {
    start(request);
  } else if (result >= 0) {
    finish(request, {});
  } else if (!fall_back(request, result)) {
    finish(request, call_failure(request, result));
  }
}

// Tries the next way to carry the operation out; false when there is none.
bool FileStorage::fall_back(StorageRequest& request, std::int64_t result) noexcept {
  FileRequest file_request(request);
  if (!means_not_offered(result)) {
    return false;
  }
  if (file_request.step() == FileStep::zero_range) {
    zero_range_works_ = false;
    file_request.set_step(FileStep::transfer);
    if (!facts_.direct) {
      start(request);
      return true;
    }
    // Writing has alignments to meet that zeroing a range had not.
    tracker_.leave(request);
    route(request);
    return true;
  }
  if (file_request.step() == FileStep::punch_hole && facts_.block_device) {
    punch_hole_works_ = false;
    file_request.set_step(FileStep::discard_device);
    start(request);
    return true;
  }
  Error error = call_failure(request, result);
  error.code = ErrorCode::unsupported;
  finish(request, error);
  return true;
}

void FileStorage::finish(StorageRequest& request, const Result<void>& result) noexcept {
  const FileRequest file_request(request);
  if (file_request.is(FileRequest::inner)) {
    static_cast<Bounce*>(request.owner)->inner_finished(result);
    return;
  }
  account(request, result);
  if (file_request.is(FileRequest::tracked)) {
    tracker_.leave(request);
  }
  --in_flight_;
  engine_.post(request, result);
}

// Keeps the size and the state of flushing in step with what has ended.
void FileStorage::account(StorageRequest& request, const Result<void>& result) noexcept {
  if (!result) {
    flush_failed_ = flush_failed_ || request.operation == StorageOperation::flush;
    if (is_change(request.operation) && !facts_.block_device) {
      // Part of it may have been done.
      size_ = current_size(descriptor).value_or(size_);
    }
    return;
  }
  if (facts_.block_device) {
    return;
  }
  switch (request.operation) {
    case StorageOperation::write:
    case StorageOperation::write_zeroes:
      size_ = std::max(size_, request.offset + request.size_bytes());
      break;
    case StorageOperation::resize:
      size_ = request.offset;
      break;
    default:
      break;
  }
}

}  // namespace varve
