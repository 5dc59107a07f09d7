// One io_uring: system calls of file requests go in, results come out. The only user of liburing.
//
// Threads: one, the creator's (the kernel enforces it).
#pragma once

#include <cstdint>
#include <memory>

#include <varve/result.h>
#include <varve/storage.h>

#include "base/request_queue.h"
#include "io/event.h"

namespace varve {

class UringLoop {
  struct Ring;

 public:
  UringLoop(std::unique_ptr<Ring> ring, const Event& wake) noexcept;  // For create().
  // Errors: unsupported (refused; os_errno says why), no_memory.
  [[nodiscard]] static Result<std::unique_ptr<UringLoop>> create(unsigned depth,
                                                                 const Event& wake) noexcept;
  UringLoop(const UringLoop&) = delete;
  UringLoop& operator=(const UringLoop&) = delete;
  // REQUIRES: nothing in flight.
  ~UringLoop();

  // Puts the file into the ring's table, which saves the kernel a lookup per call. -1: no room.
  [[nodiscard]] int register_file(int descriptor) noexcept;
  void unregister_file(int slot) noexcept;

  // From now on `event` is signalled when there is something to collect.
  void expose(const Event& event) noexcept;

  // Queues the request's next system call, or the request itself while the ring is full.
  void start(StorageRequest& request) noexcept;

  // Hands what is queued to the kernel, without waiting.
  void submit() noexcept;

  // Hands results that are there to their files. Enters the kernel only where that is needed to see
  // them.
  void collect() noexcept;

  // submit(), then waits until a result is there, `wake` is signalled, a signal came or the time
  // has passed (-1: forever). Does not collect.
  void wait(int timeout_milliseconds) noexcept;

  [[nodiscard]] bool is_idle() const noexcept;

  // Calls handed to the ring since it was made, for tests and statistics.
  [[nodiscard]] std::uint64_t call_count() const noexcept { return call_count_; }

 private:
  void fill(StorageRequest& request) noexcept;
  void refill() noexcept;
  void run_blocking_calls() noexcept;
  void watch_wake() noexcept;
  void check_entered(int result) noexcept;

  std::unique_ptr<Ring> ring_;
  const Event& wake_;
  RequestQueue<StorageRequest> waiting_;         // No room in the ring yet.
  RequestQueue<StorageRequest> blocking_calls_;  // Calls this kernel's io_uring does not know.
  std::uint32_t in_flight_ = 0;
  std::uint64_t call_count_ = 0;
  bool wake_watched_ = false;
};

}  // namespace varve
