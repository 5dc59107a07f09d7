// ScheduledStorage: requests in flight take effect one at a time, in the order a Schedule says; a
// test runs until the schedule has no other order left.
//
// Threads: the engine's. Lifetime: nothing may be in flight at its end.
#pragma once

#include <vector>

#include "sim/decorator_storage.h"

namespace varve::sim {

// Goes through every sequence of choices. REQUIRES: the same choices lead to the same questions.
class Schedule {
 public:
  // Which of `count` to take.
  [[nodiscard]] std::size_t choose(std::size_t count) {
    if (depth_ == choices_.size()) {
      choices_.push_back({0, count});
    }
    return choices_[depth_++].taken;
  }
  // Whether there is another one, which begins.
  [[nodiscard]] bool next() {
    depth_ = 0;
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().count) {
      choices_.pop_back();
    }
    if (choices_.empty()) {
      return false;
    }
    ++choices_.back().taken;
    return true;
  }

 private:
  struct Choice {
    std::size_t taken = 0;
    std::size_t count = 0;
  };
  std::vector<Choice> choices_;
  std::size_t depth_ = 0;
};

class ScheduledStorage final : public DecoratorStorage, private Engine::Source {
 public:
  explicit ScheduledStorage(std::unique_ptr<Storage> inner) : DecoratorStorage(std::move(inner)) {
    engine().add_source(*this);
  }
  ~ScheduledStorage() override { engine().remove_source(*this); }
  // Until then requests take effect as they come. The schedule outlives the storage.
  void follow(Schedule& schedule) noexcept { schedule_ = &schedule; }
  void submit(StorageRequest& request) noexcept override { held_.push_back(&request); }

 private:
  std::size_t advance() noexcept override {
    if (held_.empty()) {
      return 0;
    }
    const std::size_t taken = schedule_ != nullptr ? schedule_->choose(held_.size()) : 0;
    StorageRequest& request = *held_[taken];
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(taken));
    forward(request);
    return 1;
  }

  std::vector<StorageRequest*> held_;
  Schedule* schedule_ = nullptr;
};

}  // namespace varve::sim
