// Errors: a code to branch on, the place, and a line for people.
#pragma once

#include <varve/c/base.h>

VARVE_C_BEGIN

typedef int32_t varve_code;
enum {
  VARVE_OK = 0,
  VARVE_IO = 1,                // The system reported an error (os_errno) that none below names.
  VARVE_CORRUPT = 2,           // The bytes of the image contradict the format.
  VARVE_UNSUPPORTED = 3,       // Legal, but this library or this function does not handle it.
  VARVE_INVALID_ARGUMENT = 4,  // The caller's own request is malformed.
  VARVE_OUT_OF_RANGE = 5,      // Beyond the end of the disk, or of a documented limit.
  VARVE_NOT_FOUND = 6,         // The file, snapshot or table named does not exist.
  VARVE_READ_ONLY = 7,         // A change was asked of something open for reading only.
  VARVE_NO_SPACE = 8,          // File system, device or table is full; nothing was lost.
  VARVE_NO_MEMORY = 9,         // An allocation failed; state is unchanged.
  VARVE_TIMED_OUT = 10,        // The time the caller allowed has passed.
  VARVE_BUSY = 11,             // Somebody else holds what is needed; or other handles depend on it.
  VARVE_CANCELLED = 12,        // The caller cancelled the work before it took effect.
  VARVE_POISONED = 13,    // An earlier flush failed: what is durable is unknown until reopened.
  VARVE_EXISTS = 14,      // The name to be created is taken.
  VARVE_OVER_BUDGET = 15  // Looking at the image costs more than is allowed: `what` names what.
};

// Filled by a failed call. Set `size` before the first use; after success it is untouched.
typedef struct varve_error {
  size_t size;
  varve_code code;
  int32_t os_errno;  // Positive errno from the system, or 0.
  uint32_t tag;      // VARVE_TAG_...: the table or data the failure concerns.
  uint32_t reserved;
  uint64_t offset;    // In the file (guest requests: on the disk), or VARVE_NO_OFFSET.
  uint64_t value;     // The offending field's value, or VARVE_NO_OFFSET.
  uint64_t limit;     // The limit it broke, or VARVE_NO_OFFSET.
  const char* what;   // What is wrong, without numbers. Static lifetime.
  const char* rule;   // With VARVE_CORRUPT: the rule that was broken, else "". Static lifetime.
  char message[256];  // One line for people, with all of it; cut where it is too long.
} varve_error;

// Stable lower-case word for a code: "no_space"; "ok" for VARVE_OK, "unknown" for others.
// Static lifetime. Threads: any. Fork: also in the child.
VARVE_API const char* varve_code_name(varve_code code);

VARVE_C_END
