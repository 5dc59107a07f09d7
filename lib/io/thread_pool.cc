#include "io/thread_pool.h"

#include <cerrno>
#include <new>
#include <system_error>

#include <signal.h>

#include "base/assert.h"
#include "base/failure.h"
#include "io/file_request.h"

namespace varve {

Result<void> ThreadPool::start_threads(unsigned count) noexcept {
  if (!threads_.empty()) {
    return {};
  }
  // The embedder's signal handlers must not run on our threads.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Result<void> result;
  try {
    threads_.reserve(count);
    for (unsigned i = 0; i < count; ++i) {
      threads_.emplace_back([this] { work(); });
    }
  } catch (const std::bad_alloc&) {
    result = failure(ErrorCode::no_memory, "cannot start a thread");
  } catch (const std::system_error& error) {
    result = system_failure(error.code().value(), IoTag::none, Error::kNoOffset,
                            "cannot start a thread");
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  // Fewer threads than asked for still do the work.
  return threads_.empty() ? result : Result<void>();
}

ThreadPool::~ThreadPool() {
  VARVE_ASSERT(batch_.empty());
  {
    const std::lock_guard lock(mutex_);
    VARVE_ASSERT(queue_.empty());
    stopping_ = true;
  }
  available_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void ThreadPool::submit() noexcept {
  if (batch_.empty()) {
    return;
  }
  const bool several = batch_.size() > 1;
  {
    const std::lock_guard lock(mutex_);
    queue_.append(batch_);
  }
  if (several) {
    available_.notify_all();
  } else {
    available_.notify_one();
  }
}

void ThreadPool::work() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    available_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    StorageRequest* request = queue_.pop();
    if (request == nullptr) {
      return;
    }
    lock.unlock();
    FileRequest file_request(*request);
    const SystemFile& file = file_request.file();
    file_request.set_system_result(run_system_call(file.descriptor, file.next_call(*request)));
    mailbox_.put(*request, Mailbox::Kind::system_call);
    lock.lock();
  }
}

}  // namespace varve
