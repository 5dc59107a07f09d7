// The stand-in for io_uring: a few threads that carry out system calls.
//
// Threads: everything here is called on the engine's thread.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <varve/result.h>

#include "base/request_queue.h"
#include "io/mailbox.h"

namespace varve {

class ThreadPool {
 public:
  explicit ThreadPool(Mailbox& mailbox) noexcept : mailbox_(mailbox) {}
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  // REQUIRES: nothing in flight.
  ~ThreadPool();

  // Starts the threads, the first time it is called.
  [[nodiscard]] Result<void> start_threads(unsigned count) noexcept;

  // Queues the request's next system call; submit() hands the batch to the threads.
  void start(StorageRequest& request) noexcept { batch_.push(request); }
  void submit() noexcept;

 private:
  void work() noexcept;

  Mailbox& mailbox_;
  RequestQueue<StorageRequest> batch_;
  std::mutex mutex_;
  std::condition_variable available_;
  RequestQueue<StorageRequest> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace varve
