// A snapshot opened as a read-only image beside the writer: its own L1, the open image's file and
// caches. Threads: the engine's thread only.
#pragma once

#include <memory>
#include <vector>

#include "base/meter.h"
#include "image/image_core.h"
#include "image/qcow2_image.h"
#include "image/range_reader.h"

namespace varve {

// Keeps a snapshot from being deleted while it is being read (H4). Whoever waits works on a copy of
// the entry: the table it stands in changes meanwhile.
class SnapshotInUse {
 public:
  // Throws std::bad_alloc.
  SnapshotInUse(Qcow2Image& image, const SnapshotEntry& entry)
      : image_(&image), l1_offset_(entry.l1_offset) {
    image.open_snapshots.push_back(l1_offset_);
  }
  ~SnapshotInUse();
  SnapshotInUse(const SnapshotInUse&) = delete;
  SnapshotInUse& operator=(const SnapshotInUse&) = delete;

 private:
  Qcow2Image* image_;
  HostOffset l1_offset_;
};

class SnapshotImage final : public ImageCore {
 public:
  // `owner` outlives this. The snapshot cannot be deleted meanwhile (H4).
  SnapshotImage(Qcow2Image& owner, const SnapshotEntry& entry);
  ~SnapshotImage() override;
  // Comes first. Errors: over_budget, and those of load_snapshot_l1.
  Result<void> load(const SnapshotEntry& entry);

  void submit(BlockRequest& request) noexcept override;
  Result<void> close() noexcept override;
  Result<void> grow(std::uint64_t new_size, Preallocation preallocation) noexcept override;
  [[nodiscard]] Result<BlockStatus> layer_status(std::uint64_t offset,
                                                 std::uint64_t length) noexcept override;
  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
  [[nodiscard]] ImageFacts facts() const override;
  [[nodiscard]] bool has_requests() const noexcept override {
    return free_.size() != reads_.size();
  }
  [[nodiscard]] Storage& storage() const noexcept override { return owner_->storage(); }
  [[nodiscard]] const Image::Counters& counters() const noexcept override {
    return owner_->counters();
  }
  [[nodiscard]] Image* below() const noexcept override { return owner_->below(); }

  // Reads the machine state kept behind the disk. Blocking.
  Result<void> read_state(std::uint64_t offset, std::span<std::byte> target) noexcept;

 private:
  class Read;
  void start(Read& read, BlockRequest& request) noexcept;
  [[nodiscard]] ReadSource source(bool with_backing) noexcept;

  Qcow2Image* owner_;
  SnapshotInUse in_use_;
  std::uint64_t size_;
  std::uint64_t state_begin_;  // Guest address of the first byte of machine state.
  L1Table l1_;
  MeteredMemory memory_;  // Of it.
  Map map_;
  std::vector<std::unique_ptr<Read>> reads_;
  std::vector<Read*> free_;
  BlockRequest* queue_first_ = nullptr;
  BlockRequest* queue_last_ = nullptr;
};

}  // namespace varve
