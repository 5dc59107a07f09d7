#include "snapshot/rename_operation.h"

#include <utility>

#include "base/failure.h"

namespace varve {

RenameOperation::RenameOperation(Qcow2Image& image, const SnapshotEntry& entry,
                                 std::string new_name)
    : ControlOperation(image), entry_(entry), new_name_(std::move(new_name)) {}

Result<void> RenameOperation::take_up() {
  table_ = metadata().snapshots;
  const std::optional<std::size_t> index = find_same_snapshot(table_, entry_);
  if (!index) {
    return failure(ErrorCode::not_found, "the snapshot has been deleted");
  }
  table_.entries[*index].name = new_name_;
  return {};
}

SnapshotPhase RenameOperation::phase() const noexcept {
  return step_ == Step::publishing ? SnapshotPhase::publishing : SnapshotPhase::preparing;
}

ControlOperation::Progress RenameOperation::perform() noexcept {
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

bool RenameOperation::step_done() noexcept {
  const bool is_last = step_ == Step::publishing || step_ == Step::giving_back;
  step_ = is_last ? Step::end : static_cast<Step>(static_cast<std::uint8_t>(step_) + 1);
  return !is_last;
}

bool RenameOperation::step_failed() noexcept {
  if (step_ >= Step::publishing) {
    return false;
  }
  step_ = Step::giving_back;
  return true;
}

ControlOperation::Progress RenameOperation::publish_root() noexcept {
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

}  // namespace varve
