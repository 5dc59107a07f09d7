// Group snapshots: several images of one machine, taken, applied and deleted together, all or
// nothing, also across a crash.
//
// Images are given as an array of handles; all belong to the calling thread, and may have engines
// of their own. Opening a machine's images again, call varve_group_settle before guest I/O.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>
#include <varve/c/snapshot.h>

VARVE_C_BEGIN

// What the caller does between the steps. Blocking calls are allowed inside. Each may be NULL.
typedef struct varve_group_steps {
  size_t size;
  void* owner;
  varve_code (*stop)(void* owner);  // All is prepared: stop the guest. A code cancels.
  void (*resume)(void* owner);      // Every image is frozen: the guest may go on.
  varve_code (*save)(void* owner);  // The state must be finished by the end. A code cancels.
} varve_group_steps;

typedef struct varve_group_created {
  size_t size;
  uint64_t pause_nanoseconds;  // From the first freeze to the last.
  varve_uuid group;
} varve_group_created;

// Takes one snapshot of each image; the state goes with the first, and `options->uuid` is its.
// `options`, `steps` and `created` may be NULL. Blocking. Durable.
// Threads: the engines'. Fork: not in the child.
// Errors: as varve_snapshot_create; a step's code; VARVE_INVALID_ARGUMENT (no image, or one twice);
// VARVE_OUT_OF_RANGE (too many members). On error no image keeps a member, except after a failure
// of a device: varve_group_settle then.
VARVE_API varve_code varve_group_create(varve_image* const* images, size_t count,
                                        const varve_snapshot_options* options,
                                        const varve_group_steps* steps,
                                        varve_group_created* created, varve_error* error);

typedef struct varve_group_info {
  size_t size;
  varve_uuid group;
  uint32_t is_pending;     // Not committed, or not completed: settle.
  uint32_t member_count;   // As the group remembers ...
  uint32_t missing_count;  // ... and of these, not found in the images given.
  uint32_t reserved;
} varve_group_info;

// Fills up to `capacity` of `groups`, whose first one's `size` counts for all; *count becomes the
// number there are. No I/O. Threads: the engines'. Fork: not in the child. Errors: VARVE_NO_MEMORY,
// VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_group_list(varve_image* const* images, size_t image_count,
                                      varve_group_info* groups, size_t capacity, size_t* count,
                                      varve_error* error);

// Work on the members that are there. A crash inside is rolled forward by varve_group_settle.
// Blocking. Durable. Threads: the engines'. Fork: not in the child.
// Errors: VARVE_NOT_FOUND (no member), VARVE_BUSY (pending: settle), and as for one snapshot.
VARVE_API varve_code varve_group_apply(varve_image* const* images, size_t count,
                                       const varve_uuid* group, varve_error* error);
// As varve_group_apply. Threads: the engines'. Fork: not in the child.
VARVE_API varve_code varve_group_delete(varve_image* const* images, size_t count,
                                        const varve_uuid* group, varve_error* error);

typedef struct varve_group_settlement {
  size_t size;
  uint64_t completed;  // Groups committed or begun before the crash: now whole.
  uint64_t removed;    // Groups not committed: their pending members are gone.
  uint64_t undecided;  // Groups whose committing image is not among those given: left alone.
  uint64_t missing;    // Members, of the groups settled, that nobody has.
} varve_group_settlement;

// Finishes what a crash left between these images; give all images of the machine, with no guest
// I/O in flight. `settlement` may be NULL. Blocking. Durable; calling it again changes nothing.
// Threads: the engines'. Fork: not in the child. Errors: as for apply and delete; what was settled
// before stays settled.
VARVE_API varve_code varve_group_settle(varve_image* const* images, size_t count,
                                        varve_group_settlement* settlement, varve_error* error);

VARVE_C_END
