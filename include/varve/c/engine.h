// Engines: the loop that carries I/O, on one io_uring or a small pool of threads.
//
// A hypervisor with a loop of its own watches varve_engine_event_fd and calls varve_engine_poll
// when it becomes readable, and varve_engine_submit_pending after a batch of submissions.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

enum {
  VARVE_AIO_AUTOMATIC = 0,  // io_uring, else threads.
  VARVE_AIO_IO_URING = 1,
  VARVE_AIO_THREADS = 2
};

enum {
  // No pool of threads: where io_uring is refused, opening a file fails.
  VARVE_ENGINE_NO_THREADS = 1
};

enum {
  VARVE_LOG_ERROR = 0,    // What is durable is unknown: a flush failed.
  VARVE_LOG_WARNING = 1,  // Something does not work as it was meant to; another way is taken.
  VARVE_LOG_INFO = 2      // What an operator would like to read later.
};

typedef struct varve_engine_options {
  size_t size;
  uint32_t backend;      // VARVE_AIO_...
  uint32_t queue_depth;  // Requests the ring holds; more wait in a queue. 0: 256.
  uint32_t threads;      // Size of the pool when threads are used. 0: 4.
  uint32_t flags;        // VARVE_ENGINE_...
  // Hears of what happens on the engine, on its thread, from inside any call on it. `text` is one
  // line, valid during the call. Must not call the library. NULL: nobody.
  void (*log)(void* owner, uint32_t level, const char* text);
  void* log_owner;
} varve_engine_options;

// Makes an engine that belongs to the calling thread. `options` may be NULL. The handle is freed by
// varve_engine_destroy.
// Threads: any; the caller's from then on. Fork: a child may make engines of its own.
// Errors: VARVE_UNSUPPORTED (io_uring asked for and refused; os_errno says why), VARVE_NO_MEMORY,
// VARVE_IO (no descriptors left), VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_engine_create(const varve_engine_options* options, varve_engine** engine,
                                         varve_error* error);

// Ends an engine. Nothing is done while storages or images of it are open.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (open handles; inside a
// callback).
VARVE_API varve_code varve_engine_destroy(varve_engine* engine, varve_error* error);

// VARVE_AIO_IO_URING or VARVE_AIO_THREADS: what carries the I/O. No I/O.
// Threads: the engine's. Fork: not in the child (0).
VARVE_API uint32_t varve_engine_backend(const varve_engine* engine);

// A descriptor that is readable when varve_engine_poll has something to do; -1 for NULL. It is the
// engine's: do not read or close it. No I/O.
// Threads: the engine's may ask; any may watch it. Fork: not in the child (-1).
VARVE_API int varve_engine_event_fd(varve_engine* engine);

// Hands batched submissions to the kernel, without blocking; poll and wait do so themselves.
// Threads: the engine's. Fork: not in the child.
VARVE_API void varve_engine_submit_pending(varve_engine* engine);

// Runs what has completed, without blocking: callbacks run, and queues fill. How many completions
// ran, the library's own included.
// Threads: the engine's, outside of callbacks (there: 0). Fork: not in the child (0).
VARVE_API size_t varve_engine_poll(varve_engine* engine);

// As poll, but waits until something has completed or `timeout_milliseconds` has passed (negative:
// forever; 0: as poll).
// Threads: the engine's, outside of callbacks (there: 0). Fork: not in the child (0).
VARVE_API size_t varve_engine_wait(varve_engine* engine, int timeout_milliseconds);

VARVE_C_END
