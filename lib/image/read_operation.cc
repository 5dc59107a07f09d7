#include "image/read_operation.h"

#include "image/qcow2_image.h"

namespace varve {

void ReadOperation::advance(const Result<void>& result) noexcept {
  if (!is_started_) {
    is_started_ = true;
    const VectorCursor target(request().vectors, request().vector_count);
    if (reader_.start(image().read_source(), GuestOffset(request().offset), request().length,
                      target, *this)) {
      return;
    }
    is_started_ = false;
    finish(reader_.result());
    return;
  }
  is_started_ = false;
  finish(result);
}

void ReadOperation::recycle() noexcept {
  image().pools().reads.give_back(*this);
}

}  // namespace varve
