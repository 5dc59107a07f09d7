// Applying a snapshot: the disk becomes what it was then; the snapshot stays.
//
// Step transitions:
//   first_write -> closing_gate -> flushing_old -> claiming_l1 -> claiming_table -> taking_dirty ->
//   sharing -> settling -> writing_roots
//   -> roots_barrier -> publishing (the gate opens) -> releasing -> flushing -> clearing_dirty ->
//   end
// Failure before taking_dirty: -> giving_back -> end
// Failure before publishing:   -> undoing -> undo_flushing -> giving_back -> undo_clearing -> end
// The switch never comes before the new tree's own references are durable: else the next write
// would destroy the snapshot. Requests wait from closing_gate until the switch; what completed
// before belongs to the old disk.
#pragma once

#include <vector>

#include "meta/release_walk.h"
#include "meta/share_walk.h"
#include "snapshot/control_operation.h"

namespace varve {

class ApplyOperation final : public ControlOperation {
 public:
  // `l1` is the snapshot's, `table` the one that tells that it was applied. REQUIRES: index is in
  // the table.
  ApplyOperation(Qcow2Image& image, std::size_t index, const std::vector<std::uint64_t>& l1,
                 SnapshotTable table);

 private:
  enum class Step : std::uint8_t {
    first_write,
    closing_gate,
    flushing_old,
    claiming_l1,
    claiming_table,
    taking_dirty,
    sharing,
    settling,
    writing_roots,
    roots_barrier,
    publishing,
    releasing,
    flushing,
    clearing_dirty,
    undoing,
    undo_flushing,
    giving_back,
    undo_clearing,
    end,
  };
  Progress perform() noexcept override;
  bool step_done() noexcept override;
  bool step_failed() noexcept override;
  Progress close_gate() noexcept;
  Progress share() noexcept;
  Progress write_roots() noexcept;
  Progress publish() noexcept;
  void switch_in_memory() noexcept;
  Progress release() noexcept;
  Progress undo() noexcept;
  Progress give_back() noexcept;
  void open_gate() noexcept;

  Step step_ = Step::first_write;
  SnapshotEntry entry_;
  SnapshotTable table_;
  std::vector<std::uint64_t> new_l1_;  // COPIED cleared: everything is shared with the snapshot.
  std::vector<std::uint64_t> old_l1_;
  HostOffset old_l1_offset_;
  L1Table next_;  // Made beforehand: the switch cannot fail.
  ClusterRun l1_run_;
  ShareWalk share_;
  ReleaseWalk release_;
  WalkPosition undo_end_;
  bool is_gate_closed_ = false;
  bool is_dirty_taken_ = false;
  bool is_walk_begun_ = false;
  bool is_undo_begun_ = false;
};

}  // namespace varve
