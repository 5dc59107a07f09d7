// Where requests wait while an image is paused or released.
// Threads: the engine's thread only.
#pragma once

#include <utility>

#include <varve/image.h>

namespace varve {

class Intake {
 public:
  bool is_paused = false;
  bool is_released = false;

  [[nodiscard]] bool is_open() const noexcept { return !is_paused && !is_released; }

  void hold(BlockRequest& request) noexcept {
    request.internal = BlockRequest::Private();
    (last_ != nullptr ? last_->internal.next : first_) = &request;
    last_ = &request;
  }
  // The next of those that wait, in order; null: none.
  [[nodiscard]] BlockRequest* take() noexcept {
    BlockRequest* request = first_;
    if (request != nullptr) {
      first_ = std::exchange(request->internal.next, nullptr);
      last_ = first_ == nullptr ? nullptr : last_;
    }
    return request;
  }

 private:
  BlockRequest* first_ = nullptr;
  BlockRequest* last_ = nullptr;
};

}  // namespace varve
