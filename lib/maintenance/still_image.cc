#include "maintenance/still_image.h"

#include "base/failure.h"
#include "base/try.h"
#include "meta/blocking_waiter.h"

namespace varve {
namespace {

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

}  // namespace

Result<void> StillImage::begin() noexcept {
  Metadata& metadata = image_.metadata();
  if (!metadata.is_writable) {
    return {};
  }
  if (!metadata.control.try_take()) {
    return failure(ErrorCode::busy, "another control operation is under way");
  }
  is_held_ = true;
  image_.close_gate_and_wait();
  return write_back(metadata);
}

StillImage::~StillImage() {
  if (is_held_) {
    image_.metadata().give_back_control();
    image_.open_gate();
  }
}

}  // namespace varve
