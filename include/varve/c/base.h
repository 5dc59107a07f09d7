// Words that every header of the C interface uses. <varve/varve.h> has the rules for all of them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define VARVE_C_BEGIN extern "C" {
#define VARVE_C_END }
#else
#define VARVE_C_BEGIN
#define VARVE_C_END
#endif
#define VARVE_API __attribute__((visibility("default")))

VARVE_C_BEGIN

// Handles. What is inside is the library's.
typedef struct varve_engine varve_engine;
typedef struct varve_storage varve_storage;
typedef struct varve_image varve_image;

// One piece of caller memory. Same layout as POSIX `struct iovec`.
typedef struct varve_iovec {
  void* data;
  size_t size;
} varve_iovec;

// Sixteen bytes in the order of the text form (RFC 9562). All zeros: none.
typedef struct varve_uuid {
  uint8_t bytes[16];
} varve_uuid;

// "No index", "no offset".
#define VARVE_NO_INDEX SIZE_MAX
#define VARVE_NO_OFFSET UINT64_MAX

// Image formats. The library never guesses one.
enum { VARVE_FORMAT_QCOW2 = 0, VARVE_FORMAT_RAW = 1 };

// What an I/O is for.
enum {
  VARVE_TAG_NONE = 0,
  VARVE_TAG_HEADER = 1,
  VARVE_TAG_EXTENSION = 2,
  VARVE_TAG_L1 = 3,
  VARVE_TAG_L2 = 4,
  VARVE_TAG_REFCOUNT_TABLE = 5,
  VARVE_TAG_REFCOUNT_BLOCK = 6,
  VARVE_TAG_SNAPSHOT_TABLE = 7,
  VARVE_TAG_BITMAP = 8,
  VARVE_TAG_GUEST_DATA = 9,
  VARVE_TAG_COMPRESSED_DATA = 10,
  VARVE_TAG_STATE = 11,
  VARVE_TAG_BACKING = 12
};

// The version the library in use was built as, "MAJOR.MINOR.PATCH". Static lifetime.
// Threads: any. Fork: also in the child.
VARVE_API const char* varve_version(void);

// Stable word for a tag: "refcount_block"; "unknown" for others. Static lifetime.
// Threads: any. Fork: also in the child.
VARVE_API const char* varve_tag_name(uint32_t tag);

VARVE_C_END
