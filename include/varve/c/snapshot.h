// Disk snapshots, in blocking calls. operation.h has the forms that work behind a running guest.
//
// Durability: when a call succeeds its effect is durable; when it fails, or the process dies inside
// it, the image holds the state before or after, and no snapshot is harmed.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

typedef struct varve_snapshot_list varve_snapshot_list;
typedef struct varve_state_writer varve_state_writer;  // See state.h.

enum {
  VARVE_SNAPSHOT_PENDING = 1,           // Of a group snapshot that is not committed (group.h).
  VARVE_SNAPSHOT_PARENT_KNOWN = 2,      // `parent_index` is known; else no index says nothing.
  VARVE_SNAPSHOT_CURRENT = 4,           // The disk stands on this one.
  VARVE_SNAPSHOT_LAST_APPLIED = 8,      // Varve applied this one last.
  VARVE_SNAPSHOT_HAS_STATE_DIGEST = 16  // `state_digest` is set.
};

typedef struct varve_snapshot_info {
  size_t size;
  const char* id;  // Texts live as long as the list.
  const char* name;
  const char* settings;  // The embedder's own bytes, as given at creation; not ended by zero.
  size_t settings_bytes;
  uint64_t disk_bytes;      // The disk's size then.
  uint64_t vm_state_bytes;  // Of saved machine state; 0: a disk snapshot.
  uint64_t vm_clock_nanoseconds;
  int64_t icount;         // -1: not recorded.
  uint32_t date_seconds;  // Unix time.
  uint32_t date_nanoseconds;
  varve_uuid uuid;           // Zeros where another program made the snapshot, as the next two.
  varve_uuid parent;         // The snapshot the disk stood on then.
  varve_uuid group;          // The group snapshot it belongs to.
  uint8_t state_digest[16];  // XXH3-128 over the state's chunk sums.
  uint64_t parent_index;     // In the list, or VARVE_NO_INDEX.
  uint32_t flags;            // VARVE_SNAPSHOT_...
  uint32_t reserved;
} varve_snapshot_info;

// The snapshots in table order, as they are now; indices below are into such a list, and hold until
// the next change. No I/O. Freed by varve_snapshot_list_free.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_NO_MEMORY.
VARVE_API varve_code varve_snapshot_list_make(varve_image* image, varve_snapshot_list** list,
                                              varve_error* error);

// How many there are. Threads: any, one at a time. Fork: also in the child.
VARVE_API size_t varve_snapshot_list_get_count(const varve_snapshot_list* list);

// One of them. Threads: any, one at a time. Fork: also in the child.
// Errors: VARVE_NOT_FOUND (no such index), VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_snapshot_list_get(const varve_snapshot_list* list, size_t index,
                                             varve_snapshot_info* info, varve_error* error);

// Threads: any, one at a time. Fork: also in the child.
VARVE_API void varve_snapshot_list_free(varve_snapshot_list* list);

enum {
  VARVE_BY_ID_OR_NAME = 0,  // An id wins; then a name; where neither fits, a UUID.
  VARVE_BY_ID = 1,
  VARVE_BY_NAME = 2
};

// The index of a snapshot. No I/O. Threads: the engine's. Fork: not in the child.
// Errors: VARVE_NOT_FOUND, VARVE_INVALID_ARGUMENT (several share the name), VARVE_NO_MEMORY.
VARVE_API varve_code varve_snapshot_find(varve_image* image, const char* text, uint32_t by,
                                         size_t* index, varve_error* error);

enum { VARVE_SNAPSHOT_HAS_ICOUNT = 1 };  // `icount` is meant; else it is not recorded.

typedef struct varve_snapshot_options {
  size_t size;
  const char* name;      // At most 65,535 bytes. NULL: the id.
  const void* settings;  // Kept with the snapshot; at most 768 bytes.
  size_t settings_bytes;
  uint64_t vm_clock_nanoseconds;
  int64_t icount;
  uint32_t date_seconds;  // The caller's clock; the library has none.
  uint32_t date_nanoseconds;
  varve_uuid uuid;            // Zeros: the library makes one.
  varve_state_writer* state;  // Machine state, finished by the time of publishing. NULL: none.
  uint32_t flags;             // VARVE_SNAPSHOT_HAS_ICOUNT
  uint32_t reserved;
} varve_snapshot_options;

typedef struct varve_snapshot_created {
  size_t size;
  uint64_t pause_nanoseconds;  // Time inside freeze.
  varve_uuid uuid;
  char id[16];
} varve_snapshot_created;

// Takes a snapshot. `options` and `created` may be NULL. Blocking; guest requests go on. Durable.
// Threads: the engine's. Fork: not in the child.
// Errors: VARVE_UNSUPPORTED (raw image, external data file, 1-bit refcounts), VARVE_READ_ONLY,
// VARVE_BUSY (an operation runs), VARVE_OUT_OF_RANGE (a refcount would overflow, or no room in the
// table), VARVE_NO_SPACE, VARVE_CORRUPT, VARVE_IO, VARVE_NO_MEMORY, VARVE_POISONED.
VARVE_API varve_code varve_snapshot_create(varve_image* image,
                                           const varve_snapshot_options* options,
                                           varve_snapshot_created* created, varve_error* error);

// The disk becomes what it was in the snapshot, size included. What was in flight may end before or
// after. Blocking. Durable.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_NOT_FOUND, and as create.
VARVE_API varve_code varve_snapshot_apply(varve_image* image, size_t index, varve_error* error);

// Removes a snapshot. Blocking. Durable. Threads: the engine's. Fork: not in the child.
// Errors: VARVE_NOT_FOUND, VARVE_BUSY (it is open), and as create.
VARVE_API varve_code varve_snapshot_delete(varve_image* image, size_t index, varve_error* error);

// Gives a snapshot another name. Blocking. Durable. Threads: the engine's. Fork: not in the child.
// Errors: VARVE_NOT_FOUND, and as create.
VARVE_API varve_code varve_snapshot_rename(varve_image* image, size_t index, const char* name,
                                           varve_error* error);

// A read-only image of the snapshot's disk beside the writer, sharing its open file. While it is
// open the snapshot cannot be deleted, nor `image` closed. Freed by varve_image_close. Blocking.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_NOT_FOUND, VARVE_BUSY (it is being
// deleted), VARVE_UNSUPPORTED, VARVE_CORRUPT, VARVE_IO, VARVE_NO_MEMORY.
VARVE_API varve_code varve_snapshot_open(varve_image* image, size_t index, varve_image** snapshot,
                                         varve_error* error);

VARVE_C_END
