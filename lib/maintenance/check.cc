// Checking an open image, and repairing it: behind its closed gate where it is open for writing.

#include <new>

#include <varve/check.h>

#include "base/failure.h"
#include "base/try.h"
#include "image/qcow2_image.h"
#include "maintenance/check_walk.h"
#include "maintenance/still_image.h"
#include "meta/recount.h"

namespace varve {
namespace {

// Snapshots beyond which a cluster may well have more references than a small cell counts.
constexpr std::size_t kManySnapshots = 1000;

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

bool is_clean(const CheckReport& report) noexcept {
  return report.leaks == 0 && report.corruptions == 0 && report.failures == 0;
}

// Nobody may hold clusters that no table refers to: a recount would give them away.
Result<void> check_repairable(const Qcow2Image& image, const Metadata& metadata) noexcept {
  if (!metadata.is_writable) {
    return failure(ErrorCode::read_only, "the image is open for reading only");
  }
  if (image.state_writers != 0 || metadata.store.has_drops()) {
    return failure(ErrorCode::busy, "a state is being written, or a snapshot read");
  }
  return {};
}

Result<RepairReport> repair_metadata(Metadata& metadata, Repair what,
                                     const CheckOptions& options) noexcept {
  RepairReport report;
  report.before = VARVE_TRY(check_metadata(metadata, options));
  if (!is_clean(report.before)) {
    const Result<void> counted =
        recount(metadata, what == Repair::leaks ? Recounted::leaks : Recounted::all);
    if (!counted && counted.error().code != ErrorCode::corrupt) {
      return counted.error();
    }
    if (!counted) {
      report.left = counted.error();
    }
    report.after = VARVE_TRY(check_metadata(metadata, options));
  } else {
    report.after = report.before;
  }
  if (metadata.header.is_corrupt() && is_clean(report.after)) {
    VARVE_TRY(clear_features(metadata, kIncompatibleCorrupt));
  }
  return report;
}

}  // namespace

Result<CheckReport> check(Image& image, const CheckOptions& options) noexcept {
  auto* const qcow2 = dynamic_cast<Qcow2Image*>(&image.core());
  if (qcow2 == nullptr) {
    return failure(ErrorCode::unsupported, "only qcow2 images can be checked");
  }
  StillImage still(*qcow2);
  VARVE_TRY(still.begin());
  return check_metadata(qcow2->metadata(), options);
}

Result<RepairReport> repair(Image& image, Repair what, const CheckOptions& options) noexcept {
  auto* const qcow2 = dynamic_cast<Qcow2Image*>(&image.core());
  if (qcow2 == nullptr) {
    return failure(ErrorCode::unsupported, "only qcow2 images can be repaired");
  }
  StillImage still(*qcow2);
  VARVE_TRY(still.begin());
  VARVE_TRY(check_repairable(*qcow2, qcow2->metadata()));
  try {
    return repair_metadata(qcow2->metadata(), what, options);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot keep what was found");
  }
}

}  // namespace varve
