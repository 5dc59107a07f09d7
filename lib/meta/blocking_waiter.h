// For straight-line code: waits by running the engine. Not inside a completion.
#pragma once

#include <varve/engine.h>

#include "meta/waiter.h"

namespace varve {

class BlockingWaiter final : public Waiter {
 public:
  explicit BlockingWaiter(Engine& engine) noexcept : engine_(&engine) {}

  // Runs the engine until resumed; ready for the next wait afterwards.
  Result<void> wait() noexcept {
    while (!is_resumed_) {
      engine_->wait();
    }
    is_resumed_ = false;
    return result_;
  }
  void resume(const Result<void>& result) noexcept override {
    result_ = result;
    is_resumed_ = true;
  }

 private:
  Engine* engine_;
  Result<void> result_;
  bool is_resumed_ = false;
};

}  // namespace varve
