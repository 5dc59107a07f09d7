#include "snapshot/control_operation.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/mutation.h"
#include "base/try.h"
#include "meta/blocking_waiter.h"

namespace varve {
namespace {

Error cancelled() noexcept {
  return failure(ErrorCode::cancelled, "the operation was cancelled");
}

}  // namespace

ControlOperation::ControlOperation(Qcow2Image& image) noexcept
    : SnapshotOperation(image.storage().engine()),
      image_(&image),
      metadata_(&image.metadata()),
      engine_(&image.storage().engine()),
      batch_(metadata_->counters) {}

Result<void> ControlOperation::begin(const OperationOptions& options) noexcept {
  if (image_->is_closed()) {
    return failure(ErrorCode::invalid_argument, "the image is closed");
  }
  if (!metadata_->is_writable) {
    return failure(ErrorCode::read_only, "the image is open read-only");
  }
  if (metadata_->commit.is_poisoned()) {
    return failure(ErrorCode::poisoned, "an earlier flush failed; reopen the image");
  }
  if (metadata_->header.has_data_file()) {
    return failure(ErrorCode::unsupported,
                   "images with an external data file have no internal snapshots");
  }
  options_ = options;
  watch_ = Stopwatch();
  if (metadata_->control.try_take()) {
    if (const Result<void> taken = take_turn(); !taken) {
      metadata_->give_back_control();
      return taken;
    }
    stage_ = Stage::running;
    metadata_->defer(*this, {});
  } else if (options.wait_for_turn) {
    stage_ = Stage::queued;
    metadata_->control.wait(*this);
  } else {
    return failure(ErrorCode::busy, "another control operation is under way");
  }
  image_->control_tasks.push_back(*this);
  return {};
}

Result<void> ControlOperation::take_turn() noexcept {
  try {
    return take_up();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a snapshot operation");
  }
}

void ControlOperation::run_out() noexcept {
  options_.changed = nullptr;
  cancel();
  while (stage_ == Stage::queued || stage_ == Stage::running) {
    engine_->wait();
  }
}

bool ControlOperation::is_behind_standing() const noexcept {
  if (stage_ != Stage::queued) {
    return false;
  }
  const List<ControlTask>& tasks = image_->control_tasks;
  for (const ControlTask* task = tasks.front(); task != nullptr; task = tasks.next(*task)) {
    if (task->stands_still()) {
      return true;
    }
  }
  return false;
}

SnapshotProgress ControlOperation::progress() const noexcept {
  if (stage_ == Stage::running) {
    SnapshotProgress now = walked();
    now.phase = phase();
    return now;
  }
  SnapshotProgress now;
  now.phase = stage_ == Stage::done ? SnapshotPhase::done : SnapshotPhase::queued;
  return now;
}

Result<void> ControlOperation::freeze() noexcept {
  return failure(ErrorCode::invalid_argument, "only a creation that is ready can be frozen");
}

Result<void> ControlOperation::publish() noexcept {
  if (progress().phase != SnapshotPhase::reclaiming) {
    return failure(ErrorCode::invalid_argument, "the operation has not switched yet");
  }
  is_let_on_ = true;
  go_on();
  return {};
}

ControlOperation::Progress ControlOperation::pause_behind_switch() noexcept {
  return is_stepwise() && !is_let_on_ ? park() : Progress::next;
}

void ControlOperation::cancel() noexcept {
  // What comes too late to undo it, now or when the step under way is done, need not stand still.
  is_let_on_ = true;
  if (stage_ == Stage::running) {
    if (can_cancel()) {
      is_cancelled_ = true;
      stop();
    }
    go_on();
  } else if (stage_ == Stage::queued && !is_cancelled_) {
    is_cancelled_ = true;
    if (metadata_->control.withdraw(*this)) {
      // It never had the slot: told from the loop, like every end.
      stage_ = Stage::running;
      is_withdrawn_ = true;
      metadata_->defer(*this, {});
    }
  }
}

ControlOperation::Progress ControlOperation::park() noexcept {
  is_parked_ = true;
  return Progress::wait;
}

void ControlOperation::go_on() noexcept {
  if (std::exchange(is_parked_, false)) {
    metadata_->defer(*this, {});
  }
}

void ControlOperation::turn_has_come() noexcept {
  stage_ = Stage::running;
  const Result<void> taken = is_cancelled_ ? Result<void>() : take_turn();
  if (is_cancelled_ || !taken) {
    error_ = is_cancelled_ ? cancelled() : taken.error();
    end();
    return;
  }
  advance();
}

void ControlOperation::resume(const Result<void>& result) noexcept {
  if (is_withdrawn_) {
    error_ = cancelled();
    end();
    return;
  }
  if (stage_ == Stage::queued) {
    turn_has_come();
    return;
  }
  if (!result) {
    is_started_ = false;
    if (is_unknown_after_failure_) {
      metadata_->commit.poison();
    }
    is_unknown_after_failure_ = false;
    static_cast<void>(fail(result.error()));
    if (!step_failed()) {
      end();
      return;
    }
  }
  is_unknown_after_failure_ = false;
  advance();
}

void ControlOperation::advance() noexcept {
  while (true) {
    notify();
    if (metadata_->commit.is_poisoned()) {
      static_cast<void>(fail(failure(ErrorCode::poisoned, "a flush failed; reopen the image")));
      let_go();
      break;
    }
    bool goes_on = true;
    // What was started and has come to its end is taken note of first.
    if (is_cancelled_ && can_cancel() && !is_started_) {
      is_cancelled_ = false;
      static_cast<void>(fail(cancelled()));
      goes_on = step_failed();
    } else {
      switch (perform()) {
        case Progress::wait:
          return;
        case Progress::next:
          goes_on = step_done();
          break;
        case Progress::failed:
          is_started_ = false;
          goes_on = step_failed();
          break;
      }
    }
    if (!goes_on) {
      break;
    }
  }
  end();
}

// Phases the caller has not heard of yet; what it does about one may lead to the next. After `done`
// this object may be gone.
void ControlOperation::notify() noexcept {
  while (progress().phase != notified_) {
    const SnapshotPhase now = progress().phase;
    notified_ = now;
    if (options_.changed != nullptr) {
      options_.changed(*this, options_.owner);
    }
    if (now == SnapshotPhase::done) {
      return;
    }
  }
}

// The caller may destroy the operation inside the last notification.
void ControlOperation::end() noexcept {
  stage_ = Stage::done;
  result_ = error_ ? Result<void>(*error_) : Result<void>();
  times_.total_nanoseconds = watch_.nanoseconds();
  List<ControlTask>::remove(*this);
  if (!is_withdrawn_) {
    metadata_->give_back_control();
  }
  notify();
}

ControlOperation::Progress ControlOperation::fail(const Error& error) noexcept {
  if (!error_) {
    error_ = error;
  }
  batch_.clear();
  if (reserved_.count != 0) {
    reserved_ = ClusterRun();
    metadata_->store.end_reservation();
  }
  return Progress::failed;
}

ControlOperation::Progress ControlOperation::ask(const Answer<Nothing>& answer) noexcept {
  if (const Need* need = answer.need()) {
    metadata_->satisfy(*need, *this);
    return Progress::wait;
  }
  return answer.error() != nullptr ? fail(*answer.error()) : Progress::next;
}

ControlOperation::Progress ControlOperation::do_first_write() noexcept {
  if (metadata_->first_write.is_done()) {
    return Progress::next;
  }
  metadata_->first_write.prepare(*this);
  return Progress::wait;
}

// While the disk grows there is no telling whether a round writes the L1, and the gate is taken.
ControlOperation::Progress ControlOperation::outlast_growth() noexcept {
  if (is_started_ || !image_->is_growing()) {
    return Progress::next;
  }
  image_->wait_for_growth(*this);
  return Progress::wait;
}

ControlOperation::Progress ControlOperation::flush_round() noexcept {
  if (outlast_growth() == Progress::wait) {
    return Progress::wait;
  }
  return once([this] { metadata_->commit.flush(*this); });
}

ControlOperation::Progress ControlOperation::write_early() noexcept {
  return once([this] { metadata_->commit.write_early(*this); });
}

ControlOperation::Progress ControlOperation::run_walk(TreeWalk& walk,
                                                      const TreeWalk::Plan& plan) noexcept {
  return once([&] { walk.start(plan, *this); });
}

ControlOperation::Progress ControlOperation::reclaim() noexcept {
  return once([this] { metadata_->reclaimer.wait_idle(*this); });
}

SnapshotProgress ControlOperation::progress_of(const TreeWalk& walk) const noexcept {
  SnapshotProgress progress;
  progress.clusters_done = walk.tables_done() * metadata_->geometry.l2_entries();
  progress.clusters_total = walk.tables_total() * metadata_->geometry.l2_entries();
  return progress;
}

ControlOperation::Progress ControlOperation::take_dirty() noexcept {
  return once([this] {
    is_unknown_after_failure_ = true;
    metadata_->take_dirty(*this, update_);
  });
}

ControlOperation::Progress ControlOperation::wait_for_requests() noexcept {
  return once([this] { metadata_->wait_for_requests(*this); });
}

ControlOperation::Progress ControlOperation::barrier() noexcept {
  if (!is_started_) {
    if (const Result<void> added = batch_.flush(*metadata_->file); !added) {
      return fail(added.error());
    }
  }
  return once([this] {
    is_unknown_after_failure_ = true;
    if (is_broken(Rule::o5)) {
      batch_.clear();
      metadata_->defer(*this, {});
      return;
    }
    batch_.start(*this);
  });
}

ControlOperation::Progress ControlOperation::run_batch() noexcept {
  return once([this] {
    if (batch_.empty()) {
      metadata_->defer(*this, {});
    } else {
      batch_.start(*this);
    }
  });
}

void ControlOperation::submit_header() noexcept {
  update_.waiter = this;
  is_unknown_after_failure_ = true;
  metadata_->header_writer.submit(update_);
}

ControlOperation::Progress ControlOperation::clear_dirty() noexcept {
  const Progress progress = once([this] {
    update_.patch = HeaderPatch();
    metadata_->patch_without_dirty(update_.patch);
    submit_header();
  });
  if (progress == Progress::next) {
    metadata_->released_dirty();
  }
  return progress;
}

Answer<Nothing> ControlOperation::ask_for_run(std::uint64_t count, ClusterRun& run) noexcept {
  if (reserved_.count == 0) {
    reserved_ = {VARVE_ASK(metadata_->store.reserve_run(count)), count};
    run = {reserved_.first, 0};
  }
  while (run.count < count) {
    const ClusterRun rest{HostCluster(run.first.value() + run.count), count - run.count};
    run.count += VARVE_ASK(metadata_->store.claim_reserved(rest));
  }
  return Nothing();
}

ControlOperation::Progress ControlOperation::claim_run(std::uint64_t count,
                                                       ClusterRun& run) noexcept {
  if (count == 0) {
    return Progress::next;
  }
  const Progress progress = ask(ask_for_run(count, run));
  if (progress == Progress::next) {
    reserved_ = ClusterRun();
    metadata_->store.end_reservation();
  }
  return progress;
}

void ControlOperation::release_run(ClusterRun& run) noexcept {
  metadata_->store.release(run);
  run = ClusterRun();
}

ControlOperation::Progress ControlOperation::claim_table(const SnapshotTable& table) noexcept {
  return claim_run(metadata_->geometry.clusters_for(table.serialised_bytes()), table_run_);
}

Result<void> ControlOperation::reserve(ClusterRun run, Buffer& bytes) noexcept {
  const std::uint64_t size = run.count * metadata_->geometry.cluster_bytes();
  if (bytes.size() != size) {
    bytes = VARVE_TRY(Buffer::allocate(size));
  }
  return {};
}

Result<void> ControlOperation::reserve_stages(ClusterRun l1_run) noexcept {
  VARVE_TRY(reserve(l1_run, l1_bytes_));
  VARVE_TRY(reserve(table_run_, table_bytes_));
  return batch_.reserve(2);
}

Result<void> ControlOperation::stage_table(const SnapshotTable& table) noexcept {
  if (table_run_.count == 0) {
    return {};
  }
  VARVE_TRY(reserve(table_run_, table_bytes_));
  zero_bytes(table_bytes_.bytes());
  VARVE_TRY(table.serialise(table_bytes_.bytes()));
  return batch_.write(*metadata_->file, IoTag::snapshot_table,
                      metadata_->geometry.offset_of(table_run_.first), table_bytes_.bytes());
}

ControlOperation::Progress ControlOperation::write_table(const SnapshotTable& table) noexcept {
  if (is_step_new()) {
    if (const Result<void> staged = stage_table(table); !staged) {
      return fail(staged.error());
    }
  }
  return run_batch();
}

Result<void> ControlOperation::stage_l1(
    std::initializer_list<const std::vector<std::uint64_t>*> parts, ClusterRun run) noexcept {
  if (run.count == 0) {
    return {};
  }
  VARVE_TRY(reserve(run, l1_bytes_));
  zero_bytes(l1_bytes_.bytes());
  std::uint64_t at = 0;
  for (const std::vector<std::uint64_t>* part : parts) {
    for (const std::uint64_t entry : *part) {
      store_be(l1_bytes_.bytes(), at, L1Entry(entry).without_copied().raw());
      at += sizeof(entry);
    }
  }
  return batch_.write(*metadata_->file, IoTag::l1, metadata_->geometry.offset_of(run.first),
                      l1_bytes_.bytes());
}

void ControlOperation::patch_table(const SnapshotTable& table, HeaderPatch& patch) noexcept {
  const std::uint64_t offset = metadata_->geometry.offset_of(table_run_.first).value();
  patch.set<std::uint32_t>(offsetof(RawHeader, snapshot_count),
                           static_cast<std::uint32_t>(table.entries.size()));
  patch.set<std::uint64_t>(offsetof(RawHeader, snapshot_table_offset),
                           table.entries.empty() ? 0 : offset);
}

void ControlOperation::adopt_table(SnapshotTable&& table) noexcept {
  Metadata& metadata = *metadata_;
  if (!metadata.snapshots.entries.empty()) {
    metadata.store.release({metadata.geometry.cluster_of(metadata.header.snapshot_table_offset),
                            metadata.geometry.clusters_for(metadata.snapshot_table_bytes)});
  }
  metadata.header.snapshot_count = static_cast<std::uint32_t>(table.entries.size());
  metadata.header.snapshot_table_offset =
      table.entries.empty() ? HostOffset() : metadata.geometry.offset_of(table_run_.first);
  metadata.snapshots = std::move(table);
  metadata.snapshot_table_bytes = metadata.snapshots.serialised_bytes();
  table_run_ = ClusterRun();
}

namespace {

// Where the table lies, before anything is allocated for it.
Result<std::uint64_t> l1_bytes_of(const Metadata& metadata, const SnapshotEntry& entry) noexcept {
  const std::uint64_t bytes = std::uint64_t{entry.l1_entries} * 8;
  if (!range_fits(entry.l1_offset.value(), bytes, round_up(metadata.file->size(), kSectorBytes))) {
    return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l1, entry.l1_offset.value(),
                      "the snapshot's L1 table ends beyond the end of the file; its end",
                      entry.l1_offset.value() + bytes, metadata.file->size());
  }
  return bytes;
}

Result<void> parse_l1(const Metadata& metadata, const SnapshotEntry& entry, ConstBytes bytes,
                      std::vector<std::uint64_t>& l1) noexcept {
  for (std::uint64_t i = 0; i < l1.size(); ++i) {
    l1[i] = load_be<std::uint64_t>(bytes, i * 8);
    VARVE_TRY(L1Entry(l1[i]).validate(metadata.geometry, entry.l1_offset + i * 8));
  }
  return {};
}

}  // namespace

ControlOperation::Progress ControlOperation::load_l1(const SnapshotEntry& entry,
                                                     std::vector<std::uint64_t>& l1) noexcept {
  if (is_step_new()) {
    const Result<void> staged = [&]() -> Result<void> {
      const std::uint64_t bytes = VARVE_TRY(l1_bytes_of(*metadata_, entry));
      l1_bytes_ = VARVE_TRY(Buffer::allocate(bytes));
      if (bytes != 0) {
        VARVE_TRY(batch_.read(*metadata_->file, IoTag::l1, entry.l1_offset, l1_bytes_.bytes()));
      }
      try {
        l1.assign(entry.l1_entries, 0);
      } catch (const std::bad_alloc&) {
        return failure(ErrorCode::no_memory, "cannot load the snapshot's L1 table");
      }
      return {};
    }();
    if (!staged) {
      return fail(staged.error());
    }
  }
  const Progress progress = run_batch();
  if (progress == Progress::next) {
    const Result<void> parsed = parse_l1(*metadata_, entry, l1_bytes_.bytes(), l1);
    l1_bytes_ = Buffer();
    return parsed ? Progress::next : fail(parsed.error());
  }
  return progress;
}

std::optional<std::size_t> find_same_snapshot(const SnapshotTable& table,
                                              const SnapshotEntry& entry) noexcept {
  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    const SnapshotEntry& other = table.entries[i];
    if (other.id == entry.id && other.l1_offset == entry.l1_offset &&
        other.l1_entries == entry.l1_entries && other.date_seconds == entry.date_seconds &&
        other.date_nanoseconds == entry.date_nanoseconds) {
      return i;
    }
  }
  return std::nullopt;
}

Result<std::vector<std::uint64_t>> load_snapshot_l1(Metadata& metadata,
                                                    const SnapshotEntry& entry) noexcept {
  const std::uint64_t bytes = VARVE_TRY(l1_bytes_of(metadata, entry));
  try {
    std::vector<std::uint64_t> l1(entry.l1_entries);
    Buffer buffer = VARVE_TRY(Buffer::allocate(bytes));
    if (bytes != 0) {
      Batch batch(metadata.counters);
      VARVE_TRY(batch.read(*metadata.file, IoTag::l1, entry.l1_offset, buffer.bytes()));
      VARVE_TRY(batch.run());
    }
    VARVE_TRY(parse_l1(metadata, entry, buffer.bytes(), l1));
    return l1;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot load the snapshot's L1 table");
  }
}

}  // namespace varve
