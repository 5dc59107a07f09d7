// Memory that behaves like a sparse regular file: pages appear when they are written.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <new>

#include <varve/engine.h>
#include <varve/storage.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/units.h"
#include "io/vectors.h"

namespace varve {
namespace {

constexpr std::uint64_t kPageBytes = 64 * kKiB;
constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 62;

class MemoryStorage final : public Storage {
 public:
  MemoryStorage(Engine& engine, std::uint64_t size) noexcept : engine_(engine), size_(size) {
    capabilities_.can_discard = true;
    capabilities_.discard_zeroes = true;
    capabilities_.can_write_zeroes = true;
    capabilities_.growth_is_zero = true;
  }

  const StorageCapabilities& capabilities() const noexcept override { return capabilities_; }
  std::uint64_t size() const noexcept override { return size_; }
  Engine& engine() const noexcept override { return engine_; }
  const char* name() const noexcept override { return "<memory>"; }

  void submit(StorageRequest& request) noexcept override { engine_.post(request, run(request)); }

  StorageExtent extent_at(std::uint64_t offset, std::uint64_t length) const noexcept override;

 private:
  Result<void> run(const StorageRequest& request) noexcept;
  void read(const StorageRequest& request) const noexcept;
  Result<void> write(const StorageRequest& request) noexcept;
  void clear(std::uint64_t begin, std::uint64_t end) noexcept;

  Engine& engine_;
  StorageCapabilities capabilities_;
  std::uint64_t size_ = 0;
  // By page number. What has no page, and what lies past size_, is zero.
  std::map<std::uint64_t, Buffer> pages_;
};

Result<void> MemoryStorage::run(const StorageRequest& request) noexcept {
  if (request.operation == StorageOperation::flush) {
    return {};
  }
  const std::uint64_t length =
      request.operation == StorageOperation::resize ? 0 : request.size_bytes();
  if (!range_fits(request.offset, length, kSizeMax)) {
    return failure_at(ErrorCode::out_of_range, request.tag, request.offset,
                      "beyond the largest possible file");
  }
  const std::uint64_t end = request.offset + length;
  switch (request.operation) {
    case StorageOperation::read:
      read(request);
      return {};
    case StorageOperation::write:
      return write(request);
    case StorageOperation::write_zeroes:
      clear(request.offset, end);
      size_ = length == 0 ? size_ : std::max(size_, end);
      return {};
    case StorageOperation::discard:
      clear(request.offset, end);
      return {};
    case StorageOperation::resize:
      clear(request.offset, size_);
      size_ = request.offset;
      return {};
    case StorageOperation::flush:
    case StorageOperation::allocate:
      return {};
  }
  return failure(ErrorCode::invalid_argument, "no such operation");
}

void MemoryStorage::read(const StorageRequest& request) const noexcept {
  const std::uint64_t end = request.offset + request.size_bytes();
  zero_from(request, 0);
  for (auto page = pages_.lower_bound(request.offset / kPageBytes);
       page != pages_.end() && page->first * kPageBytes < end; ++page) {
    const std::uint64_t page_begin = page->first * kPageBytes;
    const std::uint64_t from = std::max(page_begin, request.offset);
    const std::uint64_t until = std::min(page_begin + kPageBytes, end);
    scatter(request, from - request.offset,
            page->second.bytes().subspan(from - page_begin, until - from));
  }
}

Result<void> MemoryStorage::write(const StorageRequest& request) noexcept {
  const std::uint64_t end = request.offset + request.size_bytes();
  if (end == request.offset) {
    return {};
  }
  for (std::uint64_t from = request.offset; from < end;) {
    const std::uint64_t number = from / kPageBytes;
    const std::uint64_t until = std::min((number + 1) * kPageBytes, end);
    auto page = pages_.find(number);
    if (page == pages_.end()) {
      Result<Buffer> fresh = Buffer::allocate_zeroed(kPageBytes);
      if (!fresh) {
        return fresh.error();
      }
      try {
        page = pages_.emplace(number, std::move(*fresh)).first;
      } catch (const std::bad_alloc&) {
        return failure(ErrorCode::no_memory, "cannot allocate a page");
      }
    }
    gather(page->second.bytes().subspan(from - number * kPageBytes, until - from), request,
           from - request.offset);
    from = until;
  }
  size_ = std::max(size_, end);
  return {};
}

StorageExtent MemoryStorage::extent_at(std::uint64_t offset, std::uint64_t length) const noexcept {
  const auto page = pages_.lower_bound(offset / kPageBytes);
  if (page == pages_.end()) {
    return {length, false};
  }
  const std::uint64_t begin = page->first * kPageBytes;
  return begin > offset ? StorageExtent{std::min(length, begin - offset), false}
                        : StorageExtent{std::min(length, begin + kPageBytes - offset), true};
}

void MemoryStorage::clear(std::uint64_t begin, std::uint64_t end) noexcept {
  if (begin >= end) {
    return;
  }
  for (auto page = pages_.lower_bound(begin / kPageBytes);
       page != pages_.end() && page->first * kPageBytes < end;) {
    const std::uint64_t page_begin = page->first * kPageBytes;
    const std::uint64_t from = std::max(page_begin, begin);
    const std::uint64_t until = std::min(page_begin + kPageBytes, end);
    if (until - from == kPageBytes) {
      page = pages_.erase(page);
      continue;
    }
    zero_bytes(page->second.bytes().subspan(from - page_begin, until - from));
    ++page;
  }
}

}  // namespace

Result<std::unique_ptr<Storage>> make_memory_storage(Engine& engine, std::uint64_t size_bytes) {
  if (size_bytes > kSizeMax) {
    return failure(ErrorCode::out_of_range, "beyond the largest possible file");
  }
  try {
    return Result<std::unique_ptr<Storage>>(std::make_unique<MemoryStorage>(engine, size_bytes));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a storage");
  }
}

}  // namespace varve
