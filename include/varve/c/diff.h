// Diff: which bytes of a disk may differ between two snapshots, or a snapshot and now, and carrying
// them elsewhere as a stream. The cost follows the change, not the disk.
//
// A side is an index into the list of snapshots, or VARVE_NO_INDEX: the disk as it is now.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

// Visits, in order, the ranges of `to` that may differ from `from`; neighbours are joined. A code
// of the visitor ends the walk and is the answer. The visitor may make blocking calls. Blocking.
// Threads: the image's. Fork: not in the child.
// Errors: VARVE_NOT_FOUND, VARVE_UNSUPPORTED (raw image, external data file), VARVE_CORRUPT,
// VARVE_IO, VARVE_NO_MEMORY.
VARVE_API varve_code varve_diff_visit(varve_image* image, size_t from, size_t to,
                                      varve_code (*visit)(void* owner, uint64_t start,
                                                          uint64_t length),
                                      void* owner, varve_error* error);

// What a stream carries; its format is in docs/FORMAT.md.
typedef struct varve_stream_info {
  size_t size;
  uint64_t disk_bytes;  // Of the disk the stream leads to ...
  uint64_t base_bytes;  // ... and, of a diff, of the disk it starts from.
  uint64_t data_bytes;  // Guest bytes carried as data ...
  uint64_t zero_bytes;  // ... and as zeros.
  varve_uuid uuid;      // Of the snapshots at both ends; zeros: the disk, or not known.
  varve_uuid base;
  uint32_t is_diff;  // 0: a whole disk, which needs nothing below it.
  uint32_t reserved;
} varve_stream_info;

// Takes the next bytes of a stream. A code ends the export and is the answer.
typedef varve_code (*varve_stream_write)(void* owner, const void* data, size_t length);
// Gives the next bytes of a stream: up to `capacity`; *length 0 at the end only.
typedef varve_code (*varve_stream_read)(void* owner, void* data, size_t capacity, size_t* length);

// Writes a whole disk (the backing chain included) as a stream. `info` may be NULL. Blocking.
// Threads: the image's. Fork: not in the child. Errors: of `write`, and as varve_diff_visit.
VARVE_API varve_code varve_stream_export_disk(varve_image* image, size_t side,
                                              varve_stream_write write, void* owner,
                                              varve_stream_info* info, varve_error* error);
// Writes what turns `from` into `to`. As varve_stream_export_disk.
// Threads: the image's. Fork: not in the child.
VARVE_API varve_code varve_stream_export_diff(varve_image* image, size_t from, size_t to,
                                              varve_stream_write write, void* owner,
                                              varve_stream_info* info, varve_error* error);

// Writes a stream into an image, which grows where it is too small; every chunk is verified before
// it is written. `accept` (may be NULL) sees what the stream says of itself first, and refuses by a
// code: a diff is right only on a disk that equals its base. Blocking. Durable.
// Threads: the image's. Fork: not in the child.
// Errors: of `read` and `accept`; VARVE_CORRUPT (not a stream, cut off, or damaged; `offset` counts
// in the stream), VARVE_OUT_OF_RANGE (the image is larger than a whole stream's disk), and those of
// writing. After an error the image holds the chunks before the bad one.
VARVE_API varve_code varve_stream_import(varve_image* image, varve_stream_read read,
                                         varve_code (*accept)(void* owner,
                                                              const varve_stream_info* info),
                                         void* owner, varve_stream_info* info, varve_error* error);

VARVE_C_END
