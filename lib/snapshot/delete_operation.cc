#include "snapshot/delete_operation.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "base/try.h"
#include "snapshot/facts_table.h"

namespace varve {

DeleteOperation::DeleteOperation(Qcow2Image& image, const SnapshotEntry& entry, What what)
    : ControlOperation(image), what_(what), entry_(entry), walk_(image.metadata()) {}

Result<void> DeleteOperation::take_up() {
  table_ = metadata().snapshots;
  const std::optional<std::size_t> index = find_same_snapshot(table_, entry_);
  if (!index) {
    return failure(ErrorCode::not_found, "the snapshot has been deleted");
  }
  const std::vector<HostOffset>& open = image().open_snapshots;
  if (std::find(open.begin(), open.end(), entry_.l1_offset) != open.end()) {
    return failure(ErrorCode::busy, "the snapshot is open");
  }
  if (what_ == What::state) {
    VARVE_TRY(drop_state(table_.entries[*index]));
  } else {
    VARVE_TRY(erase_snapshot(table_, *index));
  }
  image().snapshot_in_deletion = entry_.l1_offset;
  return {};
}

std::uint64_t DeleteOperation::kept_entries() const noexcept {
  return what_ == What::snapshot ? 0 : metadata().geometry.l1_entries_for(entry_.disk_size);
}

// The entry names the first part of the same L1 table from here on.
Result<void> DeleteOperation::drop_state(SnapshotEntry& entry) const {
  entry.l1_entries = static_cast<std::uint32_t>(kept_entries());
  entry.l1_offset = entry.l1_entries == 0 ? HostOffset() : entry.l1_offset;
  entry.vm_state_bytes = 0;
  auto facts = facts_of(entry);
  if (!facts) {
    return {};
  }
  facts->set(SnapshotFacts::kHasStateDigest, false);
  facts->state_digest = Hash128();
  return set_facts(entry, *facts);
}

void DeleteOperation::let_go() noexcept {
  image().snapshot_in_deletion.reset();
}

SnapshotPhase DeleteOperation::phase() const noexcept {
  if (step_ < Step::publishing || step_ == Step::giving_back) {
    return SnapshotPhase::preparing;
  }
  return step_ == Step::publishing ? SnapshotPhase::publishing : SnapshotPhase::reclaiming;
}

ControlOperation::Progress DeleteOperation::perform() noexcept {
  switch (step_) {
    case Step::first_write:
      return do_first_write();
    case Step::loading_l1:
      return load_l1(entry_, l1_);
    case Step::claiming_table:
      return has_table() ? claim_table(table_) : Progress::next;
    case Step::settling:
      return has_table() ? write_early() : Progress::next;
    case Step::reclaiming:
      return reclaim();
    case Step::flushing:
      return flush_round();
    case Step::writing_table:
      return write_table(table_);
    case Step::table_barrier:
      return has_table() ? barrier() : Progress::next;
    case Step::publishing:
      return publish_root();
    case Step::published:
      return pause_behind_switch();
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
  if (is_last) {
    let_go();
  }
  return !is_last;
}

bool DeleteOperation::step_failed() noexcept {
  if (step_ >= Step::publishing) {
    let_go();
    return false;
  }
  step_ = Step::giving_back;
  return true;
}

// One header write: the table without the entry, and the dirty bit under which the counts follow.
ControlOperation::Progress DeleteOperation::publish_root() noexcept {
  const Progress progress = once([this] {
    update().patch = HeaderPatch();
    patch_table(table_, update().patch);
    metadata().patch_with_dirty(update().patch);
    submit_header();
  });
  if (progress == Progress::next) {
    adopt_table(std::move(table_));
    image().snapshot_in_deletion.reset();
    note_usable();
  }
  return progress;
}

ControlOperation::Progress DeleteOperation::walk() noexcept {
  const Geometry& geometry = metadata().geometry;
  if (is_step_new()) {
    std::fill_n(l1_.begin(), std::min<std::uint64_t>(kept_entries(), l1_.size()), 0);
  }
  const Progress progress = run_walk(walk_, {.change = TreeWalk::Change::drop,
                                             .l1 = &l1_,
                                             .where = entry_.l1_offset,
                                             .sets_flags = true});
  const std::uint64_t kept = geometry.clusters_for(kept_entries() * 8);
  const std::uint64_t clusters = geometry.clusters_for(l1_.size() * 8);
  if (progress == Progress::next && clusters > kept) {
    metadata().store.release(
        {HostCluster(geometry.cluster_of(entry_.l1_offset).value() + kept), clusters - kept});
  }
  return progress;
}

}  // namespace varve
