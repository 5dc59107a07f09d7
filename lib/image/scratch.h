// A bounded set of buffers for what cannot go straight between the caller's memory and the file:
// copies around a write, compressed clusters. Made when first needed, kept, and waited for when all
// are in use. Threads: the engine's thread only.
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"
#include "meta/waiter.h"

namespace varve {

class ScratchPool {
 public:
  ScratchPool(std::size_t buffer_bytes, std::size_t buffers_max) noexcept
      : buffer_bytes_(buffer_bytes), buffers_max_(buffers_max) {}

  // A buffer, or null: then the waiter is resumed when one is given back (ask again). An error is
  // no_memory.
  [[nodiscard]] Result<Buffer*> take(Waiter& waiter) noexcept;
  void give_back(Buffer& buffer) noexcept;
  [[nodiscard]] std::size_t buffer_bytes() const noexcept { return buffer_bytes_; }

 private:
  std::size_t buffer_bytes_;
  std::size_t buffers_max_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Buffer*> free_;
  WaitList waiters_;
};

}  // namespace varve
