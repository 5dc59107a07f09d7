// Changing the snapshot table alone: a snapshot's name, or what its facts say.
//
// Step transitions:
//   first_write -> claiming_table -> settling -> writing_table -> table_barrier -> publishing ->
//   end
// Failure before publishing: -> giving_back -> end.
#pragma once

#include <functional>

#include "snapshot/control_operation.h"

namespace varve {

class TableOperation final : public ControlOperation {
 public:
  // `edit` is given the table as it is when the operation's turn has come. It may throw
  // std::bad_alloc; its error ends the operation with nothing changed.
  using Edit = std::function<Result<void>(SnapshotTable& table)>;
  TableOperation(Qcow2Image& image, Edit edit);
  ~TableOperation() override { run_out(); }

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
  Edit edit_;
  SnapshotTable table_;  // Edited.
};

// Runs one to its end. Errors: those of delete_snapshot that are not about deleting, and the
// edit's.
Result<void> edit_table(Qcow2Image& image, TableOperation::Edit edit) noexcept;

}  // namespace varve
