#include "image/write_operation.h"

#include "image/qcow2_image.h"

namespace varve {

void WriteOperation::advance(const Result<void>& result) noexcept {
  if (step_ == Step::preparing && result) {
    if (!image().metadata().first_write.is_done()) {
      image().metadata().first_write.prepare(*this);
      return;
    }
    step_ = Step::writing;
    const VectorCursor data(request().vectors, request().vector_count);
    if (writer_.start(image().write_target(), GuestOffset(request().offset), request().length, data,
                      *this)) {
      return;
    }
    step_ = Step::preparing;
    finish(writer_.result());
    return;
  }
  step_ = Step::preparing;
  finish(result);
}

void WriteOperation::recycle() noexcept {
  image().pools().writes.give_back(*this);
}

}  // namespace varve
