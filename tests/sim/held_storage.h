// HeldStorage: keeps requests of one tag and kind back until the test lets them go, one at a time,
// so that others overtake them.
//
// Threads: the engine's. Lifetime: the list outlives the storage, and is empty at its end.
#pragma once

#include <vector>

#include "sim/decorator_storage.h"

namespace varve::sim {

struct HeldRequests {
  // What is kept back; none: nothing.
  IoTag tag = IoTag::none;
  StorageOperation operation = StorageOperation::write;

  [[nodiscard]] bool empty() const noexcept { return requests_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return requests_.size(); }
  // The first takes effect, or fails.
  void let_go(const Result<void>& result = {});
  void let_all_go() {
    tag = IoTag::none;
    while (!empty()) {
      let_go();
    }
  }

 private:
  friend class HeldStorage;
  struct Held {
    class HeldStorage* storage = nullptr;
    StorageRequest* request = nullptr;
  };
  std::vector<Held> requests_;
};

class HeldStorage final : public DecoratorStorage {
 public:
  HeldStorage(std::unique_ptr<Storage> inner, HeldRequests& held) noexcept
      : DecoratorStorage(std::move(inner)), held_(held) {}
  void submit(StorageRequest& request) noexcept override {
    if (request.tag == held_.tag && request.operation == held_.operation) {
      held_.requests_.push_back({this, &request});
    } else {
      forward(request);
    }
  }

 private:
  friend struct HeldRequests;
  void let_go(StorageRequest& request, const Result<void>& result) {
    if (result) {
      forward(request);
    } else {
      engine().post(request, result);
    }
  }
  HeldRequests& held_;
};

inline void HeldRequests::let_go(const Result<void>& result) {
  const Held held = requests_.front();
  requests_.erase(requests_.begin());
  held.storage->let_go(*held.request, result);
}

}  // namespace varve::sim
