#include "image/scratch.h"

#include <new>

#include "base/failure.h"
#include "base/try.h"

namespace varve {

Result<Buffer*> ScratchPool::take(Waiter& waiter) noexcept {
  if (!free_.empty()) {
    Buffer* buffer = free_.back();
    free_.pop_back();
    return buffer;
  }
  if (buffers_.size() < buffers_max_) {
    try {
      free_.reserve(buffers_max_);
      buffers_.reserve(buffers_max_);
      Buffer buffer = VARVE_TRY(Buffer::allocate(buffer_bytes_));
      buffers_.push_back(std::make_unique<Buffer>(std::move(buffer)));
      return buffers_.back().get();
    } catch (const std::bad_alloc&) {
      return failure(ErrorCode::no_memory, "cannot allocate a copy buffer");
    }
  }
  waiters_.add(waiter);
  return static_cast<Buffer*>(nullptr);
}

void ScratchPool::give_back(Buffer& buffer) noexcept {
  free_.push_back(&buffer);
  // One that no longer wants it leaves it to the next.
  while (!free_.empty() && !waiters_.empty()) {
    waiters_.pop()->resume({});
  }
}

}  // namespace varve
