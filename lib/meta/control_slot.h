// The one slot of an image for control operations (H5), and the queue before it.
// Threads: the engine's thread only.
#pragma once

#include "base/list.h"
#include "base/mutation.h"
#include "meta/waiter.h"

namespace varve {

class ControlSlot {
 public:
  [[nodiscard]] bool is_taken() const noexcept { return is_taken_; }
  // False: another operation has it.
  [[nodiscard]] bool try_take() noexcept {
    if (is_taken_ && !is_broken(Rule::h5)) {
      return false;
    }
    is_taken_ = true;
    return true;
  }
  // Waits for the slot; first come, first served. REQUIRES: is_taken().
  void wait(Waiter& waiter) noexcept { queue_.push_back(waiter); }
  // Stops waiting. False: the waiter has the slot already and will be resumed.
  [[nodiscard]] bool withdraw(Waiter& waiter) noexcept {
    for (Waiter* queued = queue_.front(); queued != nullptr; queued = queue_.next(*queued)) {
      if (queued == &waiter) {
        List<Waiter>::remove(waiter);
        return true;
      }
    }
    return false;
  }
  // The operation is over. Who has the slot now and must be resumed; null: nobody.
  [[nodiscard]] Waiter* pass_on() noexcept {
    Waiter* next = queue_.pop_front();
    is_taken_ = next != nullptr;
    return next;
  }

 private:
  bool is_taken_ = false;
  List<Waiter> queue_;
};

}  // namespace varve
