// Copying the content of one image into another, and comparing two, whatever their formats.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

enum {
  VARVE_CONVERT_COMPRESSED = 1,      // The target's clusters are written compressed.
  VARVE_CONVERT_NOT_SPARSE = 2,      // Zeros are written, too.
  VARVE_CONVERT_TARGET_IS_ZERO = 4,  // The target reads as zeros everywhere already.
  VARVE_CONVERT_SKIP_BACKING = 8,    // Only the source's own layer is copied.
  VARVE_CONVERT_OUT_OF_ORDER = 16,   // Chunks are written as they arrive.
  VARVE_CONVERT_SALVAGE = 32         // What cannot be read is taken for zeros.
};

typedef struct varve_convert_options {
  size_t size;
  uint64_t target_offset;          // Where the source's first byte goes.
  uint64_t target_backing_size;    // With SKIP_BACKING: the size of the target's backing file.
  uint64_t rate_bytes_per_second;  // 0: unlimited.
  uint64_t chunk_bytes;    // Largest read; with COMPRESSED a multiple of cluster_bytes. 0: 1 MiB.
  uint64_t sparse_bytes;   // Runs of zeros this long are not written; multiple of 512. 0: 4096.
  uint32_t cluster_bytes;  // With COMPRESSED: the target's. 0: 65536.
  uint32_t threads;        // That compress beside the calling one.
  uint32_t parallel;       // Reads and writes in flight, 1 .. 64. 0: 8.
  uint32_t flags;          // VARVE_CONVERT_...
  void* owner;             // Passed to the callbacks. Each may be NULL.
  // Anything but 0 ends the copy as VARVE_CANCELLED.
  int (*progress)(void* owner, uint64_t done_bytes, uint64_t total_bytes);
  // With SALVAGE: a sector of the source that could not be read.
  void (*unreadable)(void* owner, uint64_t offset, varve_code code);
  // The copy ends as VARVE_OVER_BUDGET before more data than this is handed to the target. 0: no
  // limit.
  uint64_t output_bytes_max;
} varve_convert_options;

enum { VARVE_SIDE_NONE = 0, VARVE_SIDE_SOURCE = 1, VARVE_SIDE_TARGET = 2 };

typedef struct varve_convert_report {
  size_t size;
  uint64_t failed_offset;     // On that side's disk.
  uint64_t written_bytes;     // Data handed to the target.
  uint64_t zeroed_bytes;      // Told to the target as zeros.
  uint64_t unreadable_bytes;  // Taken for zeros.
  uint32_t failed_side;       // VARVE_SIDE_...
  uint32_t reserved;
} varve_convert_report;

// Copies `source` into `target`. `options` and `report` may be NULL; the report is filled also on
// failure. Blocking. Durability: nothing is promised until the target is flushed or closed.
// Threads: both images' (one engine). Fork: not in the child. Errors: those of reading and writing,
// VARVE_OUT_OF_RANGE (the source does not fit), VARVE_INVALID_ARGUMENT (options; images of two
// engines), VARVE_CANCELLED, VARVE_OVER_BUDGET (output_bytes_max), VARVE_NO_MEMORY.
VARVE_API varve_code varve_convert(varve_image* source, varve_image* target,
                                   const varve_convert_options* options,
                                   varve_convert_report* report, varve_error* error);

enum { VARVE_COMPARE_STRICT = 1 };  // Sizes and allocation must agree too.

enum {
  VARVE_IDENTICAL = 0,        // Also where one disk is larger and the rest is zeros.
  VARVE_CONTENT_DIFFERS = 1,  // `offset`: the first 512-byte sector that differs.
  VARVE_SIZE_DIFFERS = 2,     // Strict only.
  VARVE_STATUS_DIFFERS = 3    // Strict only: allocated, or known to be zero, in one of them only.
};

typedef struct varve_compare_report {
  size_t size;
  uint64_t offset;
  uint64_t failed_offset;
  uint32_t result;        // VARVE_IDENTICAL and so on.
  uint32_t failed_image;  // On failure: 1 or 2, the image that could not be read.
} varve_compare_report;

// Compares two disks; neither is written. The report is filled also on failure. Blocking.
// Threads: both images' (one engine). Fork: not in the child. Errors: those of reading,
// VARVE_NO_MEMORY, VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_compare(varve_image* first, varve_image* second, uint32_t flags,
                                   varve_compare_report* report, varve_error* error);

VARVE_C_END
