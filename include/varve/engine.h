// Engine: the loop that carries I/O. It owns one io_uring, or a small pool of threads where the
// kernel refuses one, and belongs to the thread that created it. Callbacks run only inside poll()
// and wait().
//
// An embedder with a loop of its own watches event_fd() and calls poll() when it becomes readable,
// and submit_pending() after a batch of submissions made outside a callback.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <varve/result.h>
#include <varve/storage.h>

namespace varve {

enum class AioBackend : std::uint8_t {
  automatic,  // io_uring, else threads.
  io_uring,
  threads,
};

// How much a message matters. Errors the caller is told anyway are not logged.
enum class LogLevel : std::uint8_t {
  error,    // What is durable is unknown: a flush failed.
  warning,  // Something does not work as it was meant to; the library goes on another way.
  info,     // What an operator would like to read later.
};

struct EngineOptions {
  AioBackend backend = AioBackend::automatic;
  unsigned queue_depth = 256;  // Requests the ring holds; more wait in a queue without allocation.
  unsigned threads = 4;  // Size of the pool when threads are used; 0: opening a file fails instead.
  // Hears of what happens on the engine, from inside any call on it, on its thread. `text` is one
  // line without an end and lives as long as the call. Must not call the library. Null: nobody.
  void (*log)(void* owner, LogLevel level, const char* text) = nullptr;
  void* log_owner = nullptr;
};

class Engine {
 public:
  // Errors: unsupported (io_uring asked for and refused; os_errno says why), no_memory, io.
  [[nodiscard]] static Result<std::unique_ptr<Engine>> create(
      const EngineOptions& options = {}) noexcept;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  // REQUIRES: nothing in flight, every Storage of this engine destroyed.
  ~Engine();

  // io_uring or threads, never automatic.
  [[nodiscard]] AioBackend backend() const noexcept;

  // Readable when poll() has something to do. Owned by the engine.
  [[nodiscard]] int event_fd() const noexcept;

  // Hands batched submissions to the kernel. poll() and wait() do so themselves.
  void submit_pending() noexcept;

  // Runs what has completed, without blocking; the number of completions run.
  std::size_t poll() noexcept;

  // As poll(), but waits until at least one completion has run or `timeout_milliseconds` has passed
  // (-1: forever).
  std::size_t wait(int timeout_milliseconds = -1) noexcept;

  // For implementers of Storage, on the engine's thread: `request.complete` runs from the next poll
  // or wait.
  void post(StorageRequest& request, const Result<void>& result) noexcept;

  // The same from any thread; wakes event_fd().
  void post_from_any_thread(StorageRequest& request, const Result<void>& result) noexcept;

  // For the floors above: tells EngineOptions::log, where there is one. `subject` (a file's name)
  // and `cause` may be null.
  void log(LogLevel level, const char* what, const char* subject = nullptr,
           const Error* cause = nullptr) const noexcept;

  // Something that makes progress when polled, for simulated storages: called by poll() and wait();
  // returns how many completions it posted. wait() does not block while a source is registered.
  class Source {
   public:
    virtual ~Source() = default;
    virtual std::size_t advance() noexcept = 0;

   private:
    friend class Engine;
    Source* next_source_ = nullptr;
  };
  void add_source(Source& source) noexcept;
  void remove_source(Source& source) noexcept;

  // Internals reached by the file storages of lib/io.
  class Implementation;
  [[nodiscard]] Implementation& implementation() noexcept { return *implementation_; }
  explicit Engine(std::unique_ptr<Implementation> implementation) noexcept;  // For create().

 private:
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace varve
