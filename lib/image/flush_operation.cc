#include "image/flush_operation.h"

#include <utility>

#include "image/qcow2_image.h"

namespace varve {

void FlushOperation::advance(const Result<void>& result) noexcept {
  if (is_flushing_) {
    is_flushing_ = false;
    finish(result);
    return;
  }
  const FixedAnswer answer = std::exchange(answer_, FixedAnswer());
  if (answer.is_set || !image().metadata().is_writable) {
    finish(answer.result);
    return;
  }
  if (image().metadata().are_flushes_held()) {
    image().metadata().wait_to_flush(*this);
    return;
  }
  is_flushing_ = true;
  image().metadata().commit.flush(*this);
}

void FlushOperation::recycle() noexcept {
  image().pools().flushes.give_back(*this);
}

}  // namespace varve
