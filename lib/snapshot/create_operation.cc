#include "snapshot/create_operation.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/failure.h"
#include "base/try.h"

namespace varve {

CreateOperation::CreateOperation(Qcow2Image& image, SnapshotTable table)
    : ControlOperation(image),
      table_(std::move(table)),
      share_(image.metadata()),
      release_(image.metadata()) {
  SnapshotEntry& entry = table_.entries.back();
  const Metadata& metadata = image.metadata();
  const std::uint64_t entries = std::min<std::uint64_t>(
      metadata.l1.size(), metadata.geometry.l1_entries_for(metadata.header.virtual_size));
  frozen_.resize(entries);
  entry.l1_entries = static_cast<std::uint32_t>(entries);
  entry.disk_size = metadata.header.virtual_size;
}

ControlOperation::Progress CreateOperation::perform() noexcept {
  switch (step_) {
    case Step::first_write:
      return do_first_write();
    case Step::claiming_l1:
      return claim_run(metadata().geometry.clusters_for(frozen_.size() * 8), l1_run_);
    case Step::claiming_table:
      return claim_table(table_);
    case Step::taking_dirty:
      is_dirty_taken_ = true;
      return take_dirty();
    case Step::freezing:
      return freeze();
    case Step::draining:
      return wait_for_requests();
    case Step::flushing:
    case Step::settling:
    case Step::undo_flushing:
      return flush_round();
    case Step::walking:
      return ask(share_.advance());
    case Step::writing_roots:
      return write_roots();
    case Step::roots_barrier:
      return barrier();
    case Step::publishing:
      return publish();
    case Step::undoing:
      return undo();
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
    case Step::undo_flushing:
    case Step::giving_back:
    case Step::clearing_dirty:
      // The image stays dirty: the next open counts anew. The drops remain held for this session.
      return false;
    default:
      break;
  }
  step_ = is_frozen_ ? Step::undoing : Step::giving_back;
  return true;
}

// The pause: every L2 table of the disk becomes shared, in memory.
ControlOperation::Progress CreateOperation::freeze() noexcept {
  const auto begin = std::chrono::steady_clock::now();
  L1Table& l1 = metadata().l1;
  for (std::uint64_t slot = 0; slot < frozen_.size(); ++slot) {
    const L1Entry entry = l1.entry(slot).without_copied();
    frozen_[slot] = entry.raw();
    if (entry.is_allocated()) {
      l1.set(slot, entry);
    }
  }
  // What the guest drops from the frozen tree from here on is owed until the tree has its own
  // references.
  metadata().store.hold_drops(true);
  is_frozen_ = true;
  pause_nanoseconds_ = static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count());
  const Result<void> begun = share_.begin(frozen_, metadata().l1.offset(), nullptr);
  return begun ? Progress::next : fail(begun.error());
}

ControlOperation::Progress CreateOperation::write_roots() noexcept {
  if (is_step_new()) {
    table_.entries.back().l1_offset =
        l1_run_.count == 0 ? HostOffset() : metadata().geometry.offset_of(l1_run_.first);
    Result<void> staged = stage_l1(frozen_, l1_run_);
    staged = staged ? stage_table(table_) : staged;
    if (!staged) {
      return fail(staged.error());
    }
  }
  return run_batch();
}

// One header write: the new table, and for the last holder the cleared dirty bit (O5, O6).
ControlOperation::Progress CreateOperation::publish() noexcept {
  const Progress progress = once([this] {
    update().patch = HeaderPatch();
    patch_table(table_, update().patch);
    metadata().patch_without_dirty(update().patch);
    submit_header();
  });
  if (progress == Progress::next) {
    metadata().released_dirty();
    adopt_table(std::move(table_));
    metadata().store.hold_drops(false);
    metadata().reclaimer.kick();
  }
  return progress;
}

// The references the walk has added go, and the active disk owns its clusters again.
ControlOperation::Progress CreateOperation::undo() noexcept {
  if (!is_undo_begun_) {
    is_undo_begun_ = true;
    undo_end_ = share_.position();
    const Result<void> begun = release_.begin(frozen_, metadata().l1.offset(), nullptr, &undo_end_);
    if (!begun) {
      return fail(begun.error());
    }
  }
  return ask(release_.advance());
}

ControlOperation::Progress CreateOperation::give_back() noexcept {
  release_run(l1_run_);
  release_run(table_run());
  metadata().store.hold_drops(false);
  metadata().reclaimer.kick();
  return Progress::next;
}

}  // namespace varve
