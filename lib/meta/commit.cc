#include "meta/commit.h"

#include <new>
#include <utility>

#include "base/failure.h"
#include "base/mutation.h"
#include "base/try.h"

namespace varve {
namespace {

// Written early in one go: copying it takes a tenth of a millisecond.
constexpr std::uint64_t kEarlyBytesAtOnce = kMiB;

}  // namespace

void Commit::flush(Waiter& waiter) noexcept {
  waiting_.add(waiter);
  schedule();
}

void Commit::write_early(Waiter& waiter) noexcept {
  early_waiting_.add(waiter);
  schedule();
}

void Commit::nudge() noexcept {
  if (!is_poisoned_) {
    schedule();
  }
}

void Commit::schedule() noexcept {
  if (step_ != Step::idle || is_scheduled_) {
    return;
  }
  is_scheduled_ = true;
  start_ = StorageRequest();
  start_.owner = this;
  start_.complete = [](StorageRequest& request, const Result<void>&) {
    Commit& commit = *static_cast<Commit*>(request.owner);
    commit.is_scheduled_ = false;
    commit.begin();
  };
  parts_.file->engine().post(start_, {});
}

// Rounds go first: a guest waits for them. They write what could go early as well.
void Commit::begin() noexcept {
  if (!early_waiting_.empty() && waiting_.empty()) {
    early_riding_.splice_back(early_waiting_);
    early_block_ = 0;
    early_table_ = 0;
    step_ = Step::writing_early;
    write_next_early();
  } else {
    begin_round();
  }
}

void Commit::write_next_early() noexcept {
  Result<void> result =
      is_poisoned_ ? failure(ErrorCode::poisoned, "an earlier flush failed; reopen the image")
                   : collect_early();
  if (result && counts_.empty() && tables_.empty()) {
    finish_early({});
    return;
  }
  if (result) {
    result = stage_tables(counts_, IoTag::refcount_block);
    result = result ? stage_tables(tables_, IoTag::l2) : result;
  }
  if (!result) {
    finish_early(result);
    return;
  }
  is_file_unsynced_ = true;
  batch_.start(*this);
}

// A few tables at a time: copying them must not hold up the loop.
Result<void> Commit::collect_early() noexcept {
  TableCache& blocks = parts_.refcounts->blocks();
  TableCache& l2 = *parts_.l2;
  std::uint64_t bytes = 0;
  while (bytes < kEarlyBytesAtOnce) {
    TableCache::Table* table = blocks.next_dirty(early_block_, false);
    const bool is_block = table != nullptr;
    table = is_block ? table : l2.next_dirty(early_table_, true);
    if (table == nullptr) {
      break;
    }
    VARVE_TRY(collect_table(is_block ? blocks : l2, *table, is_block ? counts_ : tables_));
    bytes += l2.table_bytes();
  }
  return {};
}

Result<Buffer> Commit::take_copy() noexcept {
  if (spare_copies_.empty()) {
    return Buffer::allocate(parts_.l2->table_bytes());
  }
  Buffer copy = std::move(spare_copies_.back());
  spare_copies_.pop_back();
  return copy;
}

void Commit::give_back_copy(Buffer copy) noexcept {
  if ((spare_copies_.size() + 1) * parts_.l2->table_bytes() > 2 * kEarlyBytesAtOnce) {
    return;
  }
  try {
    spare_copies_.push_back(std::move(copy));
  } catch (const std::bad_alloc&) {
    return;  // Then it is only given back to the system.
  }
}

void Commit::finish_early(const Result<void>& result) noexcept {
  batch_.clear();
  settle_writes(parts_.refcounts->blocks(), counts_, false);
  settle_writes(*parts_.l2, tables_, false);
  step_ = Step::idle;
  WaitList done;
  done.splice_back(early_riding_);
  done.wake_all(result);
  if (!waiting_.empty() || !early_waiting_.empty()) {
    schedule();
  }
}

// Everything the round writes is copied now; what changes from here on belongs to the next round.
void Commit::begin_round() noexcept {
  ++round_;
  riding_.splice_back(waiting_);
  early_riding_.splice_back(early_waiting_);
  step_ = Step::writing_counts;
  parts_.store->begin_round(round_);
  if (is_poisoned_) {
    finish(failure(ErrorCode::poisoned, "an earlier flush failed; reopen the image"));
    return;
  }
  const Result<void> collected = collect();
  if (!collected) {
    finish(collected);
    return;
  }
  const Result<bool> issued = issue_tables(counts_, IoTag::refcount_block);
  if (!issued) {
    finish(issued.error());
  } else if (!*issued) {
    advance({});
  }
}

Result<void> Commit::collect_tables(TableCache& cache, std::vector<TableWrite>& writes) noexcept {
  std::size_t cursor = 0;
  while (TableCache::Table* table = cache.next_dirty(cursor, false)) {
    VARVE_TRY(collect_table(cache, *table, writes));
  }
  return {};
}

Result<void> Commit::collect_table(TableCache& cache, TableCache::Table& table,
                                   std::vector<TableWrite>& writes) noexcept {
  const TableCache::DirtySpan span = table.dirty_span();
  const std::uint64_t length = span.end - span.begin;
  Buffer copy = VARVE_TRY(take_copy());
  copy_bytes(copy.bytes().first(length), table.bytes().subspan(span.begin, length));
  try {
    writes.push_back({table.offset(), span, std::move(copy)});
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a flush round");
  }
  static_cast<void>(cache.begin_write(table));
  return {};
}

Result<void> Commit::collect() noexcept {
  if (!is_broken(Rule::o1)) {
    VARVE_TRY(collect_tables(parts_.refcounts->blocks(), counts_));
  }
  VARVE_TRY(collect_tables(*parts_.l2, tables_));
  is_l1_left_out_ = is_l1_held_;
  if (is_l1_held_) {
    return {};
  }
  Result<void> result;
  parts_.l1->for_each_dirty_run([&](std::uint64_t first, std::uint64_t count) {
    auto copy = Buffer::allocate(count * kSectorBytes);
    if (!copy || !result) {
      result = copy ? result : Result<void>(copy.error());
      return;
    }
    parts_.l1->serialise(first, count, copy->bytes());
    try {
      sectors_.push_back({parts_.l1->offset(), first, count, std::move(*copy)});
    } catch (const std::bad_alloc&) {
      result = failure(ErrorCode::no_memory, "cannot allocate a flush round");
    }
  });
  if (result) {
    for (const SectorWrite& write : sectors_) {
      for (std::uint64_t i = 0; i < write.count; ++i) {
        parts_.l1->mark_clean(write.first + i);
      }
    }
  } else {
    sectors_.clear();
  }
  return result;
}

Result<void> Commit::stage_tables(const std::vector<TableWrite>& writes, IoTag tag) noexcept {
  for (const TableWrite& write : writes) {
    VARVE_TRY(batch_.write(*parts_.file, tag, write.offset + write.span.begin,
                           write.copy.bytes().first(write.span.end - write.span.begin)));
  }
  return {};
}

Result<bool> Commit::issue_tables(const std::vector<TableWrite>& writes, IoTag tag) noexcept {
  VARVE_TRY(stage_tables(writes, tag));
  if (batch_.empty()) {
    return false;
  }
  is_file_unsynced_ = true;
  batch_.start(*this);
  return true;
}

Result<bool> Commit::issue_sectors() noexcept {
  for (const SectorWrite& write : sectors_) {
    VARVE_TRY(batch_.write(*parts_.file, IoTag::l1, write.table + write.first * kSectorBytes,
                           write.copy.bytes()));
  }
  if (batch_.empty()) {
    return false;
  }
  is_file_unsynced_ = true;
  batch_.start(*this);
  return true;
}

Result<bool> Commit::issue_barrier(bool is_needed) noexcept {
  if (is_needed && is_file_unsynced_) {
    VARVE_TRY(batch_.flush(*parts_.file));
  }
  if (is_needed && is_data_file_unsynced_) {
    VARVE_TRY(batch_.flush(*parts_.data_file));
  }
  if (batch_.empty()) {
    return false;
  }
  // Writes that complete from here on are not covered.
  is_file_unsynced_ = false;
  is_data_file_unsynced_ = false;
  batch_.start(*this);
  return true;
}

void Commit::resume(const Result<void>& result) noexcept {
  if (step_ == Step::writing_early) {
    settle_writes(parts_.refcounts->blocks(), counts_, result.has_value());
    settle_writes(*parts_.l2, tables_, result.has_value());
    if (result) {
      write_next_early();
    } else {
      finish_early(result);
    }
    return;
  }
  const bool was_barrier =
      step_ == Step::first_barrier || step_ == Step::second_barrier || step_ == Step::third_barrier;
  if (!result && was_barrier) {
    poison();
    parts_.file->engine().log(LogLevel::error, "a flush failed: the image is not written any more",
                              parts_.file->name(), &result.error());
  }
  advance(result);
}

// One step done; takes the next one that has something to do.
void Commit::advance(Result<void> result) noexcept {
  Result<bool> issued = false;
  while (result) {
    switch (step_) {
      case Step::idle:
      case Step::writing_early:
        VARVE_ASSERT(false);
        break;
      case Step::writing_counts:
        settle_writes(parts_.refcounts->blocks(), counts_, true);
        step_ = Step::first_barrier;
        issued = issue_barrier(!is_broken(Rule::o2));
        break;
      case Step::first_barrier:
        step_ = Step::writing_tables;
        issued = issue_tables(tables_, IoTag::l2);
        break;
      case Step::writing_tables:
        step_ = Step::second_barrier;
        issued = issue_barrier(!tables_.empty());
        settle_writes(*parts_.l2, tables_, true);
        break;
      case Step::second_barrier:
        step_ = Step::writing_l1;
        issued = issue_sectors();
        break;
      case Step::writing_l1:
        step_ = Step::third_barrier;
        issued = issue_barrier(!sectors_.empty());
        sectors_.clear();
        break;
      case Step::third_barrier:
        finish({});
        return;
    }
    if (!issued) {
      result = issued.error();
    } else if (*issued) {
      return;
    }
  }
  finish(result);
}

void Commit::settle_writes(TableCache& cache, std::vector<TableWrite>& writes,
                           bool written) noexcept {
  for (TableWrite& write : writes) {
    cache.end_write(write.offset, write.span, written);
    give_back_copy(std::move(write.copy));
  }
  writes.clear();
}

void Commit::finish(const Result<void>& result) noexcept {
  batch_.clear();
  // After a failure whatever was not written for certain is dirty again.
  settle_writes(parts_.refcounts->blocks(), counts_, false);
  settle_writes(*parts_.l2, tables_, false);
  for (const SectorWrite& write : sectors_) {
    for (std::uint64_t i = 0; i < write.count && write.table == parts_.l1->offset(); ++i) {
      parts_.l1->mark_dirty(write.first + i);
    }
  }
  sectors_.clear();
  parts_.store->end_round(result.has_value() && !std::exchange(is_l1_left_out_, false));
  step_ = Step::idle;
  WaitList done;
  done.splice_back(riding_);
  done.splice_back(early_riding_);
  parts_.after_round->resume(result);
  done.wake_all(result);
  if (!waiting_.empty() || !early_waiting_.empty()) {
    schedule();
  }
}

}  // namespace varve
