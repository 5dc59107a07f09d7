#include "meta/release_walk.h"

#include <algorithm>

#include "base/failure.h"
#include "base/try.h"
#include "meta/walk_table.h"

namespace varve {

Result<void> ReleaseWalk::begin(const std::vector<std::uint64_t>& l1, HostOffset where,
                                const std::vector<std::uint64_t>* skip,
                                const WalkPosition* end) noexcept {
  l1_ = &l1;
  where_ = where;
  skip_ = skip;
  end_ = end;
  step_ = Step::loading;
  position_ = WalkPosition();
  dropped_in_run_ = 0;
  table_ = VARVE_TRY(Buffer::allocate(metadata_->geometry.cluster_bytes()));
  return {};
}

Answer<Nothing> ReleaseWalk::advance() noexcept {
  for (; position_.slot < l1_->size(); ++position_.slot) {
    const L1Entry entry((*l1_)[position_.slot]);
    if (!entry.is_allocated() || is_same_table(skip_, position_.slot, entry)) {
      continue;
    }
    const bool is_untouched = !is_before_end() && step_ == Step::loading &&
                              is_same_table(&metadata_->l1.entries(), position_.slot, entry);
    if (is_untouched) {
      VARVE_ASK(set_table_flag(metadata_->l1.entry(position_.slot)));
      continue;
    }
    const Answer<Nothing> walked = walk_slot(entry);
    // Behind the end nothing was added: a table that cannot be read there has nothing to give back.
    const bool is_needless =
        walked.error() != nullptr && step_ == Step::loading && !is_before_end();
    if (!walked.has_value() && !is_needless) {
      return walked;
    }
    step_ = Step::loading;
    position_.entry = 0;
    ++position_.slot;
    return Need{Need::Kind::turn, HostOffset(), 0};
  }
  return Nothing();
}

Answer<Nothing> ReleaseWalk::walk_slot(L1Entry entry) noexcept {
  const Result<void> valid = entry.validate(metadata_->geometry, where_ + position_.slot * 8);
  return valid ? walk_table(entry.offset()) : Answer<Nothing>(valid.error());
}

Answer<Nothing> ReleaseWalk::walk_table(HostOffset offset) noexcept {
  if (step_ == Step::loading) {
    VARVE_ASK(load_walk_table(*metadata_, offset, table_.bytes()));
    step_ = Step::dropping;
  }
  if (step_ == Step::dropping) {
    VARVE_ASK(drop_all(offset));
    step_ = Step::flags;
    flag_entry_ = 0;
    flag_table_ = HostOffset();
  }
  return set_flags();
}

// The table's entries, then the table itself; the same runs as a ShareWalk makes, so its position
// is never inside one. From here on the copy in table_ is what there is of it.
Answer<Nothing> ReleaseWalk::drop_all(HostOffset offset) noexcept {
  const Geometry& geometry = metadata_->geometry;
  while (position_.entry < geometry.l2_entries() && is_before_end()) {
    const WalkRun run = walk_run_at(*metadata_, table_.bytes(), position_.entry, position_.cluster);
    while (dropped_in_run_ < run.clusters.count) {
      dropped_in_run_ += VARVE_ASK(drop({HostCluster(run.clusters.first.value() + dropped_in_run_),
                                         run.clusters.count - dropped_in_run_}));
    }
    dropped_in_run_ = 0;
    position_.entry += run.entries;
    position_.cluster = run.next_cluster;
  }
  if (is_before_end()) {
    static_cast<void>(VARVE_ASK(drop({geometry.cluster_of(offset), 1})));
  }
  position_.cluster = 0;
  return Nothing();
}

// Drops one reference from the front of the run; how many clusters that was.
Answer<std::uint64_t> ReleaseWalk::drop(ClusterRun run) noexcept {
  Refcounts& refcounts = metadata_->refcounts;
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t block_index = geometry.refcount_block_index(run.first);
  if (!refcounts.has_block(block_index)) {
    return corrupt_at(Corruption::refcount_missing_block, IoTag::refcount_table,
                      refcounts.table_offset().value() + block_index * 8,
                      "a referenced cluster has no refcount block; cluster", run.first.value());
  }
  TableCache::Table* block = VARVE_ASK(refcounts.block(block_index));
  const std::uint64_t index = run.first.value() % geometry.refcounts_per_block();
  const bool becomes_free = load_refcount(geometry, block->bytes(), index) == 1;
  std::uint64_t stretch = 1;
  while (stretch < refcounts.in_one_block(run.first, run.count) &&
         (load_refcount(geometry, block->bytes(), index + stretch) == 1) == becomes_free) {
    ++stretch;
  }
  if (becomes_free) {
    VARVE_ASK(metadata_->store.has_room_for_drops(1));
    metadata_->store.release({run.first, stretch});
  } else {
    VARVE_ASK(refcounts.subtract(run.first, stretch));
  }
  return stretch;
}

// Puts COPIED right in the active table of this slot. The guest may replace that table while we
// wait for something: then all of it is looked at again.
Answer<Nothing> ReleaseWalk::set_flags() noexcept {
  const Geometry& geometry = metadata_->geometry;
  L1Table& l1 = metadata_->l1;
  while (position_.slot < l1.size()) {
    const L1Entry slot = l1.entry(position_.slot);
    if (!slot.is_allocated()) {
      break;
    }
    if (slot.offset() != flag_table_) {
      flag_table_ = slot.offset();
      flag_entry_ = 0;
    }
    TableCache::Table* active = metadata_->l2.find(slot.offset());
    if (active == nullptr) {
      return Need{Need::Kind::l2_table, slot.offset(), 0};
    }
    if (flag_entry_ < geometry.l2_entries()) {
      VARVE_ASK(set_flag(*active));
      continue;
    }
    VARVE_ASK(set_table_flag(slot));
    break;
  }
  return Nothing();
}

Answer<Nothing> ReleaseWalk::set_table_flag(L1Entry slot) noexcept {
  const HostCluster cluster = metadata_->geometry.cluster_of(slot.offset());
  const std::uint64_t count = VARVE_ASK(metadata_->refcounts.count(cluster));
  if (count == 1 && !slot.is_copied()) {
    metadata_->l1.set(position_.slot, L1Entry::table(slot.offset(), true));
  }
  return Nothing();
}

Answer<Nothing> ReleaseWalk::set_flag(TableCache::Table& active) noexcept {
  const Geometry& geometry = metadata_->geometry;
  const L2Entry entry = L2Entry::load(geometry, active.bytes(), flag_entry_);
  const L2Entry dropped = L2Entry::load(geometry, table_.bytes(), flag_entry_);
  const bool is_candidate = !entry.is_compressed() && !dropped.is_compressed() &&
                            entry.has_host() && entry.host() == dropped.host() &&
                            !entry.is_copied();
  if (is_candidate) {
    const std::uint64_t count =
        VARVE_ASK(metadata_->refcounts.count(geometry.cluster_of(entry.host())));
    if (count == 1) {
      const std::uint64_t begin = flag_entry_ << geometry.l2_entry_bits();
      entry.with_copied(true).store(geometry, active.edit(begin, begin + geometry.l2_entry_bytes()),
                                    flag_entry_);
    }
  }
  ++flag_entry_;
  return Nothing();
}

}  // namespace varve
