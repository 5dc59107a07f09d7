#include "meta/cluster_store.h"

#include <algorithm>
#include <new>

#include "base/failure.h"
#include "base/mutation.h"
#include "base/try.h"

namespace varve {
namespace {

// Releases remembered without allocating; neighbouring ones are joined.
constexpr std::size_t kDropsReserved = 4096;

// Durable drops above which the reclaimer goes first.
constexpr std::size_t kDurableDropsMax = 65536;

// Cluster 0 is the header's, whatever a damaged count says of it.
constexpr std::uint64_t kFirstCluster = 1;

// Blocks in memory that are searched before others get a turn. An image whose refcount table names
// one block many times can ask for a million.
constexpr unsigned kBlocksAtOnce = 256;

}  // namespace

Result<void> ClusterStore::reserve(const Limits& limits) noexcept {
  limits_ = limits;
  append_ = limits.file_clusters;
  if (limits.fixed_size) {
    // A device has no end to append to: everything that exists is searched for space.
    append_ = kFirstCluster;
  }
  counted_zero_until_ = append_;
  unscanned_block_ = 0;
  unscanned_end_ = limits.fixed_size ? 0 : refcounts_->block_end();
  try {
    waiting_.reserve(kDropsReserved);
    riding_.reserve(kDropsReserved);
    durable_.reserve(kDropsReserved);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the list of released clusters");
  }
  return reserve_offers(refcounts_->table().size());
}

Result<void> ClusterStore::reserve_offers(std::uint64_t table_entries) noexcept {
  try {
    offers_.resize(table_entries, kNoOffer);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the map of free space");
  }
  return {};
}

void ClusterStore::growth_took(ClusterRun area, std::uint64_t counted_end) noexcept {
  VARVE_ASSERT(area.first.value() >= append_);
  if (area.first.value() > append_) {
    offer(HostCluster(append_));
  }
  append_ = area.first.value() + area.count;
  counted_zero_until_ = counted_end;
}

Result<void> ClusterStore::check_vacant(ClusterRun run) const noexcept {
  const std::optional<HostCluster> resident = limits_.residents->find_resident(run);
  if (!resident) {
    return {};
  }
  const HostOffset offset = refcounts_->geometry().offset_of(*resident);
  return corrupt_at(Corruption::refcount_zero_in_use, IoTag::refcount_block, offset.value(),
                    "a cluster that holds a table in use has refcount 0; its offset",
                    offset.value());
}

Answer<Claim> ClusterStore::claim(std::uint64_t wanted) noexcept {
  VARVE_ASSERT(wanted != 0);
  for (unsigned looked_at = 0; looked_at < kBlocksAtOnce; ++looked_at) {
    if (const std::optional<ClusterRun> freed = VARVE_ASK(find_freed(wanted))) {
      return claim_freed(*freed);
    }
    VARVE_ASK(find_end());
    // Before the file grows, earlier sessions' free space is looked at, block by block.
    if (append_ < limits_.file_clusters || !offer_unscanned()) {
      return claim_at_end(wanted);
    }
  }
  return Need{Need::Kind::turn, HostOffset(), 0};
}

Answer<Claim> ClusterStore::claim_freed(ClusterRun freed) noexcept {
  VARVE_TRY(check_vacant(freed));
  // Their counts have just been read, and are 0.
  const Answer<Nothing> counted = refcounts_->add(freed.first, freed.count, false);
  VARVE_ASSERT(counted.has_value());
  const std::uint64_t block = refcounts_->geometry().refcount_block_index(freed.first);
  offers_[block] =
      (freed.first.value() + freed.count) % refcounts_->geometry().refcounts_per_block();
  if (offers_[block] == 0) {
    offers_[block] = kNoOffer;
  }
  return Claim{freed, is_broken(Rule::o8), {round_ + 1}};
}

Answer<std::optional<ClusterRun>> ClusterStore::find_freed(std::uint64_t wanted) noexcept {
  const Geometry& geometry = refcounts_->geometry();
  const std::uint64_t per_block = geometry.refcounts_per_block();
  for (; lowest_offer_ < offers_end_; ++lowest_offer_) {
    const std::uint64_t position = offers_[lowest_offer_];
    const std::uint64_t block_first = lowest_offer_ * per_block;
    if (position == kNoOffer) {
      continue;
    }
    const std::uint64_t searchable = std::min(append_, reservation_);
    const std::uint64_t end =
        searchable <= block_first ? 0 : std::min(per_block, searchable - block_first);
    if (position < end && refcounts_->has_block(lowest_offer_)) {
      TableCache::Table* block = VARVE_ASK(refcounts_->block(lowest_offer_));
      const std::uint64_t used = nonzero_run(geometry, block->bytes(), position, end - position);
      const std::uint64_t start = position + used;
      if (start < end) {
        const std::uint64_t free =
            zero_run(geometry, block->bytes(), start, std::min(wanted, end - start));
        return std::optional(ClusterRun{HostCluster(block_first + start), free});
      }
    }
    offers_[lowest_offer_] = kNoOffer;
  }
  return std::optional<ClusterRun>();
}

// Moves append_ over clusters that are counted already; afterwards the cluster at append_ is free.
Answer<Nothing> ClusterStore::skip_counted() noexcept {
  const Geometry& geometry = refcounts_->geometry();
  const std::uint64_t per_block = geometry.refcounts_per_block();
  for (unsigned looked_at = 0; append_ >= counted_zero_until_; ++looked_at) {
    const std::uint64_t index = append_ / per_block;
    if (looked_at == kBlocksAtOnce) {
      return Need{Need::Kind::turn, HostOffset(), 0};
    }
    if (limits_.fixed_size && append_ >= limits_.file_clusters) {
      return failure(ErrorCode::no_space, "the storage has no free cluster left");
    }
    if (!refcounts_->has_block(index)) {
      return Need{Need::Kind::refcount_growth, geometry.offset_of(HostCluster(append_)), 0};
    }
    TableCache::Table* block = VARVE_ASK(refcounts_->block(index));
    const std::uint64_t position = append_ % per_block;
    const std::uint64_t used =
        nonzero_run(geometry, block->bytes(), position, per_block - position);
    append_ += used;
    const std::uint64_t zero_start = position + used;
    if (zero_start < per_block) {
      counted_zero_until_ =
          append_ + zero_run(geometry, block->bytes(), zero_start, per_block - zero_start);
    }
  }
  // A block may count more clusters than the device has.
  if (limits_.fixed_size && append_ >= limits_.file_clusters) {
    return failure(ErrorCode::no_space, "the storage has no free cluster left");
  }
  return Nothing();
}

Answer<Nothing> ClusterStore::find_end() noexcept {
  Answer<Nothing> at_free = skip_counted();
  if (const Error* error = at_free.error();
      error != nullptr && error->code == ErrorCode::no_space) {
    // What was dropped may become free: once it is durable, and once it is reclaimed.
    if (!are_drops_held() && has_undurable_drops()) {
      return Need{Need::Kind::round, HostOffset(), 0};
    }
    if (next_reclaimable() != nullptr) {
      return Need{Need::Kind::reclaim, HostOffset(), 0};
    }
  }
  return at_free;
}

Answer<Claim> ClusterStore::claim_at_end(std::uint64_t wanted) noexcept {
  const Geometry& geometry = refcounts_->geometry();
  if (append_ >= limits_.file_clusters) {
    return Need{Need::Kind::file_growth, geometry.offset_of(HostCluster(append_ + wanted)), 0};
  }
  const ClusterRun run{HostCluster(append_),
                       std::min({refcounts_->in_one_block(HostCluster(append_), wanted),
                                 limits_.file_clusters - append_, counted_zero_until_ - append_})};
  if (const Result<void> vacant = check_vacant(run); !vacant) {
    return vacant.error();
  }
  VARVE_ASK(refcounts_->add(run.first, run.count, false));
  const bool nothing_counted_above =
      counted_zero_until_ == refcounts_->block_end() * geometry.refcounts_per_block();
  append_ += run.count;
  return Claim{
      run,
      limits_.growth_is_zero && run.first.value() >= limits_.first_fresh && nothing_counted_above,
      {round_ + 1}};
}

Answer<HostCluster> ClusterStore::reserve_run(std::uint64_t count) noexcept {
  const Geometry& geometry = refcounts_->geometry();
  // Every block of the range must exist and say "free" before the range is set aside.
  while (true) {
    VARVE_ASK(skip_counted());
    const std::uint64_t end = append_ + count;
    if (limits_.fixed_size && end > limits_.file_clusters) {
      return failure(ErrorCode::no_space, "the storage has no free run of clusters left");
    }
    if (end <= counted_zero_until_) {
      break;
    }
    const std::uint64_t per_block = geometry.refcounts_per_block();
    const std::uint64_t index = counted_zero_until_ / per_block;
    if (!refcounts_->has_block(index)) {
      // New blocks stand in front of the run they count, beyond everything there is.
      const std::uint64_t first =
          std::max(counted_zero_until_, refcounts_->block_end() * per_block);
      return Need{Need::Kind::refcount_growth, geometry.offset_of(HostCluster(first)), count};
    }
    TableCache::Table* block = VARVE_ASK(refcounts_->block(index));
    const std::uint64_t position = counted_zero_until_ % per_block;
    const std::uint64_t zeros = zero_run(geometry, block->bytes(), position, per_block - position);
    if (zeros == 0) {
      // Counted clusters in the way: what lies before them stays free for single claims.
      offer(HostCluster(append_));
      append_ = counted_zero_until_;
      continue;  // skip_counted passes over them.
    }
    counted_zero_until_ += zeros;
  }
  if (append_ + count > limits_.file_clusters) {
    return Need{Need::Kind::file_growth, geometry.offset_of(HostCluster(append_ + count)), 0};
  }
  const HostCluster first(append_);
  if (const Result<void> vacant = check_vacant({first, count}); !vacant) {
    return vacant.error();
  }
  reservation_ = std::min(reservation_, append_);
  ++reservations_;
  append_ += count;
  return first;
}

Answer<std::uint64_t> ClusterStore::claim_reserved(ClusterRun run) noexcept {
  const std::uint64_t count = refcounts_->in_one_block(run.first, run.count);
  VARVE_ASK(refcounts_->add(run.first, count, false));
  return count;
}

Answer<Nothing> ClusterStore::share(ClusterRun run) noexcept {
  return refcounts_->add(run.first, run.count, true);
}

bool ClusterStore::can_be_counted(ClusterRun run) const noexcept {
  const Geometry& geometry = refcounts_->geometry();
  const std::uint64_t end = geometry.refcount_block_index(run.first + (run.count - 1));
  std::uint64_t index = geometry.refcount_block_index(run.first);
  while (index < end && refcounts_->has_block(index)) {
    ++index;
  }
  return refcounts_->has_block(index);
}

void ClusterStore::offer(HostCluster cluster) noexcept {
  const std::uint64_t per_block = refcounts_->geometry().refcounts_per_block();
  const std::uint64_t index = cluster.value() / per_block;
  if (index < offers_.size()) {
    offers_[index] = std::min(offers_[index], std::max(cluster.value(), kFirstCluster) % per_block);
    lowest_offer_ = std::min(lowest_offer_, index);
    offers_end_ = std::max(offers_end_, index + 1);
  }
}

bool ClusterStore::offer_unscanned() noexcept {
  while (unscanned_block_ < unscanned_end_ && !refcounts_->has_block(unscanned_block_)) {
    ++unscanned_block_;
  }
  if (unscanned_block_ == unscanned_end_) {
    return false;
  }
  offer(HostCluster(unscanned_block_ * refcounts_->geometry().refcounts_per_block()));
  ++unscanned_block_;
  return true;
}

void ClusterStore::release(ClusterRun run) noexcept {
  if (run.count == 0) {
    return;
  }
  if (is_broken(Rule::o7)) {
    release_durable(run);
    return;
  }
  const std::uint64_t era = eras_->seal();
  quarantined_ += run.count;
  waiting_clusters_ += run.count;
  if (!waiting_.empty()) {
    Drop& last = waiting_.back();
    if (last.era == era && last.run.first.value() + last.run.count == run.first.value()) {
      last.run.count += run.count;
      return;
    }
  }
  // has_room_for_drops made sure of the capacity; beyond it the clusters leak, which is safe.
  if (waiting_.size() < waiting_.capacity()) {
    waiting_.push_back({run, era});
  }
}

Answer<Nothing> ClusterStore::has_room_for_drops(std::size_t runs) noexcept {
  if (waiting_.capacity() - waiting_.size() < runs) {
    if (!are_drops_held()) {
      return Need{Need::Kind::round, HostOffset(), 0};
    }
    // A round cannot help while a control operation holds the drops back: remember more instead.
    try {
      waiting_.reserve(waiting_.capacity() * 2 + runs);
    } catch (const std::bad_alloc&) {
      return failure(ErrorCode::no_memory, "cannot remember more released clusters");
    }
  }
  return Nothing();
}

void ClusterStore::release_durable(ClusterRun run) noexcept {
  const std::uint64_t era = eras_->seal();
  quarantined_ += run.count;
  if (durable_front_ < durable_.size()) {
    Drop& last = durable_.back();
    if (last.era == era && last.run.first.value() + last.run.count == run.first.value()) {
      last.run.count += run.count;
      return;
    }
  }
  // Beyond the capacity the clusters leak, which is safe.
  if (durable_.size() < durable_.capacity()) {
    durable_.push_back({run, era});
  }
}

Answer<Nothing> ClusterStore::has_room_for_durable_drop() noexcept {
  if (durable_.size() < durable_.capacity()) {
    return Nothing();
  }
  if (durable_.size() >= kDurableDropsMax && next_reclaimable() != nullptr) {
    return Need{Need::Kind::reclaim, HostOffset(), 0};
  }
  try {
    durable_.reserve(durable_.capacity() * 2 + 1);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot remember more released clusters");
  }
  return Nothing();
}

void ClusterStore::begin_round(std::uint64_t round) noexcept {
  VARVE_ASSERT(riding_.empty());
  round_ = round;
  std::swap(riding_, waiting_);
  waiting_clusters_ = 0;
  if (is_broken(Rule::o3)) {
    lower_too_early();
  }
}

// The counts fall with the round that writes the entries which drop the references.
void ClusterStore::lower_too_early() noexcept {
  for (Drop& drop : riding_) {
    while (drop.run.count != 0) {
      const std::uint64_t count = refcounts_->in_one_block(drop.run.first, drop.run.count);
      static_cast<void>(refcounts_->subtract(drop.run.first, count));
      drop.run.first = drop.run.first + count;
      drop.run.count -= count;
      quarantined_ -= count;
    }
  }
  riding_.clear();
}

void ClusterStore::end_round(bool is_durable) noexcept {
  std::vector<Drop>& target = is_durable ? durable_ : waiting_;
  try {
    target.insert(target.end(), riding_.begin(), riding_.end());
    riding_.clear();
  } catch (const std::bad_alloc&) {
    // The clusters leak: safe, found by check.
    riding_.clear();
  }
}

ClusterStore::Drop* ClusterStore::next_reclaimable() noexcept {
  if (are_drops_held() || durable_front_ == durable_.size() ||
      (!eras_->is_drained(durable_[durable_front_].era) && !is_broken(Rule::h4))) {
    return nullptr;
  }
  return &durable_[durable_front_];
}

void ClusterStore::reclaimed(Drop& drop, std::uint64_t count) noexcept {
  VARVE_ASSERT(count <= drop.run.count);
  offer(drop.run.first);
  quarantined_ -= count;
  drop.run.first += count;
  drop.run.count -= count;
  if (drop.run.count == 0) {
    ++durable_front_;
    if (durable_front_ == durable_.size()) {
      durable_.clear();
      durable_front_ = 0;
    }
  }
}

}  // namespace varve
