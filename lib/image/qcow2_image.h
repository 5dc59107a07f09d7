// An open qcow2 image: takes guest requests in, hands each to an operation, bounds how many run,
// and holds what they share. Control operations close the gate to have the image to themselves.
// Threads: the engine's thread only.
#pragma once

#include <memory>
#include <optional>

#include "base/request_queue.h"
#include "image/compressed_write_operation.h"
#include "image/control_task.h"
#include "image/flush_operation.h"
#include "image/image_core.h"
#include "image/operation.h"
#include "image/range_writer.h"
#include "image/read_operation.h"
#include "image/scratch.h"
#include "image/write_operation.h"
#include "image/zero_operation.h"
#include "meta/holds.h"
#include "meta/metadata.h"

namespace varve {

class Qcow2Image final : public ImageCore {
 public:
  struct Config {
    unsigned operations_max = 128;
    // How the tables were loaded, so that they can be loaded anew.
    Metadata::Config metadata;
    bool allow_corrupt = false;
  };
  // Owns the storages. Errors: no_memory.
  static Result<std::unique_ptr<Qcow2Image>> make(std::unique_ptr<Storage> file,
                                                  std::unique_ptr<Storage> data_file,
                                                  std::unique_ptr<Metadata> metadata,
                                                  const Config& config) noexcept;
  Qcow2Image(std::unique_ptr<Storage> file, std::unique_ptr<Storage> data_file,
             std::unique_ptr<Metadata> metadata, std::unique_ptr<Codec> codec,
             const Config& config);
  ~Qcow2Image() override;

  void submit(BlockRequest& request) noexcept override;
  // A write_compressed of one whole cluster whose stream the caller has made; `packed` is the
  // caller's until completion, as the plain bytes are (they are written where the stream cannot
  // be).
  void submit_packed(BlockRequest& request, IoVector packed) noexcept;
  Result<void> close() noexcept override;
  Result<void> grow(std::uint64_t new_size, Preallocation preallocation) noexcept override;
  [[nodiscard]] Result<BlockStatus> layer_status(std::uint64_t offset,
                                                 std::uint64_t length) noexcept override;
  [[nodiscard]] std::uint64_t size() const noexcept override {
    return metadata_->header.virtual_size;
  }
  [[nodiscard]] ImageFacts facts() const override;
  [[nodiscard]] bool has_requests() const noexcept override {
    return in_flight_ != 0 || !queue_.empty();
  }
  void add_statistics(ImageStatistics& statistics) const noexcept override;
  [[nodiscard]] Result<void> check_release() const noexcept override;
  Result<void> release() noexcept override;
  Result<void> reacquire() noexcept override;
  [[nodiscard]] Storage& storage() const noexcept override { return *file_; }
  [[nodiscard]] const Image::Counters& counters() const noexcept override {
    return metadata_->counters;
  }

  // For repairing, behind the closed gate: the file was changed past the tables in memory, which
  // are loaded anew; nothing is settled. Whoever holds the control slot keeps it. Errors: those of
  // opening; busy (an operation has been queued). The image is poisoned then.
  [[nodiscard]] Result<void> reload() noexcept;

  // For operations.
  [[nodiscard]] Metadata& metadata() const noexcept { return *metadata_; }
  [[nodiscard]] Holds& holds() noexcept { return holds_; }
  [[nodiscard]] ReadSource read_source() noexcept;
  [[nodiscard]] WriteTarget write_target() noexcept;
  struct Pools {
    OperationPool<ReadOperation> reads;
    OperationPool<WriteOperation> writes;
    OperationPool<ZeroOperation> zeroes;
    OperationPool<CompressedWriteOperation> compressed;
    OperationPool<FlushOperation> flushes;
  };
  [[nodiscard]] Pools& pools() noexcept { return pools_; }
  void operation_ended() noexcept;
  // Requests are being taken in: completions wait for the engine's loop.
  [[nodiscard]] bool is_submitting() const noexcept { return submitting_ != 0; }

  // For control operations: while closed, new requests wait; `waiter` is resumed when none is in
  // flight.
  void close_gate(Waiter& waiter) noexcept;
  void open_gate() noexcept;
  // The same, running the engine until the requests in flight have ended.
  void close_gate_and_wait() noexcept;
  [[nodiscard]] bool is_gate_closed() const noexcept { return is_gate_closed_; }
  // A control operation's own request, unchecked, while the gate is closed.
  void submit_behind_gate(BlockRequest& request) noexcept;

  // The disk is being made larger, beside whatever control operation is under way: the gate is
  // closed and rounds may leave the L1 out. Who needs either waits until that is over; one waiter,
  // since control operations take turns.
  [[nodiscard]] bool is_growing() const noexcept { return is_growing_; }
  void wait_for_growth(Waiter& waiter) noexcept { growth_waiter_ = &waiter; }
  // The size that counts until a growth under way is durable.
  [[nodiscard]] std::uint64_t settled_size() const noexcept {
    return is_growing_ ? size_before_growth_ : size();
  }

  // Control operations under way or waiting for their turn. Closing abandons them, and waits until
  // they have ended.
  List<ControlTask> control_tasks;
  [[nodiscard]] bool is_closed() const noexcept { return is_closed_; }

  // The snapshot that is being deleted, by L1 offset: it cannot be opened any more.
  std::optional<HostOffset> snapshot_in_deletion;
  // Snapshots that are open as images of their own; deleting one of them is busy (H4). By L1
  // offset.
  std::vector<HostOffset> open_snapshots;
  // State writers that are open.
  unsigned state_writers = 0;

 private:
  [[nodiscard]] Result<void> reserve() noexcept;
  void take_in(BlockRequest& request) noexcept;
  void dispatch(BlockRequest& request) noexcept;
  void begin(Operation& operation, BlockRequest& request) noexcept;
  void start_queued() noexcept;
  void wait_until_idle() noexcept;
  void end_control_tasks() noexcept;
  void begin_growth() noexcept;
  void end_growth() noexcept;
  [[nodiscard]] Result<void> lock_files() noexcept;
  void unlock_files() noexcept;
  [[nodiscard]] Result<std::unique_ptr<Metadata>> load_anew() noexcept;
  [[nodiscard]] Operation& choose(const BlockRequest& request, const Result<void>& valid) noexcept;
  [[nodiscard]] bool can_start() const noexcept {
    return !is_gate_closed_ && in_flight_ < config_.operations_max;
  }

  std::unique_ptr<Storage> file_;
  std::unique_ptr<Storage> data_file_;
  std::unique_ptr<Metadata> metadata_;
  std::unique_ptr<Codec> codec_;
  Config config_;
  Holds holds_;
  ScratchPool fill_pool_;
  ScratchPool codec_pool_;
  Pools pools_;
  RequestQueue<BlockRequest> queue_;
  unsigned in_flight_ = 0;
  unsigned submitting_ = 0;
  bool is_gate_closed_ = false;
  bool is_closed_ = false;
  Waiter* gate_waiter_ = nullptr;
  bool is_growing_ = false;
  std::uint64_t size_before_growth_ = 0;
  Waiter* growth_waiter_ = nullptr;
};

// What a map says of a range. Blocking.
[[nodiscard]] Result<BlockStatus> map_status(Metadata& metadata, Map& map, std::uint64_t offset,
                                             std::uint64_t length) noexcept;

}  // namespace varve
