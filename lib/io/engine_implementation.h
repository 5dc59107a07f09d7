// The engine's inside: queues of completions, sources, and the ring or the pool that carries system
// calls.
//
// Threads: the engine's own, apart from `mailbox`.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include <varve/engine.h>

#include "base/request_queue.h"
#include "io/event.h"
#include "io/mailbox.h"
#include "io/system_call.h"
#include "io/thread_pool.h"
#include "io/uring_loop.h"

namespace varve {

class Engine::Implementation {
 public:
  Implementation(Event&& wake, Event&& outside, const EngineOptions& options) noexcept;
  [[nodiscard]] Result<void> choose_backend() noexcept;

  // --- For file storages ---

  // Makes the engine able to carry the file's calls. Errors: unsupported (no io_uring and no
  // threads allowed), or what starting threads gave.
  [[nodiscard]] Result<void> attach(SystemFile& file) noexcept;
  void detach(SystemFile& file) noexcept;
  // Starts the request's next system call; its file hears of the result.
  void start(StorageRequest& request) noexcept;

  // --- What Engine offers ---

  [[nodiscard]] AioBackend backend() const noexcept {
    return uring_ != nullptr ? AioBackend::io_uring : AioBackend::threads;
  }
  [[nodiscard]] int event_descriptor() noexcept;
  void submit_pending() noexcept;
  std::size_t poll() noexcept;
  std::size_t wait(int timeout_milliseconds) noexcept;
  void post(StorageRequest& request, const Result<void>& result) noexcept;
  [[nodiscard]] Mailbox& mailbox() noexcept { return mailbox_; }
  void add_source(Source& source) noexcept;
  void remove_source(Source& source) noexcept;

  [[nodiscard]] const EngineOptions& options() const noexcept { return options_; }

  // System calls started so far, for tests and statistics.
  [[nodiscard]] std::uint64_t system_call_count() const noexcept { return system_call_count_; }
  // REQUIRES: nothing in flight. Checked when the engine ends.
  [[nodiscard]] bool is_idle() const noexcept { return !has_calls_in_flight() && ready_.empty(); }

 private:
  [[nodiscard]] bool has_calls_in_flight() const noexcept {
    return uring_ != nullptr ? !uring_->is_idle() : pool_calls_ != 0;
  }
  std::size_t run_once() noexcept;
  void collect() noexcept;
  void advance_sources() noexcept;
  std::size_t run_ready() noexcept;
  void block(int timeout_milliseconds) noexcept;

  const Event wake_;
  const Event outside_;
  const EngineOptions options_;
  Mailbox mailbox_;
  RequestQueue<StorageRequest> ready_;  // Done; `complete` has yet to run.
  Source* sources_ = nullptr;
  Source* next_source_ = nullptr;  // While advance_sources runs.
  bool exposed_ = false;           // The embedder watches `outside_`.
  bool signalled_ = false;         // `outside_` is, because of ready_.
  std::uint64_t system_call_count_ = 0;
  std::size_t pool_calls_ = 0;  // In flight in the pool.
  // One of the two.
  std::unique_ptr<UringLoop> uring_;
  std::optional<ThreadPool> pool_;
};

}  // namespace varve
