#include "snapshot/table_operation.h"

#include <utility>

#include "base/try.h"

namespace varve {

TableOperation::TableOperation(Qcow2Image& image, Edit edit)
    : ControlOperation(image), edit_(std::move(edit)) {}

Result<void> TableOperation::take_up() {
  table_ = metadata().snapshots;
  return edit_(table_);
}

SnapshotPhase TableOperation::phase() const noexcept {
  return step_ == Step::publishing ? SnapshotPhase::publishing : SnapshotPhase::preparing;
}

ControlOperation::Progress TableOperation::perform() noexcept {
  switch (step_) {
    case Step::first_write:
      return do_first_write();
    case Step::claiming_table:
      return claim_table(table_);
    case Step::settling:
      return flush_round();
    case Step::writing_table:
      return write_table(table_);
    case Step::table_barrier:
      return barrier();
    case Step::publishing:
      return publish_root();
    case Step::giving_back:
      release_run(table_run());
      return Progress::next;
    case Step::end:
      break;
  }
  VARVE_ASSERT(false);
}

bool TableOperation::step_done() noexcept {
  const bool is_last = step_ == Step::publishing || step_ == Step::giving_back;
  step_ = is_last ? Step::end : static_cast<Step>(static_cast<std::uint8_t>(step_) + 1);
  return !is_last;
}

bool TableOperation::step_failed() noexcept {
  if (step_ >= Step::publishing) {
    return false;
  }
  step_ = Step::giving_back;
  return true;
}

ControlOperation::Progress TableOperation::publish_root() noexcept {
  const Progress progress = once([this] {
    update().patch = HeaderPatch();
    patch_table(table_, update().patch);
    submit_header();
  });
  if (progress == Progress::next) {
    adopt_table(std::move(table_));
  }
  return progress;
}

Result<void> edit_table(Qcow2Image& image, TableOperation::Edit edit) noexcept {
  TableOperation operation(image, std::move(edit));
  VARVE_TRY(operation.begin({}));
  return operation.wait();
}

}  // namespace varve
