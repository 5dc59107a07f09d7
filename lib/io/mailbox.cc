#include "io/mailbox.h"

namespace varve {

void Mailbox::put(StorageRequest& request, Kind kind) noexcept {
  // The request may be gone as soon as the lock is released, and so may the engine once the thread
  // that owns it has seen the mail: everything is touched under the lock.
  const std::lock_guard lock(mutex_);
  const bool was_empty = completions_.empty() && system_calls_.empty();
  (kind == Kind::completion ? completions_ : system_calls_).push(request);
  has_mail_.store(true, std::memory_order_release);
  if (sleeping_) {
    sleeping_ = false;
    wake_.signal();
  }
  if (exposed_ && was_empty) {
    outside_.signal();
  }
}

void Mailbox::take(RequestQueue<StorageRequest>& completions,
                   RequestQueue<StorageRequest>& system_calls) noexcept {
  if (!has_mail_.load(std::memory_order_acquire)) {
    return;
  }
  const std::lock_guard lock(mutex_);
  completions.append(completions_);
  system_calls.append(system_calls_);
  has_mail_.store(false, std::memory_order_relaxed);
}

void Mailbox::expose() noexcept {
  const std::lock_guard lock(mutex_);
  exposed_ = true;
  outside_.signal();
}

bool Mailbox::begin_sleep() noexcept {
  const std::lock_guard lock(mutex_);
  if (!completions_.empty() || !system_calls_.empty()) {
    return false;
  }
  sleeping_ = true;
  return true;
}

void Mailbox::awake() noexcept {
  const std::lock_guard lock(mutex_);
  if (!sleeping_) {
    wake_.reset();
  }
  sleeping_ = false;
}

}  // namespace varve
