#include "meta/holds.h"

#include "base/mutation.h"

namespace varve {

bool Holds::conflicts(const Hold& a, const Hold& b) noexcept {
  const bool is_exclusive = a.mode_ == Hold::Mode::exclusive || b.mode_ == Hold::Mode::exclusive;
  return is_exclusive && a.begin_ < b.end_ && b.begin_ < a.end_;
}

bool Holds::conflicts_any(const List<Hold>& list, const Hold& hold, const Hold* before) noexcept {
  for (const Hold* other = list.front(); other != nullptr && other != before;
       other = list.next(*other)) {
    if (conflicts(*other, hold)) {
      return true;
    }
  }
  return false;
}

void Holds::grant(Hold& hold) noexcept {
  hold.is_held_ = true;
  (hold.mode_ == Hold::Mode::exclusive ? exclusive_ : shared_).push_back(hold);
}

bool Holds::take(Hold& hold, Hold::Mode mode, std::uint64_t begin, std::uint64_t end,
                 Waiter& waiter) noexcept {
  VARVE_ASSERT(!hold.is_held_ && begin < end);
  hold.mode_ = mode;
  hold.begin_ = begin;
  hold.end_ = end;
  hold.waiter_ = &waiter;
  const bool must_wait = conflicts_any(exclusive_, hold) || conflicts_any(waiting_, hold) ||
                         (mode == Hold::Mode::exclusive && conflicts_any(shared_, hold));
  if (must_wait && !is_broken(Rule::h1)) {
    waiting_.push_back(hold);
    return false;
  }
  grant(hold);
  return true;
}

void Holds::give_back(Hold& hold) noexcept {
  VARVE_ASSERT(hold.is_held_);
  List<Hold>::remove(hold);
  hold.is_held_ = false;
  if (is_granting_) {
    return;  // A resumed holder gave back at once: the loop below looks again.
  }
  is_granting_ = true;
  while (Hold* next = find_grantable()) {
    List<Hold>::remove(*next);
    grant(*next);
    next->waiter_->resume({});
  }
  is_granting_ = false;
}

Hold* Holds::find_grantable() const noexcept {
  for (Hold* waiting = waiting_.front(); waiting != nullptr; waiting = waiting_.next(*waiting)) {
    if (!conflicts_any(exclusive_, *waiting) && !conflicts_any(shared_, *waiting) &&
        !conflicts_any(waiting_, *waiting, waiting)) {
      return waiting;
    }
  }
  return nullptr;
}

}  // namespace varve
