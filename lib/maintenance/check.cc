// Checking an open image: behind its closed gate where it is open for writing.

#include <new>

#include <varve/check.h>

#include "base/failure.h"
#include "base/try.h"
#include "image/qcow2_image.h"
#include "maintenance/check_metadata.h"
#include "maintenance/check_walk.h"
#include "maintenance/still_image.h"

namespace varve {
namespace {

// Snapshots beyond which a cluster may well have more references than a small cell counts.
constexpr std::size_t kManySnapshots = 1000;

}  // namespace

Result<CheckReport> check_metadata(Metadata& metadata, const CheckOptions& options) noexcept {
  try {
    if (metadata.snapshots.entries.size() < kManySnapshots) {
      CheckWalk<std::uint16_t> walk(metadata, options);
      VARVE_TRY(walk.run());
      if (!walk.is_saturated()) {
        return std::move(walk.report());
      }
    }
    CheckWalk<std::uint32_t> walk(metadata, options);
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
