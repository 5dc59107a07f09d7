// The thread a service starts when asked: an executor with an engine of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include <varve/service.h>

namespace varve {

class WorkThread final : public Executor {
 public:
  // Errors: those of Engine::create.
  [[nodiscard]] static Result<std::unique_ptr<WorkThread>> start(const EngineOptions& options);
  // Work that is queued is dropped, work that runs is waited for.
  WorkThread() = default;  // For start().
  ~WorkThread() override;

  void post(std::function<void()> work) override;
  // Runs `work` there and waits for its end. REQUIRES: not called from the thread.
  void call(const std::function<void()>& work);
  [[nodiscard]] Engine& engine() noexcept { return *engine_; }

 private:
  void run(const EngineOptions& options);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool is_stopping_ = false;
  bool has_started_ = false;
  Result<void> started_;
  std::unique_ptr<Engine> engine_;  // Made and destroyed by the thread.
  std::thread thread_;
};

}  // namespace varve
