// Waiting without threads: an operation that needs something stands in a WaitList and is resumed
// once.
//
// resume() is never called from inside the call that started the wait, so an operation may start a
// wait as its last act. Threads: the engine's thread only.
#pragma once

#include <varve/result.h>

#include "base/list.h"

namespace varve {

class Waiter : public ListNode<Waiter> {
 public:
  // What was waited for is there, or could not be had. The waiter may wait again at once.
  virtual void resume(const Result<void>& result) noexcept = 0;

 protected:
  ~Waiter() = default;
};

class WaitList {
 public:
  void add(Waiter& waiter) noexcept { waiters_.push_back(waiter); }
  [[nodiscard]] bool empty() const noexcept { return waiters_.empty(); }

  // First come, first resumed. Those who wait again during the call stand in the next round.
  void wake_all(const Result<void>& result) noexcept {
    List<Waiter> woken;
    woken.splice_back(waiters_);
    while (Waiter* waiter = woken.pop_front()) {
      waiter->resume(result);
    }
  }
  [[nodiscard]] Waiter* pop() noexcept { return waiters_.pop_front(); }
  void splice_back(WaitList& other) noexcept { waiters_.splice_back(other.waiters_); }

 private:
  List<Waiter> waiters_;
};

}  // namespace varve
