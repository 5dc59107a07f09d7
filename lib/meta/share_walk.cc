#include "meta/share_walk.h"

#include <algorithm>

#include "base/failure.h"
#include "base/try.h"
#include "meta/walk_table.h"

namespace varve {

Result<void> ShareWalk::begin(const std::vector<std::uint64_t>& l1, HostOffset where,
                              const std::vector<std::uint64_t>* skip) noexcept {
  l1_ = &l1;
  where_ = where;
  skip_ = skip;
  position_ = WalkPosition();
  is_loaded_ = false;
  table_ = VARVE_TRY(Buffer::allocate(metadata_->geometry.cluster_bytes()));
  return {};
}

Answer<Nothing> ShareWalk::advance() noexcept {
  for (; position_.slot < l1_->size(); ++position_.slot) {
    const L1Entry entry((*l1_)[position_.slot]);
    if (!entry.is_allocated() || is_same_table(skip_, position_.slot, entry)) {
      continue;
    }
    if (const Result<void> valid = entry.validate(metadata_->geometry, where_ + position_.slot * 8);
        !valid) {
      return valid.error();
    }
    VARVE_ASK(walk_table(entry.offset()));
    is_loaded_ = false;
    position_.entry = 0;
    ++position_.slot;
    return Need{Need::Kind::turn, HostOffset(), 0};
  }
  return Nothing();
}

Answer<Nothing> ShareWalk::walk_table(HostOffset offset) noexcept {
  const Geometry& geometry = metadata_->geometry;
  if (!is_loaded_) {
    VARVE_ASK(load_walk_table(*metadata_, offset, table_.bytes()));
    is_loaded_ = true;
    are_flags_clear_ = false;
  }
  while (position_.entry < geometry.l2_entries()) {
    VARVE_ASK(share_entry());
  }
  if (!are_flags_clear_) {
    VARVE_ASK(clear_flags(offset));
    are_flags_clear_ = true;
  }
  VARVE_ASK(metadata_->store.share({geometry.cluster_of(offset), 1}));
  return Nothing();
}

// One reference more for the clusters of the entry at the position, or of the run of neighbours
// that starts with it.
Answer<Nothing> ShareWalk::share_entry() noexcept {
  const WalkRun run = walk_run_at(*metadata_, table_.bytes(), position_.entry, position_.cluster);
  if (run.clusters.count != 0) {
    VARVE_ASK(metadata_->store.share(run.clusters));
  }
  position_.entry += run.entries;
  position_.cluster = run.next_cluster;
  return Nothing();
}

// A shared table's clusters are shared: no in-place writes.
Answer<Nothing> ShareWalk::clear_flags(HostOffset offset) noexcept {
  const Geometry& geometry = metadata_->geometry;
  bool any = false;
  for (std::uint64_t index = 0; index < geometry.l2_entries() && !any; ++index) {
    const L2Entry entry = L2Entry::load(geometry, table_.bytes(), index);
    any = !entry.is_compressed() && entry.is_copied();
  }
  if (!any) {
    return Nothing();
  }
  TableCache::Table* table = metadata_->l2.find(offset);
  if (table == nullptr) {
    return Need{Need::Kind::l2_table, offset, 0};
  }
  for (std::uint64_t index = 0; index < geometry.l2_entries(); ++index) {
    const L2Entry entry = L2Entry::load(geometry, table->bytes(), index);
    if (!entry.is_compressed() && entry.is_copied()) {
      const std::uint64_t begin = index << geometry.l2_entry_bits();
      entry.with_copied(false).store(geometry,
                                     table->edit(begin, begin + geometry.l2_entry_bytes()), index);
    }
  }
  return Nothing();
}

}  // namespace varve
