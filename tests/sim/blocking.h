// Blocking shorthand over a Storage, for tests: submit one request, run the engine until it is
// done.
#pragma once

#include <optional>

#include <varve/engine.h>
#include <varve/storage.h>

#include "base/bytes.h"

namespace varve::sim {

// A request that remembers its result.
struct Pending {
  StorageRequest request;
  IoVector vector;
  std::optional<Result<void>> result;

  Pending(StorageOperation operation, IoTag tag, std::uint64_t offset, std::uint64_t length) {
    request.operation = operation;
    request.tag = tag;
    request.offset = offset;
    request.length = length;
    request.owner = this;
    request.complete = [](StorageRequest& done, const Result<void>& outcome) {
      static_cast<Pending*>(done.owner)->result.emplace(outcome);
    };
  }
  Pending(StorageOperation operation, IoTag tag, std::uint64_t offset, Bytes bytes)
      : Pending(operation, tag, offset, bytes.size()) {
    vector = {bytes.data(), bytes.size()};
    request.vectors = &vector;
    request.vector_count = 1;
  }
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  [[nodiscard]] bool is_done() const noexcept { return result.has_value(); }
  Result<void> wait(Engine& engine) {
    while (!result) {
      engine.wait();
    }
    return *result;
  }
};

inline Result<void> blocking(Storage& storage, StorageOperation operation, std::uint64_t offset,
                             std::uint64_t length, IoTag tag = IoTag::none) {
  Pending pending(operation, tag, offset, length);
  storage.submit(pending.request);
  return pending.wait(storage.engine());
}

inline Result<void> blocking_read(Storage& storage, std::uint64_t offset, Bytes target,
                                  IoTag tag = IoTag::none) {
  Pending pending(StorageOperation::read, tag, offset, target);
  storage.submit(pending.request);
  return pending.wait(storage.engine());
}

inline Result<void> blocking_write(Storage& storage, std::uint64_t offset, ConstBytes source,
                                   IoTag tag = IoTag::none) {
  std::vector<std::byte> copy(source.begin(), source.end());
  Pending pending(StorageOperation::write, tag, offset, Bytes(copy));
  storage.submit(pending.request);
  return pending.wait(storage.engine());
}

inline Result<void> blocking_flush(Storage& storage, IoTag tag = IoTag::none) {
  return blocking(storage, StorageOperation::flush, 0, 0, tag);
}

}  // namespace varve::sim
