// Checking an open image: behind its closed gate where it is open for writing.

#include <new>

#include <varve/check.h>

#include "base/failure.h"
#include "base/try.h"
#include "image/qcow2_image.h"
#include "maintenance/check_walk.h"
#include "meta/blocking_waiter.h"

namespace varve {
namespace {

// Snapshots beyond which a cluster may well have more references than a small cell counts.
constexpr std::size_t kManySnapshots = 1000;

// Makes the file tell what memory holds: everything is written, and what was given back is free.
Result<void> write_back(Metadata& metadata) noexcept {
  // Each round of drops makes counts dirty; what somebody still holds on to stays a leak for now.
  constexpr int kRoundsMax = 3;
  BlockingWaiter waiter(metadata.file->engine());
  for (int round = 0; round == 0 || (round < kRoundsMax && metadata.store.has_drops()); ++round) {
    metadata.commit.flush(waiter);
    VARVE_TRY(waiter.wait());
    metadata.reclaimer.wait_idle(waiter);
    VARVE_TRY(waiter.wait());
  }
  metadata.commit.flush(waiter);
  return waiter.wait();
}

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

Result<CheckReport> check_written(Metadata& metadata, const CheckOptions& options) noexcept {
  VARVE_TRY(write_back(metadata));
  return check_metadata(metadata, options);
}

}  // namespace

Result<CheckReport> check(Image& image, const CheckOptions& options) noexcept {
  auto* const qcow2 = dynamic_cast<Qcow2Image*>(&image.core());
  if (qcow2 == nullptr) {
    return failure(ErrorCode::unsupported, "only qcow2 images can be checked");
  }
  Metadata& metadata = qcow2->metadata();
  if (!metadata.is_writable) {
    return check_metadata(metadata, options);
  }
  if (!metadata.control.try_take()) {
    return failure(ErrorCode::busy, "another control operation is under way");
  }
  qcow2->close_gate_and_wait();
  Result<CheckReport> result = check_written(metadata, options);
  metadata.give_back_control();
  qcow2->open_gate();
  return result;
}

}  // namespace varve
