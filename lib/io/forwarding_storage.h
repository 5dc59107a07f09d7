// A storage in front of another one, which answers for it: what a wrapper does not change. A
// wrapper says what becomes of requests. Threads: those of the storage behind it, which outlives
// it.
#pragma once

#include <varve/storage.h>

namespace varve {

class ForwardingStorage : public Storage {
 public:
  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return file_->capabilities();
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return file_->size(); }
  [[nodiscard]] std::uint64_t allocated_bytes() const noexcept override {
    return file_->allocated_bytes();
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

 protected:
  explicit ForwardingStorage(Storage& file) noexcept : file_(&file) {}
  [[nodiscard]] Storage& file() const noexcept { return *file_; }

 private:
  Storage* file_;
};

}  // namespace varve
