// Deleting a snapshot: visible at once, its space given back behind.
//
// Step transitions:
//   first_write -> claiming_table -> settling -> writing_table -> table_barrier -> publishing ->
//   draining -> walking
//   -> flushing -> clearing_dirty -> end
// Failure before publishing: -> giving_back -> end. Behind it the snapshot is gone; the dirty bit
// stays, the next open counts anew.
#pragma once

#include <vector>

#include "meta/release_walk.h"
#include "snapshot/control_operation.h"

namespace varve {

class DeleteOperation final : public ControlOperation {
 public:
  // `l1` is the snapshot's, machine state included; `table` is the one without it. REQUIRES: index
  // is in the present table, the snapshot is not open.
  DeleteOperation(Qcow2Image& image, std::size_t index, std::vector<std::uint64_t> l1,
                  SnapshotTable table);

 private:
  enum class Step : std::uint8_t {
    first_write,
    claiming_table,
    settling,
    writing_table,
    table_barrier,
    publishing,
    draining,
    walking,
    flushing,
    clearing_dirty,
    giving_back,
    end,
  };
  Progress perform() noexcept override;
  bool step_done() noexcept override;
  bool step_failed() noexcept override;
  Progress publish() noexcept;
  Progress walk() noexcept;

  Step step_ = Step::first_write;
  SnapshotTable table_;  // Without the entry.
  SnapshotEntry entry_;
  std::vector<std::uint64_t> l1_;
  ReleaseWalk release_;
  bool is_walk_begun_ = false;
};

}  // namespace varve
