// A raw image: the storage is the disk.
// Threads: the engine's thread only.
#pragma once

#include <memory>

#include "base/request_queue.h"
#include "image/image_core.h"

namespace varve {

class RawImage final : public ImageCore {
 public:
  static Result<std::unique_ptr<RawImage>> make(std::unique_ptr<Storage> storage, bool is_writable,
                                                DiscardMode discard,
                                                unsigned operations_max) noexcept;
  RawImage(std::unique_ptr<Storage> storage, bool is_writable, DiscardMode discard,
           unsigned operations_max);
  ~RawImage() override;

  void submit(BlockRequest& request) noexcept override;
  Result<void> close() noexcept override;
  Result<void> grow(std::uint64_t new_size, Preallocation preallocation) noexcept override;
  [[nodiscard]] Result<BlockStatus> layer_status(std::uint64_t offset,
                                                 std::uint64_t length) noexcept override;
  [[nodiscard]] std::uint64_t size() const noexcept override;
  [[nodiscard]] ImageFacts facts() const override;
  [[nodiscard]] bool has_requests() const noexcept override {
    return free_.size() != slots_.size();
  }
  [[nodiscard]] Result<void> check_release() const noexcept override { return {}; }
  Result<void> release() noexcept override;
  Result<void> reacquire() noexcept override;
  [[nodiscard]] Storage& storage() const noexcept override { return *storage_; }
  [[nodiscard]] const Image::Counters& counters() const noexcept override { return counters_; }

 private:
  struct Slot {
    RawImage* image = nullptr;
    BlockRequest* block = nullptr;
    StorageRequest request;
  };
  void start(Slot& slot, BlockRequest& request) noexcept;
  void finish(Slot& slot, const Result<void>& result) noexcept;
  [[nodiscard]] Result<void> flush_file() noexcept;
  // What a disk that has grown has from `begin` on.
  [[nodiscard]] Result<void> fill(std::uint64_t begin, Preallocation preallocation) noexcept;

  std::unique_ptr<Storage> storage_;
  bool is_writable_;
  bool can_discard_;
  bool is_closed_ = false;
  Image::Counters counters_;
  std::vector<Slot> slots_;
  std::vector<Slot*> free_;
  RequestQueue<BlockRequest> queue_;
};

}  // namespace varve
