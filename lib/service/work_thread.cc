#include "service/work_thread.h"

#include <system_error>

#include "base/failure.h"

namespace varve {

Result<std::unique_ptr<WorkThread>> WorkThread::start(const EngineOptions& options) {
  auto started = std::make_unique<WorkThread>();
  try {
    WorkThread* self = started.get();
    started->thread_ = std::thread([self, options] { self->run(options); });
  } catch (const std::system_error&) {
    return failure(ErrorCode::no_memory, "cannot start a thread");
  }
  std::unique_lock lock(started->mutex_);
  started->changed_.wait(lock, [&] { return started->has_started_; });
  if (!started->started_) {
    const Error error = started->started_.error();
    lock.unlock();
    return error;
  }
  lock.unlock();
  return started;
}

WorkThread::~WorkThread() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void WorkThread::run(const EngineOptions& options) {
  auto engine = Engine::create(options);
  std::unique_lock lock(mutex_);
  if (engine) {
    engine_ = std::move(*engine);
  } else {
    started_ = engine.error();
  }
  has_started_ = true;
  changed_.notify_all();
  while (true) {
    changed_.wait(lock, [&] { return is_stopping_ || !queue_.empty(); });
    if (is_stopping_) {
      break;
    }
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
  queue_.clear();
  engine_.reset();
}

void WorkThread::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void WorkThread::call(const std::function<void()>& work) {
  bool is_done = false;
  post([&] {
    work();
    const std::lock_guard lock(mutex_);
    is_done = true;
    changed_.notify_all();
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_done; });
}

}  // namespace varve
