// An image's file whose reads are held against a budget: one that would exceed it fails instead of
// being issued. Owns the file. Threads: the engine's thread only.
#pragma once

#include <memory>

#include <varve/engine.h>
#include <varve/storage.h>

#include "base/meter.h"

namespace varve {

class MeteredStorage final : public Storage {
 public:
  MeteredStorage(std::unique_ptr<Storage> file, const Budget& budget) noexcept
      : file_(std::move(file)), meter_(budget, file_->allocated_bytes()) {}

  [[nodiscard]] Meter& meter() noexcept { return meter_; }

  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return file_->capabilities();
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return file_->size(); }
  [[nodiscard]] std::uint64_t allocated_bytes() const noexcept override {
    return file_->allocated_bytes();
  }
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
  [[nodiscard]] Engine& engine() const noexcept override { return file_->engine(); }
  [[nodiscard]] const char* name() const noexcept override { return file_->name(); }
  [[nodiscard]] bool is_same_file(const Storage& other) const noexcept override {
    return file_->is_same_file(other);
  }
  [[nodiscard]] Result<void> lock(bool for_writing, bool share_everything) noexcept override {
    return file_->lock(for_writing, share_everything);
  }
  void unlock() noexcept override { file_->unlock(); }
  [[nodiscard]] Result<void> refresh() noexcept override { return file_->refresh(); }
  [[nodiscard]] StorageExtent extent_at(std::uint64_t offset,
                                        std::uint64_t length) const noexcept override {
    return file_->extent_at(offset, length);
  }

 private:
  std::unique_ptr<Storage> file_;
  Meter meter_;
};

}  // namespace varve
