// What snapshot operations have in common: one at a time per image (H5), steps that may wait, a
// blocking way to run them.
//
// A step is a member function that is called again after each wait until it answers `next`;
// starting something once per step goes through once(). An error resumed into the operation goes to
// failed(), which chooses the step that undoes. Threads: the engine's thread only.
#pragma once

#include <optional>
#include <vector>

#include <varve/snapshot.h>

#include "image/qcow2_image.h"
#include "meta/batch.h"
#include "meta/metadata.h"
#include "meta/waiter.h"

namespace varve {

class ControlOperation : protected Waiter {
 public:
  explicit ControlOperation(Qcow2Image& image) noexcept
      : image_(&image), metadata_(&image.metadata()), batch_(metadata_->counters) {}
  ControlOperation(const ControlOperation&) = delete;
  ControlOperation& operator=(const ControlOperation&) = delete;

  // Starts the operation; `done` is resumed with its outcome from the engine's loop. Errors: busy,
  // read_only, poisoned.
  Result<void> begin(Waiter& done) noexcept;
  // Begins it and runs the engine to its end.
  Result<void> run_to_end() noexcept;

 protected:
  ~ControlOperation() = default;
  enum class Progress : std::uint8_t { next, wait, failed };

  // Performs the current step.
  virtual Progress perform() noexcept = 0;
  // The current step is done: choose the next one. False: the operation is over.
  virtual bool step_done() noexcept = 0;
  // The current step failed: choose where to go on (to undo). False: the operation is over. May be
  // called more than once.
  virtual bool step_failed() noexcept = 0;

  // --- pieces of steps
  // --------------------------------------------------------------------------------------------
  // Calls `start` on the first call of this step and waits; answers next when resumed.
  template <class Start>
  Progress once(Start&& start) noexcept {
    if (is_started_) {
      is_started_ = false;
      return Progress::next;
    }
    is_started_ = true;
    start();
    return Progress::wait;
  }
  // Asks meta until there is an answer.
  Progress ask(const Answer<Nothing>& answer) noexcept;
  Progress fail(const Error& error) noexcept;
  Progress do_first_write() noexcept;
  Progress flush_round() noexcept;
  Progress take_dirty() noexcept;
  Progress wait_for_requests() noexcept;
  // One barrier of the image file, without a round.
  Progress barrier() noexcept;
  // Runs the collected batch; nothing to do is done.
  Progress run_batch() noexcept;
  // Writes the patch in update(); resumes this operation. After a failure the sector is unknown:
  // poison.
  void submit_header() noexcept;
  // Gives back this operation's hold on the dirty bit.
  Progress clear_dirty() noexcept;
  // The first call of this step, before anything was waited for.
  [[nodiscard]] bool is_step_new() const noexcept { return !is_started_; }
  // Claims `count` neighbouring clusters, durable with the next round.
  Progress claim_run(std::uint64_t count, ClusterRun& run) noexcept;
  void release_run(ClusterRun& run) noexcept;

  // A new snapshot table: room for it, its bytes in the batch, and the header fields that switch to
  // it.
  Progress claim_table(const SnapshotTable& table) noexcept;
  Result<void> stage_table(const SnapshotTable& table) noexcept;
  // Both at once, where the table is all there is to write.
  Progress write_table(const SnapshotTable& table) noexcept;
  // The bytes of an L1 table that has clusters of its own, in the batch.
  Result<void> stage_l1(const std::vector<std::uint64_t>& entries, ClusterRun run) noexcept;
  void patch_table(const SnapshotTable& table, HeaderPatch& patch) noexcept;
  // The header names the new table now: it becomes the one in memory, the old one is released.
  void adopt_table(SnapshotTable&& table) noexcept;

  [[nodiscard]] Qcow2Image& image() const noexcept { return *image_; }
  [[nodiscard]] Metadata& metadata() const noexcept { return *metadata_; }
  [[nodiscard]] Batch& batch() noexcept { return batch_; }
  [[nodiscard]] HeaderWriter::Update& update() noexcept { return update_; }
  [[nodiscard]] bool has_failed() const noexcept { return error_.has_value(); }
  [[nodiscard]] ClusterRun& table_run() noexcept { return table_run_; }

 private:
  void resume(const Result<void>& result) noexcept override;
  void advance() noexcept;
  void end() noexcept;
  [[nodiscard]] Answer<Nothing> ask_for_run(std::uint64_t count, ClusterRun& run) noexcept;

  Qcow2Image* image_;
  Metadata* metadata_;
  Batch batch_;
  HeaderWriter::Update update_;
  Waiter* done_ = nullptr;
  bool is_started_ = false;
  bool is_unknown_after_failure_ = false;  // A barrier or the header is under way (O9).
  std::optional<Error> error_;             // The first failure: what the caller is told.
  ClusterRun reserved_;                    // Of the claim under way.
  ClusterRun table_run_;                   // Of the new snapshot table.
  Buffer table_bytes_;
  Buffer l1_bytes_;
};

// The L1 table of a snapshot, as far as it maps the disk (or with the machine state behind it).
// Blocking.
[[nodiscard]] Result<std::vector<std::uint64_t>> load_snapshot_l1(
    Metadata& metadata, const SnapshotEntry& entry) noexcept;

}  // namespace varve
