#include "snapshot/apply_operation.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

#include "base/failure.h"
#include "snapshot/facts_table.h"

namespace varve {
namespace {

// What guests make differ while the tables are probed is probed again, until so few are left for
// the pause, or so often.
constexpr std::uint64_t kTablesInPause = 4;
constexpr unsigned kProbesMax = 4;

}  // namespace

ApplyOperation::ApplyOperation(Qcow2Image& image, const SnapshotEntry& entry)
    : ControlOperation(image), entry_(entry), walk_(image.metadata()) {}

Result<void> ApplyOperation::take_up() {
  table_ = metadata().snapshots;
  const std::optional<std::size_t> index = find_same_snapshot(table_, entry_);
  if (!index) {
    return failure(ErrorCode::not_found, "the snapshot has been deleted");
  }
  return make_applied(table_, *index);
}

SnapshotPhase ApplyOperation::phase() const noexcept {
  if (step_ < Step::probing) {
    return SnapshotPhase::preparing;
  }
  if (step_ < Step::switching || step_ >= Step::undoing) {
    return SnapshotPhase::walking;
  }
  return step_ <= Step::publishing ? SnapshotPhase::publishing : SnapshotPhase::reclaiming;
}

ControlOperation::Progress ApplyOperation::perform() noexcept {
  switch (step_) {
    case Step::first_write:
      return do_first_write();
    case Step::loading_l1:
      return take_l1();
    case Step::claiming_l1:
      return claim_run(metadata().geometry.clusters_for(new_l1_.size() * 8), l1_run_);
    case Step::claiming_table:
      return claim_table(table_);
    case Step::probing:
      return probe();
    case Step::taking_dirty:
      is_counted_ = true;
      is_dirty_taken_ = true;
      return take_dirty();
    case Step::sharing:
      return share(metadata().l1.entries());
    case Step::closing_gate:
      return close_gate();
    case Step::completing:
      return is_counted_ ? share(metadata().l1.entries()) : probe();
    case Step::taking_dirty_behind:
      is_dirty_taken_ = true;
      return take_dirty();
    case Step::sharing_behind:
      return share(other_l1_.entries());
    case Step::switching:
      switch_in_memory();
      return Progress::next;
    case Step::settling:
      return walk_.needs_round() ? flush_round() : write_early();
    case Step::flushing:
    case Step::undo_flushing:
      return flush_round();
    case Step::writing_roots:
      return write_roots();
    case Step::roots_barrier:
      return barrier();
    case Step::publishing:
      return publish_root();
    case Step::published:
      return pause_behind_switch();
    case Step::releasing:
      return release();
    case Step::reclaiming:
      return reclaim();
    case Step::clearing_dirty:
    case Step::undo_clearing:
      return is_dirty_taken_ ? clear_dirty() : Progress::next;
    case Step::undoing:
      return undo();
    case Step::giving_back:
      release_run(l1_run_);
      release_run(table_run());
      return Progress::next;
    case Step::end:
      break;
  }
  VARVE_ASSERT(false);
}

ApplyOperation::Step ApplyOperation::next_step() const noexcept {
  switch (step_) {
    case Step::probing:
      if (has_room_) {
        const bool is_quiet = walk_.tables_done() <= kTablesInPause;
        return is_quiet || probes_ == kProbesMax ? Step::closing_gate : Step::probing;
      }
      return Step::taking_dirty;
    case Step::completing:
      return has_room_ || is_counted_ ? Step::switching : Step::taking_dirty;
    case Step::switching:
      return is_counted_ ? Step::settling : Step::taking_dirty_behind;
    case Step::clearing_dirty:
    case Step::undo_clearing:
      return Step::end;
    default:
      return static_cast<Step>(static_cast<std::uint8_t>(step_) + 1);
  }
}

bool ApplyOperation::step_done() noexcept {
  step_ = next_step();
  if (step_ == Step::taking_dirty) {
    open_gate();
  }
  return step_ != Step::end;
}

bool ApplyOperation::step_failed() noexcept {
  if (step_ >= Step::switching && step_ <= Step::publishing) {
    // Memory and file hold different disks, and the way between them is lost.
    metadata().commit.poison();
    let_go();
    return false;
  }
  open_gate();
  if (step_ > Step::publishing || step_ == Step::taking_dirty) {
    return false;
  }
  step_ = is_dirty_taken_ ? Step::undoing : Step::giving_back;
  return true;
}

void ApplyOperation::let_go() noexcept {
  open_gate();
  if (is_switched_) {
    metadata().let_flushes_go();
  }
}

// Machine state behind the disk never enters the active table. All the memory that is needed later
// is had here.
ControlOperation::Progress ApplyOperation::take_l1() noexcept {
  const Progress progress = load_l1(entry_, snapshot_l1_);
  if (progress != Progress::next) {
    return progress;
  }
  const std::uint64_t entries =
      std::max<std::uint64_t>(1, metadata().geometry.l1_entries_for(entry_.disk_size));
  try {
    new_l1_.assign(entries, 0);
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(entries, snapshot_l1_.size()); ++i) {
      new_l1_[i] = L1Entry(snapshot_l1_[i]).without_copied().raw();
    }
    probed_.assign(entries, false);
    added_.assign(entries, false);
    other_l1_ = L1Table(new_l1_, HostOffset());
  } catch (const std::bad_alloc&) {
    return fail(failure(ErrorCode::no_memory, "cannot allocate an L1 table"));
  }
  return Progress::next;
}

// Reads and checks what the new disk has and the old one has not; slots that lead to the same table
// cancel. The guest may make them differ meanwhile: the rest is done behind the gate.
ControlOperation::Progress ApplyOperation::probe() noexcept {
  const Progress progress = run_walk(walk_, {.change = TreeWalk::Change::probe,
                                             .l1 = &new_l1_,
                                             .where = entry_.l1_offset,
                                             .other = &metadata().l1.entries(),
                                             .added = &probed_});
  if (progress == Progress::next) {
    ++probes_;
    has_room_ = has_room_ && walk_.has_room();
  }
  return progress;
}

// +1 on what only the new disk has.
ControlOperation::Progress ApplyOperation::share(
    const std::vector<std::uint64_t>& old_l1) noexcept {
  return run_walk(walk_, {.change = TreeWalk::Change::add,
                          .l1 = &new_l1_,
                          .where = entry_.l1_offset,
                          .other = &old_l1,
                          .added = &added_});
}

ControlOperation::Progress ApplyOperation::close_gate() noexcept {
  if (outlast_growth() == Progress::wait) {
    return Progress::wait;
  }
  // Behind the switch there must be no need for it.
  if (const Result<void> reserved = reserve_stages(l1_run_); !reserved) {
    return fail(reserved.error());
  }
  return once([this] {
    is_gate_closed_ = true;
    pause_.emplace();
    image().close_gate(*this);
  });
}

void ApplyOperation::open_gate() noexcept {
  if (std::exchange(is_gate_closed_, false)) {
    note_pause(pause_->nanoseconds());
    image().open_gate();
  }
}

void ApplyOperation::switch_in_memory() noexcept {
  Metadata& all = metadata();
  all.commit.hold_l1(true);
  all.store.hold_drops();
  all.hold_flushes();
  is_switched_ = true;
  other_l1_.set_offset(all.geometry.offset_of(l1_run_.first));
  std::swap(all.l1, other_l1_);
  all.header.virtual_size = entry_.disk_size;
  all.header.l1_entries = static_cast<std::uint32_t>(new_l1_.size());
  all.header.l1_offset = all.l1.offset();
  note_usable();
  open_gate();
}

// As it was at the switch; what changed since is written by later rounds.
ControlOperation::Progress ApplyOperation::write_roots() noexcept {
  if (is_step_new()) {
    Result<void> staged = stage_l1({&new_l1_}, l1_run_);
    staged = staged ? stage_table(table_) : staged;
    if (!staged) {
      return fail(staged.error());
    }
  }
  return run_batch();
}

// One header write: size, L1 size and offset, and the snapshot table together (O5).
ControlOperation::Progress ApplyOperation::publish_root() noexcept {
  const Progress progress = once([this] {
    update().patch = HeaderPatch();
    update().patch.set<std::uint64_t>(offsetof(RawHeader, virtual_size), entry_.disk_size);
    update().patch.set<std::uint32_t>(offsetof(RawHeader, l1_entries),
                                      static_cast<std::uint32_t>(new_l1_.size()));
    update().patch.set<std::uint64_t>(offsetof(RawHeader, l1_offset),
                                      metadata().geometry.offset_of(l1_run_.first).value());
    patch_table(table_, update().patch);
    submit_header();
  });
  if (progress == Progress::next) {
    l1_run_ = ClusterRun();
    is_switched_ = false;
    adopt_table(std::move(table_));
    metadata().commit.hold_l1(false);
    metadata().store.let_drops_go();
    metadata().reclaimer.kick();
    metadata().let_flushes_go();
  }
  return progress;
}

// -1 on what only the old disk had. Nothing of it becomes the new disk's own: that is shared with
// the snapshot.
ControlOperation::Progress ApplyOperation::release() noexcept {
  const Geometry& geometry = metadata().geometry;
  const Progress progress = run_walk(walk_, {.change = TreeWalk::Change::drop,
                                             .l1 = &other_l1_.entries(),
                                             .where = other_l1_.offset(),
                                             .other = &new_l1_});
  if (progress == Progress::next && other_l1_.size() != 0) {
    metadata().store.release(
        {geometry.cluster_of(other_l1_.offset()), geometry.clusters_for(other_l1_.size() * 8)});
  }
  return progress;
}

ControlOperation::Progress ApplyOperation::undo() noexcept {
  return run_walk(walk_, {.change = TreeWalk::Change::drop,
                          .l1 = &new_l1_,
                          .where = entry_.l1_offset,
                          .added = &added_});
}

}  // namespace varve
