// What snapshot operations have in common: one at a time per image (H5), in the order they came;
// steps that may wait; cancelling, and ending when the image is closed.
//
// A step is a member function that is called again after each wait until it answers `next`;
// starting something once per step goes through once(). An error resumed into the operation goes to
// step_failed(), which chooses the step that undoes. The object is the caller's handle as well:
// once it is done it touches nothing of the image. Threads: the engine's thread only.
#pragma once

#include <chrono>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include <varve/snapshot_operation.h>

#include "image/control_task.h"
#include "image/qcow2_image.h"
#include "meta/batch.h"
#include "meta/metadata.h"
#include "meta/tree_walk.h"
#include "meta/waiter.h"

namespace varve {

// Time since it was made, on the monotonic clock.
class Stopwatch {
 public:
  [[nodiscard]] std::uint64_t nanoseconds() const noexcept {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - begin_).count());
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_ = Clock::now();
};

class ControlOperation : public SnapshotOperation, protected Waiter, private ControlTask {
 public:
  explicit ControlOperation(Qcow2Image& image) noexcept;

  // Takes the image's slot, or queues for it; everything else happens from the engine's loop.
  // Errors: busy, read_only, poisoned, unsupported, invalid_argument (closed), and take_up()'s.
  Result<void> begin(const OperationOptions& options) noexcept;

  [[nodiscard]] SnapshotProgress progress() const noexcept final;
  [[nodiscard]] SnapshotTimes times() const noexcept final { return times_; }
  [[nodiscard]] const Result<void>& result() const noexcept final { return result_; }
  [[nodiscard]] const std::string& id() const noexcept override { return no_id_; }
  [[nodiscard]] const Uuid& uuid() const noexcept override { return no_uuid_; }
  Result<void> freeze() noexcept override;
  Result<void> publish() noexcept override;
  void cancel() noexcept final;

 protected:
  enum class Progress : std::uint8_t { next, wait, failed };
  [[nodiscard]] bool is_standing() const noexcept final { return is_parked_; }
  [[nodiscard]] bool is_behind_standing() const noexcept final;

  // The turn has come: takes what is needed from the image as it is now. Nothing is changed yet.
  virtual Result<void> take_up() = 0;
  // Performs the current step.
  virtual Progress perform() noexcept = 0;
  // The current step is done: choose the next one. False: the operation is over.
  virtual bool step_done() noexcept = 0;
  // The current step failed: choose where to go on (to undo). False: the operation is over. May be
  // called more than once.
  virtual bool step_failed() noexcept = 0;
  // The image is poisoned: nothing more is written. Lets go of what others wait for.
  virtual void let_go() noexcept {}
  // What the caller is told about the current step.
  [[nodiscard]] virtual SnapshotPhase phase() const noexcept = 0;
  // Whether the current step may still be given up.
  [[nodiscard]] virtual bool can_cancel() const noexcept = 0;
  // The caller wants it to end early: stops a walk that can be stopped.
  virtual void stop() noexcept {}
  // Of the walk under way.
  [[nodiscard]] virtual SnapshotProgress walked() const noexcept { return {}; }
  [[nodiscard]] SnapshotProgress progress_of(const TreeWalk& walk) const noexcept;

  // For the destructors of the operations: an unfinished one is cancelled and run to its end.
  void run_out() noexcept;
  // The operation stands still until go_on().
  Progress park() noexcept;
  void go_on() noexcept;
  // Apply and delete, stepwise: what is visible is switched; giving back waits for publish().
  Progress pause_behind_switch() noexcept;

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
  // Waits while the disk is being made larger; this step begins only then.
  Progress outlast_growth() noexcept;
  Progress flush_round() noexcept;
  // Counts, and flags in tables nobody else changes, are in the file; not durable yet.
  Progress write_early() noexcept;
  Progress run_walk(TreeWalk& walk, const TreeWalk::Plan& plan) noexcept;
  // What could be given back by now has been.
  Progress reclaim() noexcept;
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
  // Reads the L1 table of a snapshot.
  Progress load_l1(const SnapshotEntry& entry, std::vector<std::uint64_t>& l1) noexcept;

  // A new snapshot table: room for it, its bytes in the batch, and the header fields that switch to
  // it.
  Progress claim_table(const SnapshotTable& table) noexcept;
  Result<void> stage_table(const SnapshotTable& table) noexcept;
  // Has the memory that staging both needs.
  Result<void> reserve_stages(ClusterRun l1_run) noexcept;
  // Both at once, where the table is all there is to write.
  Progress write_table(const SnapshotTable& table) noexcept;
  // The bytes of an L1 table that has clusters of its own, one part behind the other, COPIED
  // cleared, in the batch.
  Result<void> stage_l1(std::initializer_list<const std::vector<std::uint64_t>*> parts,
                        ClusterRun run) noexcept;
  void patch_table(const SnapshotTable& table, HeaderPatch& patch) noexcept;
  // The header names the new table now: it becomes the one in memory, the old one is released.
  void adopt_table(SnapshotTable&& table) noexcept;

  [[nodiscard]] Qcow2Image& image() const noexcept { return *image_; }
  [[nodiscard]] Metadata& metadata() const noexcept { return *metadata_; }
  [[nodiscard]] Batch& batch() noexcept { return batch_; }
  [[nodiscard]] HeaderWriter::Update& update() noexcept { return update_; }
  [[nodiscard]] bool has_failed() const noexcept { return error_.has_value(); }
  [[nodiscard]] ClusterRun& table_run() noexcept { return table_run_; }
  [[nodiscard]] bool is_stepwise() const noexcept { return options_.stepwise; }
  void note_pause(std::uint64_t nanoseconds) noexcept { times_.pause_nanoseconds = nanoseconds; }
  void note_usable() noexcept { times_.usable_nanoseconds = watch_.nanoseconds(); }

 private:
  enum class Stage : std::uint8_t { idle, queued, running, done };

  void resume(const Result<void>& result) noexcept override;
  void abandon() noexcept override { cancel(); }
  [[nodiscard]] bool stands_still() const noexcept override { return is_parked_; }
  [[nodiscard]] Result<void> take_turn() noexcept;
  void turn_has_come() noexcept;
  void advance() noexcept;
  void notify() noexcept;
  void end() noexcept;
  [[nodiscard]] Answer<Nothing> ask_for_run(std::uint64_t count, ClusterRun& run) noexcept;
  Result<void> reserve(ClusterRun run, Buffer& bytes) noexcept;

  Qcow2Image* image_;
  Metadata* metadata_;
  Engine* engine_;
  Batch batch_;
  HeaderWriter::Update update_;
  OperationOptions options_;
  Stage stage_ = Stage::idle;
  SnapshotPhase notified_ = SnapshotPhase::queued;
  bool is_cancelled_ = false;
  bool is_withdrawn_ = false;  // Cancelled before it had the slot.
  bool is_parked_ = false;
  bool is_let_on_ = false;  // Behind the switch.
  bool is_started_ = false;
  bool is_unknown_after_failure_ = false;  // A barrier or the header is under way (O9).
  std::optional<Error> error_;             // The first failure: what the caller is told.
  Result<void> result_;
  Stopwatch watch_;
  SnapshotTimes times_;
  std::string no_id_;
  Uuid no_uuid_;
  ClusterRun reserved_;   // Of the claim under way.
  ClusterRun table_run_;  // Of the new snapshot table.
  Buffer table_bytes_;
  Buffer l1_bytes_;
};

// Where `entry` stands in the table now; nothing once it is gone. Tables change while an operation
// waits for its turn.
[[nodiscard]] std::optional<std::size_t> find_same_snapshot(const SnapshotTable& table,
                                                            const SnapshotEntry& entry) noexcept;

// The L1 table of a snapshot, as far as it maps the disk (or with the machine state behind it).
// Blocking.
[[nodiscard]] Result<std::vector<std::uint64_t>> load_snapshot_l1(
    Metadata& metadata, const SnapshotEntry& entry) noexcept;

}  // namespace varve
