// Snapshot operations: creating, applying and deleting behind running guest I/O.
//
// Start one; it advances inside varve_engine_poll and wait while guest requests go on. One
// operation per image works at a time. Stepwise, a creation stops at `ready` and `frozen`, so that
// a hypervisor stops its guest only for the freeze of all its disks:
//
//   start (stepwise) ... ready: stop the guest, freeze every disk, let it go on, publish ... done
//
// A failed or cancelled operation leaves the image as it was.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>
#include <varve/c/snapshot.h>

VARVE_C_BEGIN

typedef struct varve_operation varve_operation;

enum {
  VARVE_PHASE_QUEUED = 0,      // Waits for another operation on the image.
  VARVE_PHASE_PREPARING = 1,   // Claims what publishing needs.
  VARVE_PHASE_READY = 2,       // Create, stepwise: waits for freeze.
  VARVE_PHASE_FROZEN = 3,      // Create, stepwise: the content is fixed; waits for publish.
  VARVE_PHASE_WALKING = 4,     // Counts what the snapshot shares; apply: checks it.
  VARVE_PHASE_PUBLISHING = 5,  // Nothing can be cancelled any more. Apply: the new disk is served.
  VARVE_PHASE_RECLAIMING = 6,  // Visible and durable; gives back what nobody refers to.
  VARVE_PHASE_DONE = 7
};

enum {
  VARVE_OPERATION_WAIT_FOR_TURN = 1,  // While another operation works: wait, instead of busy.
  VARVE_OPERATION_STEPWISE = 2        // Create: stop at ready and frozen; others at reclaiming.
};

typedef struct varve_operation_options {
  size_t size;
  uint32_t flags;  // VARVE_OPERATION_...
  uint32_t reserved;
  // Called from poll or wait after every change of phase, done last. The operation may be closed
  // inside the call that tells done; blocking calls are refused there. May be NULL.
  void (*changed)(void* owner, varve_operation* operation);
  void* owner;
} varve_operation_options;

// Start an operation; options may be NULL. What can be known at once is an error at once, with
// nothing started; every other failure is the operation's result. Never blocks. Freed by
// varve_operation_close.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child.
// Errors: VARVE_UNSUPPORTED, VARVE_READ_ONLY, VARVE_NOT_FOUND, VARVE_BUSY, VARVE_POISONED,
// VARVE_NO_MEMORY, VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_operation_start_create(varve_image* image,
                                                  const varve_snapshot_options* snapshot,
                                                  const varve_operation_options* options,
                                                  varve_operation** operation, varve_error* error);
// As start_create. Threads: the engine's. Fork: not in the child.
VARVE_API varve_code varve_operation_start_apply(varve_image* image, size_t index,
                                                 const varve_operation_options* options,
                                                 varve_operation** operation, varve_error* error);
// As start_create. Threads: the engine's. Fork: not in the child.
VARVE_API varve_code varve_operation_start_delete(varve_image* image, size_t index,
                                                  const varve_operation_options* options,
                                                  varve_operation** operation, varve_error* error);

typedef struct varve_progress {
  size_t size;
  uint32_t phase;  // VARVE_PHASE_...
  uint32_t reserved;
  uint64_t clusters_done;   // Of the walk under way ...
  uint64_t clusters_total;  // ... of so many; an upper bound that is met at its end.
  // Nanoseconds of the monotonic clock:
  uint64_t pause_nanoseconds;   // Create: inside freeze. Apply: requests were held.
  uint64_t usable_nanoseconds;  // From the start: create frozen, apply serving, delete visible.
  uint64_t total_nanoseconds;   // From the start to the end.
  varve_uuid uuid;              // Create: the new snapshot's, from `preparing` on.
  char id[16];
} varve_progress;

// How far it is, and what it cost so far. No I/O.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child.
// Errors: VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_operation_get_progress(const varve_operation* operation,
                                                  varve_progress* progress);

// Create, stepwise, at `ready`: fixes the snapshot's content in memory. This is the guest's pause:
// no I/O, no waiting. What completed before is in the snapshot, what starts afterwards is not.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child.
// Errors: VARVE_INVALID_ARGUMENT (not at ready), VARVE_POISONED.
VARVE_API varve_code varve_operation_freeze(varve_operation* operation, varve_error* error);

// Goes on from `frozen` (a state writer attached must be finished), or from `reclaiming`.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child.
// Errors: VARVE_INVALID_ARGUMENT (not there yet).
VARVE_API varve_code varve_operation_publish(varve_operation* operation, varve_error* error);

// Undoes everything when it comes before publication (apply: before the switch); the result is then
// VARVE_CANCELLED. Later it does nothing.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child.
VARVE_API void varve_operation_cancel(varve_operation* operation);

// Runs the engine until `phase` is reached or passed. Blocking.
// Threads: the engine's. Fork: not in the child. Errors: the result, when the operation ends
// before; VARVE_INVALID_ARGUMENT (it stands still, waiting for freeze or publish), VARVE_BUSY
// (callback).
VARVE_API varve_code varve_operation_wait_for(varve_operation* operation, uint32_t phase,
                                              varve_error* error);

// The result of an operation that is done. No I/O. Threads: the engine's; allowed inside callbacks.
// Fork: not in the child. Errors: VARVE_BUSY (not done yet), else what went wrong.
VARVE_API varve_code varve_operation_get_result(const varve_operation* operation,
                                                varve_error* error);

// Frees the handle; an operation that is not done is cancelled and run to its end, blocking.
// Threads: the engine's; inside callbacks only when it is done. Fork: not in the child.
// Errors: VARVE_BUSY (not done, inside a callback).
VARVE_API varve_code varve_operation_close(varve_operation* operation, varve_error* error);

VARVE_C_END
