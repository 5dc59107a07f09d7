#include "image/operation.h"

#include <utility>

#include "image/qcow2_image.h"

namespace varve {

void Operation::begin(BlockRequest& request) noexcept {
  request_ = &request;
  era_ = image_->metadata().eras.enter();
  advance({});
}

void Operation::resume(const Result<void>& result) noexcept {
  if (is_deferred_) {
    is_deferred_ = false;
    finish(request_->internal.result);
    return;
  }
  advance(result);
}

void Operation::finish(const Result<void>& result) noexcept {
  if (image_->is_submitting()) {
    // The caller is still inside submit: complete from the engine's loop.
    request_->internal.result = result;
    is_deferred_ = true;
    image_->metadata().defer(*this, {});
    return;
  }
  BlockRequest& request = *std::exchange(request_, nullptr);
  Qcow2Image& image = *image_;
  const Result<void> outcome = result;
  image.metadata().leave_era(era_);
  recycle();
  image.latency.end(request);
  request.complete(request, outcome);
  image.operation_ended();
}

}  // namespace varve
