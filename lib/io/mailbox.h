// Where other threads leave requests for the engine's thread, and how they wake it.
//
// Threads: put() from any, the rest on the engine's.
#pragma once

#include <atomic>
#include <mutex>

#include <varve/storage.h>

#include "base/request_queue.h"
#include "io/event.h"

namespace varve {

class Mailbox {
 public:
  // `wake` ends a wait of the engine's thread; `outside` is what the embedder watches.
  Mailbox(const Event& wake, const Event& outside) noexcept : wake_(wake), outside_(outside) {}

  enum class Kind : std::uint8_t {
    completion,   // The request is done; its result is in internal.result.
    system_call,  // A thread of the pool has carried out its call.
  };
  void put(StorageRequest& request, Kind kind) noexcept;

  // Moves what has come to the two queues.
  void take(RequestQueue<StorageRequest>& completions,
            RequestQueue<StorageRequest>& system_calls) noexcept;

  // From now on the outside event is signalled too.
  void expose() noexcept;

  // Declares that the engine's thread is about to wait on `wake`; false when there is mail, and
  // then it must not. After the wait: awake().
  [[nodiscard]] bool begin_sleep() noexcept;
  void awake() noexcept;

 private:
  const Event& wake_;
  const Event& outside_;
  std::atomic<bool> has_mail_ = false;  // Lets take() skip the lock.
  std::mutex mutex_;
  RequestQueue<StorageRequest> completions_;
  RequestQueue<StorageRequest> system_calls_;
  bool sleeping_ = false;
  bool exposed_ = false;
};

}  // namespace varve
