// Creating a snapshot.
//
// Step transitions:
//   first_write -> taking_dirty -> ready -> frozen -> completing_entry -> draining -> claiming_l1
//   -> claiming_table -> flushing -> walking -> settling -> writing_roots -> roots_barrier ->
//   publishing -> end
// Failure before the freeze: -> giving_back -> clearing_dirty -> end
// Failure before publishing: -> restoring_flags -> undoing -> undo_flushing -> giving_back ->
// clearing_dirty -> end; if undoing fails too the dirty bit stays and the next open settles. Only
// the freeze, between ready and frozen, is felt by the guest: a copy of the L1 in memory, no I/O,
// no waiting.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "format/snapshot_facts.h"
#include "snapshot/control_operation.h"
#include "snapshot/facts_table.h"
#include "snapshot/state_store.h"

namespace varve {

class CreateOperation final : public ControlOperation {
 public:
  // REQUIRES: the options are valid.
  CreateOperation(Qcow2Image& image, const SnapshotCreateOptions& options,
                  std::optional<GroupPlace> place = std::nullopt);
  ~CreateOperation() override { run_out(); }

  [[nodiscard]] const std::string& id() const noexcept override { return entry_.id; }
  [[nodiscard]] const Uuid& uuid() const noexcept override { return facts_.uuid; }
  Result<void> freeze() noexcept override;
  Result<void> publish() noexcept override;

 private:
  enum class Step : std::uint8_t {
    first_write,
    taking_dirty,
    ready,
    frozen,
    completing_entry,
    draining,
    claiming_l1,
    claiming_table,
    flushing,
    walking,
    settling,
    writing_roots,
    roots_barrier,
    publishing,
    restoring_flags,
    undoing,
    undo_flushing,
    giving_back,
    clearing_dirty,
    end,
  };
  Result<void> take_up() override;
  Progress perform() noexcept override;
  bool step_done() noexcept override;
  bool step_failed() noexcept override;
  [[nodiscard]] SnapshotPhase phase() const noexcept override;
  [[nodiscard]] bool can_cancel() const noexcept override;
  [[nodiscard]] SnapshotProgress walked() const noexcept override { return progress_of(walk_); }
  void stop() noexcept override { walk_.stop(); }
  Progress complete_entry() noexcept;
  Progress write_roots() noexcept;
  Progress publish_root() noexcept;
  void restore_l1_flags() noexcept;
  Progress give_back() noexcept;

  Step step_ = Step::first_write;
  SnapshotCreateOptions wishes_;
  std::optional<GroupPlace> place_;
  SnapshotEntry entry_;
  SnapshotFacts facts_;
  SnapshotTable table_;                // With the new entry.
  std::vector<std::uint64_t> frozen_;  // The active L1 at the freeze, as it was.
  std::vector<bool> added_;            // The slots whose trees have their references.
  // What stands behind the disk's entries in the snapshot's own L1: machine state, taken when
  // publishing begins.
  std::vector<std::uint64_t> state_l1_;
  StateStore* state_ = nullptr;
  ClusterRun l1_run_;
  TreeWalk walk_;
  bool is_frozen_ = false;
  bool is_publishing_asked_ = false;
  bool is_dirty_taken_ = false;
};

}  // namespace varve
