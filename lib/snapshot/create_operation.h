// Creating a disk snapshot.
//
// Step transitions:
//   first_write -> claiming_l1 -> claiming_table -> taking_dirty -> freezing -> draining ->
//   flushing -> walking
//   -> settling -> writing_roots -> roots_barrier -> publishing -> end
// Failure before freezing:  -> giving_back -> clearing_dirty -> end
// Failure before publishing: -> undoing -> undo_flushing -> giving_back -> clearing_dirty -> end;
// if undoing fails too the dirty bit stays and the next open settles. Only freezing is felt by the
// guest: a copy of the L1 in memory, no I/O, no waiting.
#pragma once

#include <string>
#include <vector>

#include "meta/release_walk.h"
#include "meta/share_walk.h"
#include "snapshot/control_operation.h"

namespace varve {

class CreateOperation final : public ControlOperation {
 public:
  // The last entry of `table` is the new one, without L1 and sizes. The memory for everything is
  // had before anything starts.
  CreateOperation(Qcow2Image& image, SnapshotTable table);

  [[nodiscard]] std::uint64_t pause_nanoseconds() const noexcept { return pause_nanoseconds_; }

 private:
  enum class Step : std::uint8_t {
    first_write,
    claiming_l1,
    claiming_table,
    taking_dirty,
    freezing,
    draining,
    flushing,
    walking,
    settling,
    writing_roots,
    roots_barrier,
    publishing,
    undoing,
    undo_flushing,
    giving_back,
    clearing_dirty,
    end,
  };
  Progress perform() noexcept override;
  bool step_done() noexcept override;
  bool step_failed() noexcept override;
  Progress freeze() noexcept;
  Progress write_roots() noexcept;
  Progress publish() noexcept;
  Progress undo() noexcept;
  Progress give_back() noexcept;

  Step step_ = Step::first_write;
  SnapshotTable table_;                // With the new entry.
  std::vector<std::uint64_t> frozen_;  // The active L1 at the freeze, COPIED cleared.
  ClusterRun l1_run_;
  ShareWalk share_;
  ReleaseWalk release_;
  WalkPosition undo_end_;
  bool is_frozen_ = false;
  bool is_dirty_taken_ = false;
  bool is_undo_begun_ = false;
  std::uint64_t pause_nanoseconds_ = 0;
};

}  // namespace varve
