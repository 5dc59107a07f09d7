// An image's file whose reads are held against a budget: one that would exceed it fails instead of
// being issued. Owns the file. Threads: the engine's thread only.
#pragma once

#include <memory>

#include <varve/engine.h>

#include "base/meter.h"
#include "io/forwarding_storage.h"

namespace varve {

class MeteredStorage final : public ForwardingStorage {
 public:
  MeteredStorage(std::unique_ptr<Storage> file, const Budget& budget) noexcept
      : ForwardingStorage(*file), file_(std::move(file)), meter_(budget, allocated_bytes()) {}

  [[nodiscard]] Meter& meter() noexcept { return meter_; }

  void submit(StorageRequest& request) noexcept override {
    if (request.operation == StorageOperation::read) {
      if (const Result<void> allowed = meter_.spend_read(request.tag, request.size_bytes());
          !allowed) {
        file_->engine().post(request, allowed);
        return;
      }
    }
    file_->submit(request);
  }

 private:
  std::unique_ptr<Storage> file_;
  Meter meter_;
};

}  // namespace varve
