#include "snapshot/control_operation.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/try.h"
#include "meta/blocking_waiter.h"

namespace varve {

Result<void> ControlOperation::begin(Waiter& done) noexcept {
  if (!metadata_->is_writable) {
    return failure(ErrorCode::read_only, "the image is open read-only");
  }
  if (metadata_->commit.is_poisoned()) {
    return failure(ErrorCode::poisoned, "an earlier flush failed; reopen the image");
  }
  if (metadata_->has_control_operation) {
    return failure(ErrorCode::busy, "another control operation is under way");
  }
  if (metadata_->header.has_data_file()) {
    return failure(ErrorCode::unsupported,
                   "images with an external data file have no internal snapshots");
  }
  metadata_->has_control_operation = true;
  done_ = &done;
  metadata_->defer(*this, {});
  return {};
}

Result<void> ControlOperation::run_to_end() noexcept {
  BlockingWaiter waiter(metadata_->file->engine());
  VARVE_TRY(begin(waiter));
  return waiter.wait();
}

void ControlOperation::resume(const Result<void>& result) noexcept {
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
    bool goes_on = true;
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
    if (!goes_on) {
      end();
      return;
    }
  }
}

void ControlOperation::end() noexcept {
  metadata_->has_control_operation = false;
  done_->resume(error_ ? Result<void>(*error_) : Result<void>());
}

ControlOperation::Progress ControlOperation::fail(const Error& error) noexcept {
  if (!error_) {
    error_ = error;
  }
  batch_.clear();
  reserved_ = ClusterRun();
  metadata_->store.end_reservation();
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

ControlOperation::Progress ControlOperation::flush_round() noexcept {
  return once([this] { metadata_->commit.flush(*this); });
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
  if (progress != Progress::wait) {
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

Result<void> ControlOperation::stage_table(const SnapshotTable& table) noexcept {
  if (table_run_.count == 0) {
    return {};
  }
  table_bytes_ =
      VARVE_TRY(Buffer::allocate_zeroed(table_run_.count * metadata_->geometry.cluster_bytes()));
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

Result<void> ControlOperation::stage_l1(const std::vector<std::uint64_t>& entries,
                                        ClusterRun run) noexcept {
  if (run.count == 0) {
    return {};
  }
  l1_bytes_ = VARVE_TRY(Buffer::allocate_zeroed(run.count * metadata_->geometry.cluster_bytes()));
  for (std::uint64_t i = 0; i < entries.size(); ++i) {
    store_be(l1_bytes_.bytes(), i * 8, entries[i]);
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

Result<std::vector<std::uint64_t>> load_snapshot_l1(Metadata& metadata,
                                                    const SnapshotEntry& entry) noexcept {
  const std::uint64_t bytes = std::uint64_t{entry.l1_entries} * 8;
  if (!range_fits(entry.l1_offset.value(), bytes, round_up(metadata.file->size(), kSectorBytes))) {
    return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l1, entry.l1_offset.value(),
                      "the snapshot's L1 table ends beyond the end of the file; its end",
                      entry.l1_offset.value() + bytes, metadata.file->size());
  }
  try {
    std::vector<std::uint64_t> l1(entry.l1_entries);
    Buffer buffer = VARVE_TRY(Buffer::allocate(bytes));
    Batch batch(metadata.counters);
    if (bytes != 0) {
      VARVE_TRY(batch.read(*metadata.file, IoTag::l1, entry.l1_offset, buffer.bytes()));
      VARVE_TRY(batch.run());
    }
    for (std::uint64_t i = 0; i < l1.size(); ++i) {
      l1[i] = load_be<std::uint64_t>(buffer.bytes(), i * 8);
      VARVE_TRY(L1Entry(l1[i]).validate(metadata.geometry, entry.l1_offset + i * 8));
    }
    return l1;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot load the snapshot's L1 table");
  }
}

}  // namespace varve
