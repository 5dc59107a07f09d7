#include "maintenance/bitmap_survey.h"

#include <algorithm>

#include "base/try.h"
#include "meta/bitmap_entries.h"
#include "meta/reference_walk.h"

namespace varve {

void BitmapSurvey::damaged(Corruption reason) noexcept {
  reason_ = reason_.value_or(reason);
}

bool BitmapSurvey::is_shared(ClusterRun run) const noexcept {
  // The runs do not overlap each other, or the answer is known already.
  const auto after = std::upper_bound(
      own_.begin(), own_.end(), run.first.value() + run.count - 1,
      [](std::uint64_t last, const ClusterRun& own) { return last < own.first.value(); });
  if (run.count == 0 || after == own_.begin()) {
    return false;
  }
  const ClusterRun& own = *(after - 1);
  return own.first.value() + own.count > run.first.value();
}

Result<void> BitmapSurvey::survey() {
  ReferenceWalk walk(*metadata_, [this](const Error& error) {
    if (error.tag == IoTag::bitmap) {
      damaged(error.corruption);
    }
  });
  VARVE_TRY(walk.collect());
  VARVE_TRY(walk.for_each_fixed([this](ClusterRun run, IoTag tag, HostOffset) {
    (tag == IoTag::bitmap ? own_ : others_).push_back(run);
  }));
  std::sort(own_.begin(), own_.end(),
            [](const ClusterRun& a, const ClusterRun& b) { return a.first < b.first; });
  for (std::size_t i = 1; i < own_.size(); ++i) {
    if (own_[i - 1].first.value() + own_[i - 1].count > own_[i].first.value()) {
      damaged(Corruption::cluster_overlaps_metadata);
    }
  }
  for (const ClusterRun& run : others_) {
    if (is_shared(run)) {
      damaged(Corruption::cluster_overlaps_metadata);
    }
  }
  const Geometry& geometry = metadata_->geometry;
  return walk.for_each_table(
      [&](const ReferenceWalk::TableReference& table, ConstBytes bytes) -> Result<void> {
        bool shares = is_shared({geometry.cluster_of(table.offset), 1});
        for (std::uint64_t i = 0; i < geometry.l2_entries() && !shares; ++i) {
          const L2Entry entry = L2Entry::load(geometry, bytes, i);
          shares = entry.raw() != 0 && is_shared(walk.clusters_of(entry));
        }
        if (shares) {
          damaged(Corruption::cluster_overlaps_metadata);
        }
        return {};
      });
}

Result<std::vector<Loss>> BitmapSurvey::name_all() {
  const BitmapsExtension extension = *metadata_->header.bitmaps();
  Loss loss;
  loss.kind = Loss::Kind::bitmap;
  loss.reason = *reason_;
  loss.count = extension.count;
  MeteredMemory held;
  const auto entries = read_bitmap_entries(*metadata_, extension, held);
  if (!entries && entries.error().code == ErrorCode::no_memory) {
    return entries.error();
  }
  if (!entries) {
    return std::vector<Loss>{loss};
  }
  std::vector<Loss> losses;
  for (const BitmapEntry& entry : *entries) {
    loss.index = static_cast<std::uint32_t>(losses.size());
    loss.count = 1;
    loss.name = entry.name;
    losses.push_back(loss);
  }
  return losses;
}

Result<std::vector<Loss>> BitmapSurvey::run() {
  if (!metadata_->header.bitmaps()) {
    return std::vector<Loss>();
  }
  VARVE_TRY(survey());
  return reason_ ? name_all() : std::vector<Loss>();
}

}  // namespace varve
