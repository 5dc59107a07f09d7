#include "meta/reclaimer.h"

#include <algorithm>

#include "base/try.h"
#include "meta/metadata.h"

namespace varve {
namespace {

// Others get a turn of the loop in between.
constexpr unsigned kStretchesAtOnce = 16;

}  // namespace

void Reclaimer::kick() noexcept {
  if (!is_running_ && metadata_->store.next_reclaimable() != nullptr) {
    schedule();
  }
}

void Reclaimer::wait_idle(Waiter& waiter) noexcept {
  idle_.add(waiter);
  if (!is_running_) {
    schedule();
  }
}

void Reclaimer::schedule() noexcept {
  is_running_ = true;
  start_ = StorageRequest();
  start_.owner = this;
  start_.complete = [](StorageRequest& request, const Result<void>&) {
    static_cast<Reclaimer*>(request.owner)->run();
  };
  metadata_->file->engine().post(start_, {});
}

void Reclaimer::resume(const Result<void>& result) noexcept {
  if (is_punching_) {
    // A hole that could not be punched is only space not given back.
    is_punching_ = false;
  } else if (!result) {
    stop(result);
    return;
  }
  run();
}

void Reclaimer::run() noexcept {
  unsigned stretches = 0;
  while (ClusterStore::Drop* drop = metadata_->store.next_reclaimable()) {
    if (++stretches > kStretchesAtOnce) {
      schedule();
      return;
    }
    const Answer<Nothing> answer = reclaim(*drop);
    if (const Need* need = answer.need()) {
      metadata_->satisfy(*need, *this);
      return;
    }
    if (is_punching_) {
      return;
    }
    if (answer.error() != nullptr) {
      // The count is lower than it should be: the image is damaged. The rest of the drop stays
      // counted.
      metadata_->store.reclaimed(*drop, drop->run.count);
    }
  }
  stop({});
}

Answer<Nothing> Reclaimer::reclaim(ClusterStore::Drop& drop) noexcept {
  Refcounts& refcounts = metadata_->refcounts;
  const Geometry& geometry = refcounts.geometry();
  const std::uint64_t block_index = geometry.refcount_block_index(drop.run.first);
  const std::uint64_t count = refcounts.in_one_block(drop.run.first, drop.run.count);
  if (!refcounts.has_block(block_index)) {
    return failure(ErrorCode::corrupt, "a dropped cluster has no refcount block");
  }
  TableCache::Table* block = VARVE_ASK(refcounts.block(block_index));
  const std::uint64_t index = drop.run.first.value() % geometry.refcounts_per_block();
  // A stretch of clusters that all become free, or of clusters that all stay.
  const bool becomes_free = load_refcount(geometry, block->bytes(), index) == 1;
  const TablePlaces& places = metadata_->guard.places();
  if (becomes_free && places.holds_two(drop.run.first)) {
    // Counted once for two tables of a damaged image: the count is the other one's.
    metadata_->store.reclaimed(drop, 1);
    return Nothing();
  }
  std::uint64_t stretch = 1;
  while (stretch < count && !places.holds_two(drop.run.first + stretch) &&
         (load_refcount(geometry, block->bytes(), index + stretch) == 1) == becomes_free) {
    ++stretch;
  }
  if (becomes_free) {
    // Before anything is punched: nobody packs more into these clusters.
    metadata_->compressed_space.forget({drop.run.first, stretch});
    for (std::uint64_t i = 0; i < stretch; ++i) {
      if (!metadata_->l2.forget(geometry.offset_of(HostCluster(drop.run.first.value() + i)))) {
        return Need{Need::Kind::round, HostOffset(), 0};  // It still writes the dead table.
      }
    }
    metadata_->guard.places().forget({drop.run.first, stretch});
    if (punch_holes_ && punched_ == 0 && start_punching({drop.run.first, stretch})) {
      return Nothing();
    }
    stretch = punched_ != 0 ? std::min(stretch, punched_) : stretch;
  }
  punched_ = 0;
  VARVE_TRY(refcounts.subtract(*block, drop.run.first, stretch));
  metadata_->store.reclaimed(drop, stretch);
  return Nothing();
}

bool Reclaimer::start_punching(ClusterRun run) noexcept {
  const Geometry& geometry = metadata_->geometry;
  if (!batch_.discard(*metadata_->file, IoTag::guest_data, geometry.offset_of(run.first),
                      run.count * geometry.cluster_bytes())) {
    return false;
  }
  is_punching_ = true;
  punched_ = run.count;
  batch_.start(*this);
  return true;
}

void Reclaimer::stop(const Result<void>& result) noexcept {
  is_running_ = false;
  WaitList idle;
  idle.splice_back(idle_);
  idle.wake_all(result);
}

}  // namespace varve
