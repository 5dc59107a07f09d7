// Checking an image against everything the format says, and repairing its counts.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

enum {
  VARVE_SEVERITY_LEAK = 0,        // Space counted but not referenced: harmless, wasted.
  VARVE_SEVERITY_MISMATCH = 1,    // A flag or count disagrees; data is intact.
  VARVE_SEVERITY_CORRUPTION = 2,  // A reference leads nowhere, overlaps, or breaks a rule.
  VARVE_SEVERITY_FAILURE = 3      // The place could not be checked.
};

typedef struct varve_finding {
  size_t size;
  const char* rule;      // The rule that is broken: a stable word. Static lifetime.
  uint32_t severity;     // VARVE_SEVERITY_...
  uint32_t table;        // VARVE_TAG_...: the structure that holds the offending field.
  uint64_t offset;       // Of that field in the file.
  uint64_t host_offset;  // The cluster it concerns.
  uint64_t found;
  uint64_t expected;
} varve_finding;

typedef struct varve_check_options {
  size_t size;
  uint64_t memory_bytes;  // Beyond the image's caches; more passes when small. 0: 64 MiB.
  uint64_t findings_max;  // Told one by one; further ones are counted. 0: 1000.
  uint32_t flags;         // 0.
  uint32_t reserved;
  void* owner;  // Passed to the callbacks. Each of them may be NULL.
  // In L2 tables, over all passes. Anything but 0 ends the check as VARVE_CANCELLED.
  int (*progress)(void* owner, uint64_t done, uint64_t total);
  // Each finding, after the last progress and before the call returns.
  void (*finding)(void* owner, const varve_finding* finding);
} varve_check_options;

typedef struct varve_check_report {
  size_t size;
  uint64_t leaks;        // Clusters.
  uint64_t corruptions;  // Mismatches and corruptions.
  uint64_t failures;     // Places that could not be checked.
  uint64_t total_clusters;
  uint64_t allocated_clusters;
  uint64_t fragmented_clusters;
  uint64_t compressed_clusters;
  uint64_t image_end_offset;  // Byte after the last cluster in use.
} varve_check_report;

// Checks an image. VARVE_OK says that the check ran; the report says what it found. An image open
// for writing is flushed first; requests submitted meanwhile wait. `options` may be NULL. Blocking.
// Threads: the image's. Fork: not in the child. Errors: VARVE_UNSUPPORTED (raw), VARVE_CANCELLED,
// VARVE_BUSY (an operation runs), VARVE_NO_MEMORY, and those of flush.
VARVE_API varve_code varve_check(varve_image* image, const varve_check_options* options,
                                 varve_check_report* report, varve_error* error);

// What may be repaired.
enum {
  VARVE_REPAIR_LEAKS = 0,  // Space nobody refers to; with anything else wrong nothing changes.
  VARVE_REPAIR_ALL = 1     // Every count and flag that disagrees with the references.
};

typedef struct varve_repair_report {
  size_t size;
  uint64_t leaks_before;
  uint64_t corruptions_before;
  uint64_t failures_before;
  uint64_t leaks_after;
  uint64_t corruptions_after;
  uint64_t failures_after;
  uint64_t is_left;  // Something is left that counts and flags cannot repair.
} varve_repair_report;

// Checks an image open for writing, repairs it in the order that a crash cannot make worse, and
// checks again; calling it again changes nothing, and the content of disk and snapshots never
// changes. The corrupt mark (VARVE_OPEN_ALLOW_CORRUPT) goes once nothing is wrong. Findings that
// are told are those of before. `left` says what is left, where something is. `options` and `left`
// may be NULL. Blocking. Durable.
// Threads: the image's. Fork: not in the child. Errors: VARVE_UNSUPPORTED (raw), VARVE_READ_ONLY,
// VARVE_BUSY (an operation, a state writer, a snapshot that is read), VARVE_CANCELLED,
// VARVE_NO_MEMORY, VARVE_NO_SPACE, VARVE_IO, VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_repair(varve_image* image, uint32_t what,
                                  const varve_check_options* options, varve_repair_report* report,
                                  varve_error* left, varve_error* error);

VARVE_C_END
