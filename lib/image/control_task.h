// What an image knows of a control operation under way on it: enough to end it when the image is
// closed. Threads: the engine's thread only.
#pragma once

#include "base/list.h"

namespace varve {

class ControlTask : public ListNode<ControlTask> {
 public:
  // The image is being closed: undoes what can be undone. The task leaves the image's list when it
  // has ended.
  virtual void abandon() noexcept = 0;
  // It stands still until its caller lets it go on, and nobody behind it has a turn before.
  [[nodiscard]] virtual bool stands_still() const noexcept = 0;

 protected:
  ~ControlTask() = default;
};

}  // namespace varve
