// Deleting a snapshot, or its machine state alone: visible at once, the space given back behind.
//
// Step transitions:
//   first_write -> loading_l1 -> claiming_table -> settling -> writing_table -> table_barrier ->
//   publishing -> published -> draining -> walking
//   -> reclaiming -> flushing -> clearing_dirty -> end
// Failure before publishing: -> giving_back -> end. Behind it the snapshot is gone; the dirty bit
// stays, the next open counts anew.
#pragma once

#include <vector>

#include "snapshot/control_operation.h"

namespace varve {

class DeleteOperation final : public ControlOperation {
 public:
  enum class What : std::uint8_t { snapshot, state };
  // The snapshot is looked up again when the operation's turn has come.
  DeleteOperation(Qcow2Image& image, const SnapshotEntry& entry, What what = What::snapshot);
  ~DeleteOperation() override { run_out(); }

 private:
  enum class Step : std::uint8_t {
    first_write,
    loading_l1,
    claiming_table,
    settling,
    writing_table,
    table_barrier,
    publishing,
    published,  // Stepwise: stands still until publish().
    draining,
    walking,
    reclaiming,
    flushing,
    clearing_dirty,
    giving_back,
    end,
  };
  Result<void> take_up() override;
  Progress perform() noexcept override;
  bool step_done() noexcept override;
  bool step_failed() noexcept override;
  void let_go() noexcept override;
  [[nodiscard]] SnapshotPhase phase() const noexcept override;
  [[nodiscard]] bool can_cancel() const noexcept override { return step_ < Step::publishing; }
  [[nodiscard]] SnapshotProgress walked() const noexcept override { return progress_of(walk_); }
  Progress publish_root() noexcept;
  Progress walk() noexcept;
  Result<void> drop_state(SnapshotEntry& entry) const;
  // Without the last snapshot there is no table, and nothing that must be durable before the
  // header.
  [[nodiscard]] bool has_table() const noexcept { return !table_.entries.empty(); }
  // The first L1 entries, which a snapshot keeps that loses its state alone.
  [[nodiscard]] std::uint64_t kept_entries() const noexcept;

  Step step_ = Step::first_write;
  What what_;
  SnapshotTable table_;  // Without the entry, or its state.
  SnapshotEntry entry_;
  std::vector<std::uint64_t> l1_;
  TreeWalk walk_;
};

}  // namespace varve
