#include "meta/compressed_space.h"

namespace varve {

Answer<CompressedExtent> CompressedSpace::claim(std::uint64_t bytes) noexcept {
  const std::uint64_t used = geometry_.in_cluster(next_.value());
  const HostCluster open = geometry_.cluster_of(next_);
  if (used != 0 && used + bytes <= geometry_.cluster_bytes()) {
    Answer<Nothing> shared = store_->share({open, 1});
    if (shared.has_value()) {
      const CompressedExtent extent{next_, bytes};
      next_ += bytes;
      return extent;
    }
    // An overflowing count closes the cluster; anything else is told.
    if (shared.error() == nullptr || shared.error()->code != ErrorCode::out_of_range) {
      return shared.need() != nullptr ? Answer<CompressedExtent>(*shared.need())
                                      : Answer<CompressedExtent>(*shared.error());
    }
  }
  const Claim claim = VARVE_ASK(store_->claim(1));
  const HostOffset first = geometry_.offset_of(claim.run.first);
  if (used != 0 && claim.run.first.value() == open.value() + 1) {
    // The new cluster follows the open one: the bytes may stand across both.
    const Answer<Nothing> shared = store_->share({open, 1});
    if (shared.has_value()) {
      const CompressedExtent extent{next_, bytes};
      next_ += bytes;
      return extent;
    }
  }
  next_ = first + bytes;
  return CompressedExtent{first, bytes};
}

void CompressedSpace::forget(ClusterRun run) noexcept {
  const std::uint64_t open = geometry_.cluster_of(next_).value();
  if (open >= run.first.value() && open - run.first.value() < run.count) {
    next_ = HostOffset();
  }
}

}  // namespace varve
