// WornStorage: bytes that cannot be read any more, whatever asks for them and how often.
//
// Threads: the engine's. The list of bad ranges is the test's and may change between requests.
#pragma once

#include <cerrno>
#include <memory>
#include <vector>

#include "base/failure.h"
#include "sim/decorator_storage.h"

namespace varve::sim {

class WornStorage final : public DecoratorStorage {
 public:
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
  };
  WornStorage(std::unique_ptr<Storage> inner, const std::vector<Range>& bad) noexcept
      : DecoratorStorage(std::move(inner)), bad_(bad) {}

  void submit(StorageRequest& request) noexcept override {
    for (const Range& range : bad_) {
      if (request.operation == StorageOperation::read && request.offset < range.end &&
          request.offset + request.size_bytes() > range.first) {
        engine().post(request, system_failure(EIO, request.tag, request.offset, "worn out"));
        return;
      }
    }
    forward(request);
  }

 private:
  const std::vector<Range>& bad_;
};

}  // namespace varve::sim
