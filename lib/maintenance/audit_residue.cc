#include "maintenance/audit_residue.h"

#include <algorithm>

#include "base/try.h"
#include "base/units.h"
#include "meta/batch.h"

namespace varve {
namespace {

constexpr std::uint64_t kResiduePieceBytes = 256 * kKiB;
// Of asking the file system, and of looking at bytes that were read.
constexpr std::uint64_t kStepsPerQuestion = 500;
constexpr std::uint64_t kBytesPerLookStep = 64;

}  // namespace

Result<void> AuditResidue::prepare() {
  VARVE_TRY(memory_.take(metadata_->meter, kResiduePieceBytes));
  piece_ = VARVE_TRY(Buffer::allocate(kResiduePieceBytes));
  return {};
}

void AuditResidue::begin() noexcept {
  last_added_ = 0;
  leaked_ = deleted_ = behind_end_ = beyond_disk_ = unreadable_ = Clusters();
}

void AuditResidue::beyond_disk(std::uint64_t clusters, std::uint64_t where) noexcept {
  beyond_disk_.first = beyond_disk_.count == 0 ? where : beyond_disk_.first;
  beyond_disk_.count += clusters;
}

void AuditResidue::add(Clusters& clusters, std::uint64_t cluster) noexcept {
  if (cluster == last_added_) {
    return;  // Its beginning stood in the piece before.
  }
  last_added_ = cluster;
  if (clusters.count++ == 0) {
    clusters.first = cluster << metadata_->geometry.cluster_bits;
  }
}

// Looks at the data from `offset` on, in front of `stop`; answers how much there was to skip.
Result<std::uint64_t> AuditResidue::look_at_piece(std::uint64_t offset, std::uint64_t stop,
                                                  std::uint64_t end_in_use, const Window& window) {
  spend_steps(metadata_->meter, kStepsPerQuestion);
  VARVE_TRY(verdict_of(metadata_->meter));
  const StorageExtent extent = metadata_->file->extent_at(offset, stop - offset);
  if (!extent.is_data) {
    return extent.length;
  }
  const std::uint64_t length = std::min(extent.length, kResiduePieceBytes);
  const Bytes bytes = piece_.bytes().first(length);
  Batch batch(metadata_->counters);
  VARVE_TRY(batch.read(*metadata_->file, IoTag::guest_data, HostOffset(offset), bytes));
  const Result<void> read = batch.run();
  VARVE_TRY(verdict_of(metadata_->meter));
  const Geometry& geometry = metadata_->geometry;
  if (!read) {
    add(unreadable_, geometry.cluster_of(HostOffset(offset)).value());
    return length;
  }
  spend_steps(metadata_->meter, length / kBytesPerLookStep);
  for (std::uint64_t at = 0; at < length;) {
    const std::uint64_t cluster = geometry.cluster_of(HostOffset(offset + at)).value();
    const std::uint64_t in_cluster = geometry.in_cluster(offset + at);
    const std::uint64_t part = std::min(geometry.cluster_bytes() - in_cluster, length - at);
    const ClusterUse use = window.use(cluster);
    if (use != ClusterUse::referenced && !is_all_zero(bytes.subspan(at, part))) {
      add(use == ClusterUse::counted ? leaked_ : (cluster < end_in_use ? deleted_ : behind_end_),
          cluster);
    }
    at += part;
  }
  return length;
}

Result<void> AuditResidue::counted(std::uint64_t first, std::uint64_t end, std::uint64_t end_in_use,
                                   const Window& window) {
  if (end_in_use > first && behind_end_.count != 0) {
    // Something in use came behind it after all.
    deleted_.first = deleted_.count == 0 ? behind_end_.first : deleted_.first;
    deleted_.count += behind_end_.count;
    behind_end_ = Clusters();
  }
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t stop = std::min(end << geometry.cluster_bits, metadata_->file->size());
  std::uint64_t at = first << geometry.cluster_bits;
  while (at < stop) {
    const std::uint64_t cluster = geometry.cluster_of(HostOffset(at)).value();
    if (window.use(cluster) == ClusterUse::referenced) {
      at = (cluster + 1) << geometry.cluster_bits;
      continue;
    }
    at += VARVE_TRY(look_at_piece(at, stop, end_in_use, window));
  }
  return {};
}

}  // namespace varve
