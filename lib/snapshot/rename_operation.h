// Changing the snapshot table alone: renaming a snapshot.
//
// Step transitions:
//   first_write -> claiming_table -> settling -> writing_table -> table_barrier -> publishing ->
//   end
// Failure before publishing: -> giving_back -> end.
#pragma once

#include "snapshot/control_operation.h"

namespace varve {

class RenameOperation final : public ControlOperation {
 public:
  RenameOperation(Qcow2Image& image, const SnapshotEntry& entry, std::string new_name);
  ~RenameOperation() override { run_out(); }

 private:
  enum class Step : std::uint8_t {
    first_write,
    claiming_table,
    settling,
    writing_table,
    table_barrier,
    publishing,
    giving_back,
    end,
  };
  Result<void> take_up() override;
  Progress perform() noexcept override;
  bool step_done() noexcept override;
  bool step_failed() noexcept override;
  [[nodiscard]] SnapshotPhase phase() const noexcept override;
  [[nodiscard]] bool can_cancel() const noexcept override { return step_ < Step::publishing; }
  Progress publish_root() noexcept;

  Step step_ = Step::first_write;
  SnapshotEntry entry_;
  std::string new_name_;
  SnapshotTable table_;  // With the new name.
};

}  // namespace varve
