// Checking an open image: behind its closed gate where it is open for writing.

#include <algorithm>
#include <new>

#include <varve/check.h>

#include "base/failure.h"
#include "base/try.h"
#include "format/bitmap_directory.h"
#include "image/qcow2_image.h"
#include "maintenance/check_metadata.h"
#include "maintenance/check_walk.h"
#include "maintenance/still_image.h"

namespace varve {
namespace {

// Snapshots beyond which a cluster may well have more references than a small cell counts.
constexpr std::size_t kManySnapshots = 1000;

// What the walk takes beside it: one L1 table of a snapshot, or the directory of bitmaps.
std::uint64_t memory_of_walk(const Metadata& metadata) {
  std::uint64_t l1_entries = 0;
  for (const SnapshotEntry& snapshot : metadata.snapshots.entries) {
    l1_entries = std::max<std::uint64_t>(l1_entries, snapshot.l1_entries);
  }
  const auto bitmaps = metadata.header.bitmaps();
  return std::max(l1_entries * 8, bitmaps ? bitmap_directory_memory(*bitmaps) : 0);
}

// What is left of the image's budget.
Result<CheckOptions> affordable(const Metadata& metadata, const CheckOptions& options,
                                MeteredMemory& held) {
  CheckOptions chosen = options;
  if (metadata.meter != nullptr) {
    constexpr std::uint64_t kMemoryMin = 2 * kMiB;
    const std::uint64_t left = metadata.meter->memory_left();
    const std::uint64_t kept = std::min(memory_of_walk(metadata), left / 2);
    chosen.memory_bytes =
        std::min<std::uint64_t>(chosen.memory_bytes, std::max(left - kept, kMemoryMin));
    VARVE_TRY(held.take(metadata.meter, chosen.memory_bytes));
  }
  return chosen;
}

}  // namespace

Result<CheckReport> check_metadata(Metadata& metadata, const CheckOptions& given,
                                   CheckObserver* observer) noexcept {
  try {
    MeteredMemory held;
    const CheckOptions options = VARVE_TRY(affordable(metadata, given, held));
    if (metadata.snapshots.entries.size() < kManySnapshots) {
      CheckWalk<std::uint16_t> walk(metadata, options, observer);
      VARVE_TRY(walk.run());
      if (!walk.is_saturated()) {
        return std::move(walk.report());
      }
    }
    CheckWalk<std::uint32_t> walk(metadata, options, observer);
    VARVE_TRY(walk.run());
    return std::move(walk.report());
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot keep the counts of the clusters");
  }
}

Result<CheckReport> check(Image& image, const CheckOptions& options) noexcept {
  auto* const qcow2 = dynamic_cast<Qcow2Image*>(&image.core());
  if (qcow2 == nullptr) {
    return failure(ErrorCode::unsupported, "only qcow2 images can be checked");
  }
  StillImage still(*qcow2);
  VARVE_TRY(still.begin());
  return check_metadata(qcow2->metadata(), options);
}

}  // namespace varve
