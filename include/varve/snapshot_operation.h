// SnapshotOperation: creating, applying or deleting a snapshot behind running guest I/O.
//
// Start one with start_create, start_apply or start_delete; it advances inside Engine::poll and
// wait while guest requests go on. One operation per image works at a time; what a second one does
// is the caller's choice (OperationOptions::wait_for_turn).
//
// Closing the image ends its operations: what can be cancelled is, the rest runs to its end. A
// finished operation touches nothing of its image and may outlive it.
//
// Create can be taken in two steps, so that a hypervisor stops its guest only for the freeze of all
// its disks: start stepwise, wait for `ready`, freeze(), let the guest go on, publish(). Apply and
// delete, stepwise, stand still once they have switched (`reclaiming`), and give back after
// publish(): so several images switch before any of them forgets what it had.
//
// Threads: the image's. No call may be made from another thread. Calls that block (wait, the
// destructor of an unfinished operation) must not be made from a completion; the others may.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <varve/image.h>
#include <varve/result.h>
#include <varve/snapshot.h>
#include <varve/uuid.h>

namespace varve {

enum class SnapshotPhase : std::uint8_t {
  queued,      // Another operation has the image; this one waits for its turn.
  preparing,   // Claims what publishing needs. Guest requests go on as ever.
  ready,       // Create, stepwise: waits for freeze().
  frozen,      // Create, stepwise: the content is fixed; waits for publish().
  walking,     // Counts what the snapshot shares; apply: checks it. Guest requests go on, copying
               // what they change.
  publishing,  // The header is being written; nothing can be cancelled any more. Apply: the new
               // disk is served, and what it shares is counted first; flushes wait.
  reclaiming,  // Visible and durable already; gives back what nobody refers to any more.
  done,        // See result().
};

struct SnapshotProgress {
  SnapshotPhase phase = SnapshotPhase::queued;
  std::uint64_t clusters_done = 0;   // Of the walk under way ...
  std::uint64_t clusters_total = 0;  // ... of so many; an upper bound that is met at its end.
};

// Times are nanoseconds of the monotonic clock.
struct SnapshotTimes {
  std::uint64_t pause_nanoseconds = 0;   // Create: inside freeze. Apply: requests were held.
  std::uint64_t usable_nanoseconds = 0;  // From the start: create frozen, apply serving the new
                                         // disk, delete visible.
  std::uint64_t total_nanoseconds = 0;   // From the start to the end.
};

struct OperationOptions {
  bool wait_for_turn = false;  // While another operation works: wait, instead of `busy`.
  bool stepwise = false;       // Create: stop at `ready` and `frozen`; others at `reclaiming`.
  // Called from the engine's loop after every change of phase, `done` last (the operation may be
  // destroyed inside that call); may be null.
  void (*changed)(class SnapshotOperation& operation, void* owner) = nullptr;
  void* owner = nullptr;
};

class SnapshotOperation {
 public:
  // An unfinished operation is cancelled and run to its end (blocking).
  virtual ~SnapshotOperation() = default;
  SnapshotOperation(const SnapshotOperation&) = delete;
  SnapshotOperation& operator=(const SnapshotOperation&) = delete;

  [[nodiscard]] virtual SnapshotProgress progress() const noexcept = 0;
  [[nodiscard]] virtual SnapshotTimes times() const noexcept = 0;
  [[nodiscard]] bool is_done() const noexcept { return progress().phase == SnapshotPhase::done; }
  // REQUIRES: done.
  [[nodiscard]] virtual const Result<void>& result() const noexcept = 0;
  // Create: the new snapshot's id and UUID, known from the start of `preparing`.
  [[nodiscard]] virtual const std::string& id() const noexcept = 0;
  [[nodiscard]] virtual const Uuid& uuid() const noexcept = 0;

  // The pause: fixes the snapshot's content in memory. No I/O, no waiting: O(L1). Requests in
  // flight may be in the snapshot or not, per sector; what completed before is in it, what starts
  // afterwards is not. Errors: invalid_argument (not `ready`), poisoned.
  virtual Result<void> freeze() noexcept = 0;
  // Goes on from `frozen`; with a StateWriter attached (see state.h) it must be finished. Apply and
  // delete go on from `reclaiming`. Errors: invalid_argument (not there yet).
  virtual Result<void> publish() noexcept = 0;
  // Undoes everything when it comes before publication (apply: before the switch); the result is
  // then `cancelled`. Later it does nothing. Allowed in every phase, callbacks included.
  virtual void cancel() noexcept = 0;

  // Runs the engine until the phase is reached or passed. Errors: the result, when the operation
  // ends before; invalid_argument when it stands still, waiting for freeze() or publish(); busy
  // when it is queued behind one that does (it stays queued: nothing but that call helps).
  Result<void> wait_for(SnapshotPhase phase) noexcept;
  // Runs the engine until done; the result.
  Result<void> wait() noexcept { return wait_for(SnapshotPhase::done); }

 protected:
  explicit SnapshotOperation(Engine& engine) noexcept : engine_(&engine) {}
  // Stepwise and waiting for the caller.
  [[nodiscard]] virtual bool is_standing() const noexcept = 0;
  // Waiting for its turn behind an operation that is.
  [[nodiscard]] virtual bool is_behind_standing() const noexcept = 0;

 private:
  Engine* engine_;
};

// Start an operation. Errors at once, with nothing started: those of create_snapshot and so on that
// can be known (unsupported, read_only, not_found, busy, invalid_argument, poisoned, no_memory).
// Every other failure is the operation's result, and leaves the image as it was.
[[nodiscard]] Result<std::unique_ptr<SnapshotOperation>> start_create(
    Image& image, const SnapshotCreateOptions& options,
    const OperationOptions& operation = {}) noexcept;
[[nodiscard]] Result<std::unique_ptr<SnapshotOperation>> start_apply(
    Image& image, std::size_t index, const OperationOptions& operation = {}) noexcept;
[[nodiscard]] Result<std::unique_ptr<SnapshotOperation>> start_delete(
    Image& image, std::size_t index, const OperationOptions& operation = {}) noexcept;

}  // namespace varve
