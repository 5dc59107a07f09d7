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
  is_flushing_ = true;
  image().metadata().commit.flush(*this);
}

void FlushOperation::recycle() noexcept {
  image().pools().flushes.give_back(*this);
}

}  // namespace varve
