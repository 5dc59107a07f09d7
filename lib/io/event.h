// An eventfd: a descriptor that is readable once somebody has signalled it.
#pragma once

#include <varve/result.h>

namespace varve {

class Event {
 public:
  static Result<Event> create() noexcept;
  Event() = default;
  Event(Event&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  Event& operator=(Event&&) = delete;
  ~Event();

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  void signal() const noexcept;  // Any thread.
  void reset() const noexcept;
  // Until signalled, or `timeout_milliseconds` have passed (-1: forever), or a signal came.
  void wait(int timeout_milliseconds) const noexcept;

 private:
  int descriptor_ = -1;
};

}  // namespace varve
