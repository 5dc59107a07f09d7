// Where requests wait while an image is paused or released.
// Threads: the engine's thread only.
#pragma once

#include <varve/image.h>

#include "base/request_queue.h"

namespace varve {

class Intake {
 public:
  bool is_paused = false;
  bool is_released = false;

  [[nodiscard]] bool is_open() const noexcept { return !is_paused && !is_released; }

  void hold(BlockRequest& request) noexcept {
    request.internal = BlockRequest::Private();
    waiting_.push(request);
  }
  // The next of those that wait, in order; null: none.
  [[nodiscard]] BlockRequest* take() noexcept { return waiting_.pop(); }

 private:
  RequestQueue<BlockRequest> waiting_;
};

}  // namespace varve
