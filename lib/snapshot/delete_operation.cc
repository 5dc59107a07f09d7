#include "snapshot/delete_operation.h"

#include <utility>

namespace varve {

DeleteOperation::DeleteOperation(Qcow2Image& image, std::size_t index,
                                 std::vector<std::uint64_t> l1, SnapshotTable table)
    : ControlOperation(image),
      table_(std::move(table)),
      entry_(image.metadata().snapshots.entries[index]),
      l1_(std::move(l1)),
      release_(image.metadata()) {}

ControlOperation::Progress DeleteOperation::perform() noexcept {
  switch (step_) {
    case Step::first_write:
      return do_first_write();
    case Step::claiming_table:
      return table_.entries.empty() ? Progress::next : claim_table(table_);
    case Step::settling:
    case Step::flushing:
      return flush_round();
    case Step::writing_table:
      return write_table(table_);
    case Step::table_barrier:
      return barrier();
    case Step::publishing:
      return publish();
    case Step::draining:
      return wait_for_requests();
    case Step::walking:
      return walk();
    case Step::clearing_dirty:
      return clear_dirty();
    case Step::giving_back:
      release_run(table_run());
      return Progress::next;
    case Step::end:
      break;
  }
  VARVE_ASSERT(false);
}

bool DeleteOperation::step_done() noexcept {
  const bool is_last = step_ == Step::clearing_dirty || step_ == Step::giving_back;
  step_ = is_last ? Step::end : static_cast<Step>(static_cast<std::uint8_t>(step_) + 1);
  return !is_last;
}

bool DeleteOperation::step_failed() noexcept {
  if (step_ >= Step::publishing) {
    return false;
  }
  step_ = Step::giving_back;
  return true;
}

// One header write: the table without the entry, and the dirty bit under which the counts follow.
ControlOperation::Progress DeleteOperation::publish() noexcept {
  const Progress progress = once([this] {
    update().patch = HeaderPatch();
    patch_table(table_, update().patch);
    metadata().patch_with_dirty(update().patch);
    submit_header();
  });
  if (progress == Progress::next) {
    adopt_table(std::move(table_));
  }
  return progress;
}

ControlOperation::Progress DeleteOperation::walk() noexcept {
  if (!is_walk_begun_) {
    is_walk_begun_ = true;
    if (const Result<void> begun = release_.begin(l1_, entry_.l1_offset, nullptr, nullptr);
        !begun) {
      return fail(begun.error());
    }
  }
  const Progress progress = ask(release_.advance());
  if (progress == Progress::next && !l1_.empty()) {
    const Geometry& geometry = metadata().geometry;
    metadata().store.release(
        {geometry.cluster_of(entry_.l1_offset), geometry.clusters_for(l1_.size() * 8)});
  }
  return progress;
}

}  // namespace varve
