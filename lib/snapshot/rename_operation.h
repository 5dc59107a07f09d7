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
  // REQUIRES: index is in the table.
  RenameOperation(Qcow2Image& image, std::size_t index, std::string new_name);

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
  Progress perform() noexcept override;
  bool step_done() noexcept override;
  bool step_failed() noexcept override;
  Progress publish() noexcept;

  Step step_ = Step::first_write;
  SnapshotTable table_;
};

}  // namespace varve
