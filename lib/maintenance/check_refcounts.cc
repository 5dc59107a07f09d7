#include "maintenance/check_refcounts.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/try.h"
#include "meta/batch.h"

namespace varve {

// REQUIRES: first < end.
CountedRange RefcountReader::range_at(std::uint64_t first, std::uint64_t end) const noexcept {
  const Geometry& geometry = metadata_->geometry;
  const Refcounts& refcounts = metadata_->refcounts;
  const std::uint64_t index = geometry.refcount_block_index(HostCluster(first));
  CountedRange range;
  range.first = first;
  if (index >= refcounts.table().size()) {
    range.count = end - first;
    return range;
  }
  range.count = std::min(end, (index + 1) * geometry.refcounts_per_block()) - first;
  if (refcounts.has_block(index)) {
    range.block = HostOffset(refcounts.table()[index]);
    const bool is_readable = geometry.in_cluster(range.block.value()) == 0 &&
                             range.block.value() < metadata_->file->size();
    range.state = is_readable ? CountedRange::State::present : CountedRange::State::unknown;
  }
  return range;
}

Result<void> RefcountReader::visit_batch(std::vector<CountedRange>& ranges, Bytes buffer,
                                         const Visitor& visit) {
  const std::uint64_t cluster_bytes = metadata_->geometry.cluster_bytes();
  Batch batch(metadata_->counters);
  std::uint64_t used = 0;
  for (CountedRange& range : ranges) {
    if (range.state == CountedRange::State::present) {
      const Bytes target = buffer.subspan(used, cluster_bytes);
      range.bytes = target;
      VARVE_TRY(batch.read(*metadata_->file, IoTag::refcount_block, range.block, target));
      used += cluster_bytes;
    }
  }
  const bool all_read = batch.run().has_value();
  VARVE_TRY(verdict_of(metadata_->meter));
  used = 0;
  for (CountedRange& range : ranges) {
    if (range.state == CountedRange::State::present) {
      if (!all_read) {
        // Something failed: once more, one by one, to tell which.
        VARVE_TRY(batch.read(*metadata_->file, IoTag::refcount_block, range.block,
                             buffer.subspan(used, cluster_bytes)));
        if (const Result<void> read = batch.run(); !read) {
          problem_(read.error());
          range.state = CountedRange::State::unknown;
        }
      }
      used += cluster_bytes;
    }
    VARVE_TRY(visit(range));
  }
  ranges.clear();
  return {};
}

Result<void> RefcountReader::for_each(std::uint64_t first, std::uint64_t end,
                                      const Visitor& visit) {
  const std::uint64_t cluster_bytes = metadata_->geometry.cluster_bytes();
  if (first >= end) {
    return {};
  }
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t blocks = geometry.refcount_block_index(HostCluster(end - 1)) -
                               geometry.refcount_block_index(HostCluster(first)) + 1;
  const std::uint64_t blocks_max =
      std::clamp<std::uint64_t>(batch_bytes_ / cluster_bytes, 1, blocks);
  Buffer buffer = VARVE_TRY(Buffer::allocate(blocks_max * cluster_bytes));
  std::vector<CountedRange> ranges;
  while (first < end) {
    const CountedRange range = range_at(first, end);
    ranges.push_back(range);
    first += range.count;
    if (ranges.size() == blocks_max || first == end) {
      VARVE_TRY(visit_batch(ranges, buffer.bytes(), visit));
    }
  }
  return {};
}

}  // namespace varve
