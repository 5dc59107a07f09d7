// Applying a snapshot: the disk becomes what it was then; the snapshot stays.
//
// Step transitions:
//   first_write -> loading_l1 -> claiming_l1 -> claiming_table -> taking_dirty -> sharing ->
//   closing_gate -> sharing_rest -> switching (the new disk is served from here on) -> settling ->
//   writing_roots -> roots_barrier -> publishing -> published -> releasing -> reclaiming ->
//   flushing -> clearing_dirty -> end
// Failure before taking_dirty: -> giving_back -> end
// Failure before switching:    -> undoing -> undo_flushing -> giving_back -> undo_clearing -> end
// Failure from switching to publishing: the image is poisoned, the file holds the old disk.
//
// The new tree gets its own references while the old disk still runs, so that whatever keeps it
// from being applied is found before anything is changed, and the header never names a tree without
// them: else the next write would destroy the snapshot. Only tables that differ are walked.
// Requests wait from closing_gate to switching; what completed before belongs to the old disk.
// Between switching and publishing the file still holds the old disk: no L1 sector is written,
// nothing that was dropped is given back, and flushes wait (O5).
#pragma once

#include <optional>
#include <vector>

#include "snapshot/control_operation.h"

namespace varve {

class ApplyOperation final : public ControlOperation {
 public:
  // The snapshot is looked up again when the operation's turn has come.
  ApplyOperation(Qcow2Image& image, const SnapshotEntry& entry);
  ~ApplyOperation() override { run_out(); }

 private:
  enum class Step : std::uint8_t {
    first_write,
    loading_l1,
    claiming_l1,
    claiming_table,
    taking_dirty,
    sharing,
    closing_gate,
    sharing_rest,
    switching,
    settling,
    writing_roots,
    roots_barrier,
    publishing,
    published,  // Stepwise: stands still until publish().
    releasing,
    reclaiming,
    flushing,
    clearing_dirty,
    undoing,
    undo_flushing,
    giving_back,
    undo_clearing,
    end,
  };
  Result<void> take_up() override;
  Progress perform() noexcept override;
  bool step_done() noexcept override;
  bool step_failed() noexcept override;
  void let_go() noexcept override;
  void stop() noexcept override { walk_.stop(); }
  [[nodiscard]] SnapshotPhase phase() const noexcept override;
  [[nodiscard]] bool can_cancel() const noexcept override { return step_ < Step::switching; }
  [[nodiscard]] SnapshotProgress walked() const noexcept override { return progress_of(walk_); }
  Progress take_l1() noexcept;
  Progress share() noexcept;
  Progress close_gate() noexcept;
  void open_gate() noexcept;
  void switch_in_memory() noexcept;
  Progress write_roots() noexcept;
  Progress publish_root() noexcept;
  Progress release() noexcept;
  Progress undo() noexcept;

  Step step_ = Step::first_write;
  SnapshotEntry entry_;
  SnapshotTable table_;  // Tells that the disk stands on this snapshot.
  std::vector<std::uint64_t> snapshot_l1_;
  std::vector<std::uint64_t> new_l1_;  // COPIED cleared: everything is shared with the snapshot.
  std::vector<bool> added_;            // The slots of new_l1_ whose trees have their references.
  L1Table other_l1_;  // The new one until the switch, made beforehand: the switch cannot fail. Then
                      // the old one.
  ClusterRun l1_run_;
  TreeWalk walk_;
  std::optional<Stopwatch> pause_;
  bool is_gate_closed_ = false;
  bool is_dirty_taken_ = false;
  bool is_switched_ = false;
};

}  // namespace varve
