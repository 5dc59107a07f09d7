// Queues: guest requests in batches. Requests go in with a number of the caller's (`user_data`),
// and come out with it when they are done, in any order.
//
// The usual turn of a loop:
//
//   n = varve_queue_submit(queue, requests, count, &error);
//   varve_engine_wait(engine, -1);                       // or poll, when its event fd is readable
//   m = varve_queue_reap(queue, completions, capacity);
//
// An image may have several queues. Blocking calls on the same engine let requests of queues
// complete; they stay to be reaped.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

typedef struct varve_queue varve_queue;

enum {
  VARVE_READ = 0,
  VARVE_WRITE = 1,
  VARVE_WRITE_ZEROES = 2,
  VARVE_WRITE_COMPRESSED = 3,
  VARVE_DISCARD = 4,
  VARVE_FLUSH = 5
};

enum { VARVE_REQUEST_MAY_UNMAP = 1 };  // WRITE_ZEROES: clusters may be given back.

// 64 bytes, fixed for good. Memory for data: either `data` and `length`, or `vectors`.
typedef struct varve_request {
  uint64_t user_data;
  uint32_t operation;  // VARVE_READ and so on.
  uint32_t flags;      // VARVE_REQUEST_...
  uint64_t offset;     // Any alignment, as lengths.
  uint64_t length;     // With vectors: their sum.
  // The caller's until completion: the memory, and the array of vectors. The request itself is
  // copied.
  void* data;
  const varve_iovec* vectors;  // NULL: `data`.
  uint32_t vector_count;
  uint32_t reserved[3];  // 0.
} varve_request;

// 48 bytes, fixed for good.
typedef struct varve_completion {
  uint64_t user_data;
  varve_code code;
  int32_t os_errno;
  uint32_t tag;
  uint32_t reserved;
  uint64_t offset;   // Of the failure, or VARVE_NO_OFFSET.
  const char* what;  // Of the failure, or "". Static lifetime.
  const char* rule;  // With VARVE_CORRUPT: the rule that was broken, else "". Static lifetime.
} varve_completion;

// Makes a queue for up to `depth` requests (1 .. 65536) that are in flight or not yet reaped.
// Allocates all it ever needs. Freed by varve_queue_close.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_INVALID_ARGUMENT (depth),
// VARVE_NO_MEMORY.
VARVE_API varve_code varve_queue_create(varve_image* image, uint32_t depth, varve_queue** queue,
                                        varve_error* error);

// Takes in requests, in order; how many is the answer. Fewer than `count` where the queue is full
// (no error: `error->code` is untouched), or where the next request is malformed, which `error`
// tells. Everything else is told by completions. Never blocks, allocates nothing. The kernel sees
// them with the next poll, wait or submit_pending.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child (0).
VARVE_API size_t varve_queue_submit(varve_queue* queue, const varve_request* requests, size_t count,
                                    varve_error* error);

// Takes out up to `capacity` completions; how many is the answer. Does not run the engine.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child (0).
VARVE_API size_t varve_queue_reap(varve_queue* queue, varve_completion* completions,
                                  size_t capacity);

// Requests that have not completed. No I/O. Threads: the engine's. Fork: not in the child (0).
VARVE_API size_t varve_queue_in_flight(const varve_queue* queue);

// Waits for what is in flight and frees the queue; what was not reaped is dropped. Blocking.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (inside a callback).
VARVE_API varve_code varve_queue_close(varve_queue* queue, varve_error* error);

VARVE_C_END
