// Tells a process from a child it forked: a page that the kernel wipes in the child. Costs a load,
// where asking for the process's id costs a system call.
#pragma once

#include <atomic>

namespace varve::capi {

class ForkMark {
 public:
  ForkMark() noexcept;
  ForkMark(const ForkMark&) = delete;
  ForkMark& operator=(const ForkMark&) = delete;
  ~ForkMark();

  // False where the kernel cannot wipe pages (before Linux 4.14), or no page was to be had.
  [[nodiscard]] bool is_child() const noexcept {
    return mark_ != nullptr && mark_->load(std::memory_order_relaxed) == 0;
  }

 private:
  std::atomic<unsigned>* mark_ = nullptr;
};

}  // namespace varve::capi
