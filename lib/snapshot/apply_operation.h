// Applying a snapshot: the disk becomes what it was then; the snapshot stays.
//
// Step transitions:
//   first_write -> loading_l1 -> claiming_l1 -> claiming_table -> probing -> closing_gate ->
//   completing -> switching (the new disk is served from here on) -> taking_dirty_behind ->
//   sharing_behind -> settling -> writing_roots -> roots_barrier -> publishing -> published ->
//   releasing -> reclaiming -> flushing -> clearing_dirty -> end
// Where a count may overflow: probing (or completing) -> taking_dirty -> sharing -> closing_gate ->
//   completing -> switching -> settling
// Failure before taking_dirty: -> giving_back -> end
// Failure before switching:    -> undoing -> undo_flushing -> giving_back -> undo_clearing -> end
// Failure from switching to publishing: the image is poisoned, the file holds the old disk.
//
// Whatever keeps the new tree from being applied is found while the old disk still runs and nothing
// is changed: every table that differs is read and checked, every count looked at. Then memory
// switches, and the tree gets its own references behind the guest; where they may not all fit, it
// gets them before. The header never names a tree without them: else the next write would destroy
// the snapshot. Requests wait from closing_gate to switching; what completed before belongs to the
// old disk. Between switching and publishing the file still holds the old disk: no L1 sector is
// written, nothing that was dropped is given back, and flushes wait (O5).
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
    probing,
    taking_dirty,
    sharing,
    closing_gate,
    completing,
    switching,
    taking_dirty_behind,
    sharing_behind,
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
  [[nodiscard]] Step next_step() const noexcept;
  Progress take_l1() noexcept;
  Progress probe() noexcept;
  Progress share(const std::vector<std::uint64_t>& old_l1) noexcept;
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
  std::vector<bool> probed_;           // The slots of new_l1_ whose trees were found sound ...
  std::vector<bool> added_;            // ... and those whose trees have their references.
  L1Table other_l1_;  // The new one until the switch, made beforehand: the switch cannot fail. Then
                      // the old one.
  ClusterRun l1_run_;
  TreeWalk walk_;
  std::optional<Stopwatch> pause_;
  unsigned probes_ = 0;      // Passes over what differs.
  bool has_room_ = true;     // No count can overflow, as far as was probed.
  bool is_counted_ = false;  // The new tree gets its references before the switch.
  bool is_gate_closed_ = false;
  bool is_dirty_taken_ = false;
  bool is_switched_ = false;
};

}  // namespace varve
