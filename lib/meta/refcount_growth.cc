#include "meta/refcount_growth.h"

#include <algorithm>
#include <cstddef>
#include <new>

#include "base/failure.h"
#include "base/mutation.h"
#include "base/try.h"
#include "meta/commit.h"

namespace varve {

void RefcountGrowth::grow(const Need& need, Waiter& waiter) noexcept {
  waiters_.add(waiter);
  if (step_ != Step::idle) {
    return;
  }
  step_ = Step::writing_area;
  Result<void> begun = plan(need);
  if (begun) {
    begun = batch_.write(*parts_.file, IoTag::refcount_block,
                         parts_.refcounts->geometry().offset_of(area_.first), area_bytes_.bytes());
  }
  if (!begun) {
    // Told from the commit's round so that no waiter is resumed inside this call.
    failure_.emplace(begun.error());
    parts_.commit->flush(*this);
    return;
  }
  batch_.start(*this);
}

// How many blocks and table clusters are needed so that they count themselves and what was asked
// for.
Result<void> RefcountGrowth::plan(const Need& need) noexcept {
  const Geometry& geometry = parts_.refcounts->geometry();
  const std::uint64_t per_block = geometry.refcounts_per_block();
  const std::uint64_t old_entries = parts_.refcounts->table().size();
  const HostCluster first = geometry.cluster_of(need.offset);
  first_block_ = geometry.refcount_block_index(first);
  block_count_ = 1;
  table_clusters_ = 0;
  std::uint64_t entries = old_entries;
  while (true) {
    const std::uint64_t end = first.value() + block_count_ + table_clusters_ + need.clusters;
    const std::uint64_t blocks = (end - 1) / per_block - first_block_ + 1;
    const std::uint64_t entries_needed = first_block_ + std::max(blocks, block_count_);
    if (blocks <= block_count_ && entries_needed <= entries) {
      break;
    }
    block_count_ = std::max(blocks, block_count_);
    if (entries_needed > entries) {
      entries = std::max(entries_needed, old_entries + old_entries / 2);
      table_clusters_ = geometry.clusters_for(entries * 8);
      entries = table_clusters_ * geometry.cluster_bytes() / 8;
    }
  }
  if (entries * 8 > kRefcountTableBytesMax) {
    Error error = failure_at(ErrorCode::no_space, IoTag::refcount_table, Error::kNoOffset,
                             "the refcount table would exceed its limit in bytes");
    error.value = entries * 8;
    error.limit = kRefcountTableBytesMax;
    return error;
  }
  area_ = {first, block_count_ + table_clusters_};
  const StorageCapabilities& storage = parts_.file->capabilities();
  if (storage.fixed_size &&
      geometry.offset_of(HostCluster(first.value() + area_.count)).value() > parts_.file->size()) {
    return failure(ErrorCode::no_space, "the storage has no room for refcount blocks");
  }
  try {
    new_table_.clear();
    if (table_clusters_ != 0) {
      new_table_ = parts_.refcounts->table();
      new_table_.resize(entries, 0);
    }
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a refcount table");
  }
  VARVE_TRY(parts_.store->reserve_offers(entries));
  return fill_area();
}

Result<void> RefcountGrowth::fill_area() noexcept {
  const Geometry& geometry = parts_.refcounts->geometry();
  const std::uint64_t per_block = geometry.refcounts_per_block();
  area_bytes_ = VARVE_TRY(Buffer::allocate_zeroed(area_.count * geometry.cluster_bytes()));
  for (std::uint64_t i = 0; i < area_.count; ++i) {
    const std::uint64_t cluster = area_.first.value() + i;
    const std::uint64_t block = cluster / per_block - first_block_;
    store_refcount(
        geometry,
        area_bytes_.bytes().subspan(block * geometry.cluster_bytes(), geometry.cluster_bytes()),
        cluster % per_block, 1);
  }
  if (table_clusters_ == 0) {
    return {};
  }
  const Bytes table = area_bytes_.bytes().subspan(block_count_ * geometry.cluster_bytes());
  for (std::uint64_t i = 0; i < block_count_; ++i) {
    new_table_[first_block_ + i] = geometry.offset_of(HostCluster(area_.first.value() + i)).value();
  }
  for (std::uint64_t i = 0; i < new_table_.size(); ++i) {
    store_be(table, i * 8, new_table_[i]);
  }
  return {};
}

// The sectors of the table that hold the new blocks' entries.
Result<void> RefcountGrowth::write_entries() noexcept {
  const Geometry& geometry = parts_.refcounts->geometry();
  const std::uint64_t begin = round_down(first_block_ * 8, kSectorBytes);
  const std::uint64_t end = round_up((first_block_ + block_count_) * 8, kSectorBytes);
  entry_bytes_ = VARVE_TRY(Buffer::allocate_zeroed(end - begin));
  const std::vector<std::uint64_t>& table = parts_.refcounts->table();
  for (std::uint64_t index = begin / 8; index < std::min<std::uint64_t>(end / 8, table.size());
       ++index) {
    const bool is_new = index >= first_block_ && index < first_block_ + block_count_;
    const std::uint64_t value =
        is_new ? geometry.offset_of(HostCluster(area_.first.value() + index - first_block_)).value()
               : table[index];
    store_be(entry_bytes_.bytes(), index * 8 - begin, value);
  }
  return batch_.write(*parts_.file, IoTag::refcount_table, parts_.refcounts->table_offset() + begin,
                      entry_bytes_.bytes());
}

void RefcountGrowth::write_header() noexcept {
  // One write inside the first sector switches offset and size together (O5).
  update_.patch = HeaderPatch();
  update_.patch.set<std::uint64_t>(offsetof(RawHeader, refcount_table_offset),
                                   parts_.refcounts->geometry()
                                       .offset_of(HostCluster(area_.first.value() + block_count_))
                                       .value());
  update_.patch.set<std::uint32_t>(offsetof(RawHeader, refcount_table_clusters),
                                   static_cast<std::uint32_t>(table_clusters_));
  update_.waiter = this;
  parts_.header_writer->submit(update_);
}

void RefcountGrowth::resume(const Result<void>& result) noexcept {
  if (failure_) {
    const Error error = *failure_;
    failure_.reset();
    finish(error);
    return;
  }
  const bool is_unknown_after_failure =
      step_ == Step::area_barrier || step_ == Step::writing_entries ||
      step_ == Step::entries_barrier || step_ == Step::writing_header;
  if (!result && is_unknown_after_failure) {
    parts_.commit->poison();
  }
  const Result<void> next = result ? advance() : result;
  if (!next) {
    finish(next);
  }
}

Result<void> RefcountGrowth::advance() noexcept {
  switch (step_) {
    case Step::idle:
      VARVE_ASSERT(false);
      break;
    case Step::writing_area:
      step_ = Step::area_barrier;
      if (is_broken(Rule::o4)) {
        return advance();
      }
      break;
    case Step::area_barrier:
      if (table_clusters_ != 0) {
        step_ = Step::writing_header;
        write_header();
        return {};
      }
      step_ = Step::writing_entries;
      VARVE_TRY(write_entries());
      batch_.start(*this);
      return {};
    case Step::writing_entries:
      step_ = Step::entries_barrier;
      if (is_broken(Rule::o4)) {
        return advance();
      }
      break;
    case Step::entries_barrier:
    case Step::writing_header:
      install();
      finish({});
      return {};
  }
  ++parts_.counters->refcount_growth_flushes;
  VARVE_TRY(batch_.flush(*parts_.file));
  batch_.start(*this);
  return {};
}

void RefcountGrowth::install() noexcept {
  const Geometry& geometry = parts_.refcounts->geometry();
  if (table_clusters_ != 0) {
    const ClusterRun old{geometry.cluster_of(parts_.refcounts->table_offset()),
                         parts_.refcounts->table_clusters()};
    parts_.refcounts->set_table(
        std::move(new_table_), geometry.offset_of(HostCluster(area_.first.value() + block_count_)));
    parts_.store->release(old);
  } else {
    for (std::uint64_t i = 0; i < block_count_; ++i) {
      parts_.refcounts->set_block(first_block_ + i,
                                  geometry.offset_of(HostCluster(area_.first.value() + i)));
    }
  }
  parts_.store->growth_took(area_, (first_block_ + block_count_) * geometry.refcounts_per_block());
  const std::uint64_t file_clusters = parts_.file->capabilities().fixed_size
                                          ? parts_.store->file_clusters()
                                          : geometry.clusters_for(parts_.file->size());
  parts_.store->set_file_clusters(std::max(parts_.store->file_clusters(), file_clusters));
}

void RefcountGrowth::finish(const Result<void>& result) noexcept {
  step_ = Step::idle;
  batch_.clear();
  area_bytes_ = Buffer();
  entry_bytes_ = Buffer();
  WaitList waiters;
  waiters.splice_back(waiters_);
  waiters.wake_all(result);
}

}  // namespace varve
