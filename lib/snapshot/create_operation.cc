#include "snapshot/create_operation.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/try.h"
#include "snapshot/state_attachment.h"

namespace varve {

CreateOperation::CreateOperation(Qcow2Image& image, const SnapshotCreateOptions& options,
                                 std::optional<GroupPlace> place)
    : ControlOperation(image),
      wishes_(options),
      place_(std::move(place)),
      walk_(image.metadata()) {}

Result<void> CreateOperation::take_up() {
  const SnapshotTable& table = metadata().snapshots;
  if (table.entries.size() >= kSnapshotsMax) {
    Error error = failure(ErrorCode::out_of_range, "the snapshot table is full");
    error.value = table.entries.size();
    error.limit = kSnapshotsMax;
    return error;
  }
  NewSnapshot made = describe_new(table, wishes_);
  made.facts.image = image_uuid_of(metadata().header, table);
  if (place_) {
    join_group(*place_, made.facts);
  }
  entry_ = std::move(made.entry);
  facts_ = std::move(made.facts);
  // What does not fit is found now.
  table_ = table;
  VARVE_TRY(append_snapshot(table_, entry_, facts_));
  frozen_.reserve(metadata().l1.size());
  added_.reserve(metadata().l1.size());
  return {};
}

SnapshotPhase CreateOperation::phase() const noexcept {
  switch (step_) {
    case Step::ready:
      return is_stepwise() ? SnapshotPhase::ready : SnapshotPhase::preparing;
    case Step::frozen:
      return is_stepwise() ? SnapshotPhase::frozen : SnapshotPhase::walking;
    default:
      break;
  }
  if (step_ < Step::ready || !is_frozen_) {
    return SnapshotPhase::preparing;
  }
  return step_ >= Step::writing_roots && step_ <= Step::publishing ? SnapshotPhase::publishing
                                                                   : SnapshotPhase::walking;
}

bool CreateOperation::can_cancel() const noexcept {
  return step_ < Step::writing_roots;
}

ControlOperation::Progress CreateOperation::perform() noexcept {
  switch (step_) {
    case Step::first_write:
      return do_first_write();
    case Step::taking_dirty:
      is_dirty_taken_ = true;
      return take_dirty();
    case Step::ready:
      if (!is_stepwise()) {
        const Result<void> frozen = freeze();
        return frozen ? Progress::next : fail(frozen.error());
      }
      return park();
    case Step::frozen:
      return is_stepwise() && !is_publishing_asked_ ? park() : Progress::next;
    case Step::completing_entry:
      return complete_entry();
    case Step::draining:
      return wait_for_requests();
    case Step::claiming_l1:
      return claim_run(metadata().geometry.clusters_for((frozen_.size() + state_l1_.size()) * 8),
                       l1_run_);
    case Step::claiming_table:
      return claim_table(table_);
    case Step::flushing:
    case Step::undo_flushing:
      return flush_round();
    case Step::walking:
      return run_walk(walk_, {.change = TreeWalk::Change::add,
                              .l1 = &frozen_,
                              .where = metadata().l1.offset(),
                              .added = &added_});
    case Step::settling:
      return walk_.needs_round() ? flush_round() : write_early();
    case Step::writing_roots:
      return write_roots();
    case Step::roots_barrier:
      return barrier();
    case Step::publishing:
      return publish_root();
    case Step::undoing:
      // The references the walk has added go, and the active disk owns its clusters again.
      return run_walk(walk_, {.change = TreeWalk::Change::drop,
                              .l1 = &frozen_,
                              .where = metadata().l1.offset(),
                              .added = &added_,
                              .sets_flags = true});
    case Step::restoring_flags:
      restore_l1_flags();
      return Progress::next;
    case Step::giving_back:
      return give_back();
    case Step::clearing_dirty:
      return is_dirty_taken_ ? clear_dirty() : Progress::next;
    case Step::end:
      break;
  }
  VARVE_ASSERT(false);
}

bool CreateOperation::step_done() noexcept {
  const bool is_last = step_ == Step::publishing || step_ == Step::clearing_dirty;
  step_ = is_last ? Step::end : static_cast<Step>(static_cast<std::uint8_t>(step_) + 1);
  return !is_last;
}

bool CreateOperation::step_failed() noexcept {
  switch (step_) {
    case Step::taking_dirty:
    case Step::publishing:
    case Step::undoing:
    case Step::restoring_flags:
    case Step::undo_flushing:
    case Step::giving_back:
    case Step::clearing_dirty:
      // The image stays dirty: the next open counts anew. The drops remain held for this session.
      return false;
    default:
      break;
  }
  step_ = is_frozen_ ? Step::restoring_flags : Step::giving_back;
  return true;
}

// The pause: every L2 table of the disk becomes shared, in memory.
Result<void> CreateOperation::freeze() noexcept {
  if (progress().phase == SnapshotPhase::done || step_ != Step::ready) {
    return failure(ErrorCode::invalid_argument, "the creation is not ready to be frozen");
  }
  if (metadata().commit.is_poisoned()) {
    return failure(ErrorCode::poisoned, "an earlier flush failed; reopen the image");
  }
  const Stopwatch watch;
  L1Table& l1 = metadata().l1;
  const std::uint64_t entries = std::min<std::uint64_t>(
      l1.size(), metadata().geometry.l1_entries_for(image().settled_size()));
  try {
    frozen_.resize(entries);
    added_.assign(entries, false);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot copy the L1 table");
  }
  for (std::uint64_t slot = 0; slot < entries; ++slot) {
    const L1Entry entry = l1.entry(slot);
    frozen_[slot] = entry.raw();
    if (entry.is_copied()) {
      l1.set(slot, entry.without_copied());
    }
  }
  entry_.disk_size = image().settled_size();
  // What the guest drops from the frozen tree from here on is owed until the tree has its own
  // references.
  metadata().store.hold_drops();
  is_frozen_ = true;
  step_ = is_stepwise() ? Step::frozen : step_;
  note_pause(watch.nanoseconds());
  note_usable();
  go_on();
  return {};
}

Result<void> CreateOperation::publish() noexcept {
  if (progress().phase == SnapshotPhase::done || step_ != Step::frozen || is_publishing_asked_) {
    return failure(ErrorCode::invalid_argument, "the creation is not frozen");
  }
  is_publishing_asked_ = true;
  go_on();
  return {};
}

// The last moment to say what the snapshot is: its table's size is fixed from here on.
ControlOperation::Progress CreateOperation::complete_entry() noexcept {
  const Result<StateStore*> state = finished_state(metadata(), wishes_.state);
  if (!state) {
    return fail(state.error());
  }
  state_ = *state;
  try {
    NewSnapshot made{entry_, facts_};
    if (state_ != nullptr) {
      // Its tables stand where QEMU looks for them: from the first entry past the disk's own.
      state_l1_ = state_->l1();
      describe_state(*state_, made);
    }
    made.entry.l1_entries = static_cast<std::uint32_t>(frozen_.size() + state_l1_.size());
    table_ = metadata().snapshots;
    const Result<void> appended =
        append_snapshot(table_, std::move(made.entry), std::move(made.facts));
    return appended ? Progress::next : fail(appended.error());
  } catch (const std::bad_alloc&) {
    return fail(failure(ErrorCode::no_memory, "cannot allocate a snapshot table"));
  }
}

ControlOperation::Progress CreateOperation::write_roots() noexcept {
  if (is_step_new()) {
    table_.entries.back().l1_offset =
        l1_run_.count == 0 ? HostOffset() : metadata().geometry.offset_of(l1_run_.first);
    Result<void> staged = stage_l1({&frozen_, &state_l1_}, l1_run_);
    staged = staged ? stage_table(table_) : staged;
    if (!staged) {
      return fail(staged.error());
    }
  }
  return run_batch();
}

// One header write: the new table, and for the last holder the cleared dirty bit (O5, O6).
ControlOperation::Progress CreateOperation::publish_root() noexcept {
  const Progress progress = once([this] {
    update().patch = HeaderPatch();
    patch_table(table_, update().patch);
    metadata().patch_without_dirty(update().patch);
    submit_header();
  });
  if (progress == Progress::next) {
    metadata().released_dirty();
    adopt_table(std::move(table_));
    if (state_ != nullptr) {
      state_->attached();
    }
    metadata().store.let_drops_go();
    metadata().reclaimer.kick();
  }
  return progress;
}

// Of the tables the walk had not come to: nobody else has ever referred to them. Before anything
// else, so that guests change them from here on instead of copying them.
void CreateOperation::restore_l1_flags() noexcept {
  L1Table& l1 = metadata().l1;
  for (std::uint64_t slot = 0; slot < frozen_.size(); ++slot) {
    const L1Entry entry(frozen_[slot]);
    if (entry.is_copied() && !added_[slot] && l1.entry(slot) == entry.without_copied()) {
      l1.set(slot, entry);
    }
  }
}

ControlOperation::Progress CreateOperation::give_back() noexcept {
  release_run(l1_run_);
  release_run(table_run());
  if (is_frozen_) {
    metadata().store.let_drops_go();
    metadata().reclaimer.kick();
  }
  return Progress::next;
}

}  // namespace varve
