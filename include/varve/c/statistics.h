// Statistics of an open image, and the system calls of the library.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

#define VARVE_LATENCY_BUCKETS 40
#define VARVE_TAGS_MAX 16

// Requests by the time from submit to completion: counts[i] took 2^i to 2^(i + 1) - 1 nanoseconds;
// the first also below, the last also above.
typedef struct varve_latency {
  uint64_t requests;
  uint64_t total_nanoseconds;
  uint64_t counts[VARVE_LATENCY_BUCKETS];
} varve_latency;

typedef struct varve_statistics {
  size_t size;
  uint64_t reads[VARVE_TAGS_MAX];  // Requests to the image's files, by VARVE_TAG_...
  uint64_t writes[VARVE_TAGS_MAX];
  uint64_t flushes;
  uint64_t l2_hits;    // Lookups of L2 tables answered from memory ...
  uint64_t l2_misses;  // ... and tables read.
  uint64_t refcount_hits;
  uint64_t refcount_misses;
  // With VARVE_OPEN_MEASURE_LATENCY only; failed requests count as well.
  varve_latency read_latency;
  varve_latency write_latency;
  varve_latency flush_latency;
  varve_latency other_latency;  // WRITE_ZEROES and DISCARD.
} varve_statistics;

// What the image has done since it was opened. No I/O.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child.
// Errors: VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_image_get_statistics(const varve_image* image,
                                                varve_statistics* statistics, varve_error* error);

// When a system call is needed. A filter allows those of all the uses it wants.
enum {
  VARVE_USE_RUNNING = 0,   // Whatever is done with engines that exist and files that are open.
  VARVE_USE_OPENING = 1,   // Making engines, opening images over descriptors.
  VARVE_USE_IO_URING = 2,  // With the io_uring backend.
  VARVE_USE_THREADS = 3,   // With the threads backend, and varve_convert_options.threads.
  VARVE_USE_PATHS = 4      // Opening or creating files by path.
};

typedef struct varve_system_call {
  size_t size;
  const char* name;  // "io_uring_enter". Static lifetime, as `why`.
  const char* why;
  int32_t number;  // On the machine the library was built for.
  uint32_t use;    // VARVE_USE_...
} varve_system_call;

// One of the system calls the library makes, the C library's on its behalf included; call with 0
// and on until the answer is VARVE_NOT_FOUND.
// Threads: any. Fork: also in the child. Errors: VARVE_NOT_FOUND, VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_system_call_get(size_t index, varve_system_call* call);

VARVE_C_END
