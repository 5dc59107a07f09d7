#include "snapshot/apply_operation.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/failure.h"

namespace varve {

ApplyOperation::ApplyOperation(Qcow2Image& image, std::size_t index,
                               const std::vector<std::uint64_t>& l1, SnapshotTable table)
    : ControlOperation(image),
      entry_(image.metadata().snapshots.entries[index]),
      table_(std::move(table)),
      share_(image.metadata()),
      release_(image.metadata()) {
  const Geometry& geometry = image.metadata().geometry;
  // Machine state behind the disk never enters the active table.
  const std::uint64_t entries =
      std::max<std::uint64_t>(1, geometry.l1_entries_for(entry_.disk_size));
  new_l1_.assign(entries, 0);
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(entries, l1.size()); ++i) {
    new_l1_[i] = L1Entry(l1[i]).without_copied().raw();
  }
  next_ = L1Table(new_l1_, HostOffset());
  old_l1_.reserve(image.metadata().l1.size());
}

ControlOperation::Progress ApplyOperation::perform() noexcept {
  switch (step_) {
    case Step::first_write:
      return do_first_write();
    case Step::closing_gate:
      return close_gate();
    case Step::flushing_old:
    case Step::settling:
    case Step::flushing:
    case Step::undo_flushing:
      return flush_round();
    case Step::claiming_l1:
      return claim_run(metadata().geometry.clusters_for(new_l1_.size() * 8), l1_run_);
    case Step::claiming_table:
      return claim_table(table_);
    case Step::taking_dirty:
      is_dirty_taken_ = true;
      return take_dirty();
    case Step::sharing:
      return share();
    case Step::writing_roots:
      return write_roots();
    case Step::roots_barrier:
      return barrier();
    case Step::publishing:
      return publish();
    case Step::releasing:
      return release();
    case Step::clearing_dirty:
    case Step::undo_clearing:
      return is_dirty_taken_ ? clear_dirty() : Progress::next;
    case Step::undoing:
      return undo();
    case Step::giving_back:
      return give_back();
    case Step::end:
      break;
  }
  VARVE_ASSERT(false);
}

bool ApplyOperation::step_done() noexcept {
  const bool is_last = step_ == Step::clearing_dirty || step_ == Step::undo_clearing;
  step_ = is_last ? Step::end : static_cast<Step>(static_cast<std::uint8_t>(step_) + 1);
  if (is_last) {
    open_gate();
  }
  return !is_last;
}

bool ApplyOperation::step_failed() noexcept {
  if (step_ >= Step::publishing || step_ == Step::taking_dirty) {
    open_gate();
    return false;
  }
  step_ = is_dirty_taken_ ? Step::undoing : Step::giving_back;
  return true;
}

ControlOperation::Progress ApplyOperation::close_gate() noexcept {
  return once([this] {
    is_gate_closed_ = true;
    image().close_gate(*this);
  });
}

void ApplyOperation::open_gate() noexcept {
  if (std::exchange(is_gate_closed_, false)) {
    image().open_gate();
  }
}

// +1 on what only the new disk has; slots that lead to the same table cancel.
ControlOperation::Progress ApplyOperation::share() noexcept {
  if (!is_walk_begun_) {
    is_walk_begun_ = true;
    old_l1_ = metadata().l1.entries();
    old_l1_offset_ = metadata().l1.offset();
    if (const Result<void> begun = share_.begin(new_l1_, entry_.l1_offset, &old_l1_); !begun) {
      return fail(begun.error());
    }
  }
  return ask(share_.advance());
}

ControlOperation::Progress ApplyOperation::write_roots() noexcept {
  if (is_step_new()) {
    Result<void> staged = stage_l1(new_l1_, l1_run_);
    staged = staged ? stage_table(table_) : staged;
    if (!staged) {
      return fail(staged.error());
    }
  }
  return run_batch();
}

// One header write: size, L1 size and offset, and the snapshot table together (O5).
ControlOperation::Progress ApplyOperation::publish() noexcept {
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
    switch_in_memory();
    open_gate();
  }
  return progress;
}

void ApplyOperation::switch_in_memory() noexcept {
  Metadata& all = metadata();
  next_.set_offset(all.geometry.offset_of(l1_run_.first));
  all.l1 = std::move(next_);
  all.header.virtual_size = entry_.disk_size;
  all.header.l1_entries = static_cast<std::uint32_t>(new_l1_.size());
  all.header.l1_offset = all.l1.offset();
  l1_run_ = ClusterRun();
  adopt_table(std::move(table_));
  is_walk_begun_ = false;
}

// -1 on what only the old disk had.
ControlOperation::Progress ApplyOperation::release() noexcept {
  const Geometry& geometry = metadata().geometry;
  if (!is_walk_begun_) {
    is_walk_begun_ = true;
    const Result<void> begun = release_.begin(old_l1_, old_l1_offset_, &new_l1_, nullptr);
    if (!begun) {
      return fail(begun.error());
    }
  }
  const Progress progress = ask(release_.advance());
  if (progress == Progress::next && !old_l1_.empty()) {
    metadata().store.release(
        {geometry.cluster_of(old_l1_offset_), geometry.clusters_for(old_l1_.size() * 8)});
  }
  return progress;
}

ControlOperation::Progress ApplyOperation::undo() noexcept {
  if (!is_undo_begun_) {
    is_undo_begun_ = true;
    undo_end_ = share_.position();
    if (!is_walk_begun_) {
      return Progress::next;
    }
    const Result<void> begun = release_.begin(new_l1_, entry_.l1_offset, &old_l1_, &undo_end_);
    if (!begun) {
      return fail(begun.error());
    }
  }
  return is_walk_begun_ ? ask(release_.advance()) : Progress::next;
}

ControlOperation::Progress ApplyOperation::give_back() noexcept {
  release_run(l1_run_);
  release_run(table_run());
  return Progress::next;
}

}  // namespace varve
