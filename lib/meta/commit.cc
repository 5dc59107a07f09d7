#include "meta/commit.h"

#include <new>

#include "base/failure.h"
#include "base/try.h"

namespace varve {

void Commit::flush(Waiter& waiter) noexcept {
  waiting_.add(waiter);
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

// Everything the round writes is copied now; what changes from here on belongs to the next round.
void Commit::begin() noexcept {
  ++round_;
  riding_.splice_back(waiting_);
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
  Result<void> result;
  try {
    writes.reserve(cache.dirty_count());
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a flush round");
  }
  cache.for_each_dirty([&](TableCache::Table& table) {
    if (!result) {
      return;
    }
    auto copy = Buffer::allocate(table.dirty_span().end - table.dirty_span().begin);
    if (!copy) {
      result = copy.error();
      return;
    }
    TableWrite write{table.offset(), cache.begin_write(table), std::move(*copy)};
    copy_bytes(write.copy.bytes(),
               table.bytes().subspan(write.span.begin, write.span.end - write.span.begin));
    writes.push_back(std::move(write));
  });
  return result;
}

Result<void> Commit::collect() noexcept {
  VARVE_TRY(collect_tables(parts_.refcounts->blocks(), counts_));
  VARVE_TRY(collect_tables(*parts_.l2, tables_));
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
      sectors_.push_back({first, count, std::move(*copy)});
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

Result<bool> Commit::issue_tables(const std::vector<TableWrite>& writes, IoTag tag) noexcept {
  for (const TableWrite& write : writes) {
    VARVE_TRY(batch_.write(*parts_.file, tag, write.offset + write.span.begin, write.copy.bytes()));
  }
  if (batch_.empty()) {
    return false;
  }
  is_file_unsynced_ = true;
  batch_.start(*this);
  return true;
}

Result<bool> Commit::issue_sectors() noexcept {
  for (const SectorWrite& write : sectors_) {
    VARVE_TRY(batch_.write(*parts_.file, IoTag::l1,
                           parts_.l1->offset() + write.first * kSectorBytes, write.copy.bytes()));
  }
  if (batch_.empty()) {
    return false;
  }
  is_file_unsynced_ = true;
  batch_.start(*this);
  return true;
}

Result<bool> Commit::issue_barrier(bool is_needed) noexcept {
  is_barrier_file_ = is_needed && is_file_unsynced_;
  is_barrier_data_file_ = is_needed && is_data_file_unsynced_;
  if (is_barrier_file_) {
    VARVE_TRY(batch_.flush(*parts_.file));
  }
  if (is_barrier_data_file_) {
    VARVE_TRY(batch_.flush(*parts_.data_file));
  }
  if (batch_.empty()) {
    return false;
  }
  // Writes that complete from here on are not covered.
  is_file_unsynced_ = is_file_unsynced_ && !is_barrier_file_;
  is_data_file_unsynced_ = is_data_file_unsynced_ && !is_barrier_data_file_;
  batch_.start(*this);
  return true;
}

void Commit::resume(const Result<void>& result) noexcept {
  const bool was_barrier =
      step_ == Step::first_barrier || step_ == Step::second_barrier || step_ == Step::third_barrier;
  if (!result && was_barrier) {
    poison();
  }
  advance(result);
}

// One step done; takes the next one that has something to do.
void Commit::advance(Result<void> result) noexcept {
  Result<bool> issued = false;
  while (result) {
    switch (step_) {
      case Step::idle:
        VARVE_ASSERT(false);
        break;
      case Step::writing_counts:
        settle_writes(parts_.refcounts->blocks(), counts_, true);
        step_ = Step::first_barrier;
        issued = issue_barrier(true);
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
  for (const TableWrite& write : writes) {
    cache.end_write(write.offset, write.span, written);
  }
  writes.clear();
}

void Commit::finish(const Result<void>& result) noexcept {
  batch_.clear();
  // After a failure whatever was not written for certain is dirty again.
  settle_writes(parts_.refcounts->blocks(), counts_, false);
  settle_writes(*parts_.l2, tables_, false);
  for (const SectorWrite& write : sectors_) {
    for (std::uint64_t i = 0; i < write.count; ++i) {
      parts_.l1->mark_dirty(write.first + i);
    }
  }
  sectors_.clear();
  parts_.store->end_round(result.has_value());
  step_ = Step::idle;
  WaitList done;
  done.splice_back(riding_);
  parts_.after_round->resume(result);
  done.wake_all(result);
  if (!waiting_.empty()) {
    schedule();
  }
}

}  // namespace varve
