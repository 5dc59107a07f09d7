// Holds on guest clusters (H1): a request that changes a mapping holds its clusters exclusively
// from planning to linking; in-place writes hold them shared. Granted in the order asked where they
// conflict, so nobody starves. A holder holds one range at a time, so holds cannot deadlock.
// Threads: the engine's thread only.
#pragma once

#include <cstdint>

#include "base/list.h"
#include "meta/waiter.h"

namespace varve {

class Holds;

class Hold final : public ListNode<Hold> {
 public:
  enum class Mode : std::uint8_t { shared, exclusive };
  [[nodiscard]] bool is_held() const noexcept { return is_held_; }

 private:
  friend class Holds;
  std::uint64_t begin_ = 0;  // Guest clusters [begin_, end_).
  std::uint64_t end_ = 0;
  Mode mode_ = Mode::shared;
  bool is_held_ = false;
  Waiter* waiter_ = nullptr;
};

class Holds {
 public:
  // True: granted. False: the waiter is resumed when it is granted.
  [[nodiscard]] bool take(Hold& hold, Hold::Mode mode, std::uint64_t begin, std::uint64_t end,
                          Waiter& waiter) noexcept;
  void give_back(Hold& hold) noexcept;
  [[nodiscard]] bool empty() const noexcept {
    return shared_.empty() && exclusive_.empty() && waiting_.empty();
  }

 private:
  [[nodiscard]] static bool conflicts(const Hold& a, const Hold& b) noexcept;
  [[nodiscard]] static bool conflicts_any(const List<Hold>& list, const Hold& hold,
                                          const Hold* before = nullptr) noexcept;
  void grant(Hold& hold) noexcept;
  [[nodiscard]] Hold* find_grantable() const noexcept;

  List<Hold> shared_;
  List<Hold> exclusive_;
  List<Hold> waiting_;
  bool is_granting_ = false;
};

}  // namespace varve
