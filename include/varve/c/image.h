// Images: open disks, qcow2 or raw, with their backing chains.
//
// Durability: a completed write is visible to later reads; it is durable once a flush submitted
// after its completion has completed. A failed flush poisons the image: every later write and flush
// is VARVE_POISONED, because the system may have dropped what it could not write.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

enum { VARVE_COMPRESSION_ZLIB = 0, VARVE_COMPRESSION_ZSTD = 1 };

enum {
  VARVE_PREALLOCATION_OFF = 0,
  VARVE_PREALLOCATION_METADATA = 1,
  VARVE_PREALLOCATION_FALLOC = 2,
  VARVE_PREALLOCATION_FULL = 3
};

enum {
  VARVE_CREATE_LAZY_REFCOUNTS = 1,
  VARVE_CREATE_EXTENDED_L2 = 2,
  VARVE_CREATE_DATA_FILE_RAW = 4,
  VARVE_CREATE_DIRECT = 8  // O_DIRECT while writing.
};

typedef struct varve_create_options {
  size_t size;
  uint64_t disk_bytes;         // Rounded up to 512.
  uint32_t format;             // VARVE_FORMAT_...
  uint32_t version;            // 2 (compat 0.10) or 3 (compat 1.1). 0: 3.
  uint32_t cluster_bytes;      // 512 .. 2 MiB, a power of two. 0: 65536.
  uint32_t refcount_bits;      // 1, 2, 4 .. 64. 0: 16.
  uint32_t compression;        // VARVE_COMPRESSION_...
  uint32_t preallocation;      // VARVE_PREALLOCATION_...
  uint32_t flags;              // VARVE_CREATE_...
  uint32_t reserved;           // 0.
  const char* backing_name;    // Stored as given, not opened. NULL: none.
  const char* backing_format;  // "qcow2" or "raw"; required with backing_name.
  const char* data_file_name;  // External data file, stored as given. NULL: none.
} varve_create_options;

// Creates (or overwrites) an image file. Blocking. Durable on return, the folder's entry included.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_INVALID_ARGUMENT and
// VARVE_UNSUPPORTED (an option, named in `what`), VARVE_NO_SPACE, VARVE_BUSY (the file is in use),
// VARVE_IO, VARVE_NO_MEMORY.
VARVE_API varve_code varve_image_create(varve_engine* engine, const char* path,
                                        const varve_create_options* options, varve_error* error);

// The same in a storage, whose content is overwritten; `data_storage` where the options name a data
// file, else NULL. Both stay the caller's. Blocking, durable on return.
// Threads: the engine's. Fork: not in the child. Errors: as varve_image_create.
VARVE_API varve_code varve_image_create_in(varve_storage* storage, varve_storage* data_storage,
                                           const varve_create_options* options, varve_error* error);

enum {
  VARVE_OPEN_WRITABLE = 1,
  VARVE_OPEN_NO_LOCK = 2,          // Do not take QEMU's byte-range locks.
  VARVE_OPEN_FORCE_SHARE = 4,      // Read beside a writer; for reading only.
  VARVE_OPEN_DIRECT = 8,           // O_DIRECT, for files opened by path.
  VARVE_OPEN_NO_FSYNC = 16,        // Flushes reach the system's cache only (cache=unsafe), by path.
  VARVE_OPEN_UNMAP = 32,           // Freed clusters are punched out of the file.
  VARVE_OPEN_NO_BACKING = 64,      // Unallocated clusters read as zeros; no backing file is opened.
  VARVE_OPEN_NO_DATA_FILE = 128,   // Metadata only: guest I/O is VARVE_UNSUPPORTED.
  VARVE_OPEN_ALLOW_CORRUPT = 256,  // Open for writing although marked corrupt (repair only).
  // The format of the first backing file, instead of the header's word or where it has none.
  VARVE_OPEN_BACKING_RAW = 512,
  VARVE_OPEN_BACKING_QCOW2 = 1024,
  VARVE_OPEN_MEASURE_LATENCY = 2048,  // Two looks at the clock per request (statistics.h).
  // The image comes from somebody who is not trusted: only read, no other file opened, refused
  // where it names one or where its tables lie outside the file or over each other;
  // VARVE_OVER_BUDGET where looking at it costs more than an honest image's.
  VARVE_OPEN_UNTRUSTED = 4096
};

// Opens a file that an image names (backing file, data file), so that the library opens no path:
// `name` is the literal name, resolved against the folder of who names it where it is relative.
// `flags`: VARVE_FILE_WRITABLE and so on. Answers with a storage of `engine` that the library takes
// over, by varve_storage_open_fd for example; or with a code.
typedef varve_code (*varve_open_file)(void* owner, varve_engine* engine, const char* name,
                                      uint32_t flags, varve_storage** storage);

typedef struct varve_open_options {
  size_t size;
  uint32_t format;                // VARVE_FORMAT_...
  uint32_t flags;                 // VARVE_OPEN_...
  const char* directory;          // By descriptor or storage: where names in it start. NULL: they
                                  // are refused unless absolute.
  const char* backing_override;   // This name instead of the header's. NULL: the header's.
  varve_open_file open_file;      // NULL: paths are opened.
  void* open_file_owner;          // Passed to it.
  uint64_t l2_cache_bytes;        // 0: 32 MiB. At least two tables are kept.
  uint64_t refcount_cache_bytes;  // 0: 8 MiB. At least two blocks.
  uint32_t operations_max;        // Requests at work at once; more wait in a queue. 0: 128.
  uint32_t chain_depth_max;       // 0: 200.
} varve_open_options;

// Opens the image in `path`, its data file and its backing chain. `options` may be NULL: qcow2, for
// reading. Blocking. A dirty image opened for writing is settled first. Freed by varve_image_close.
// Threads: the engine's. Fork: not in the child.
// Errors: VARVE_NOT_FOUND, VARVE_BUSY (locked by another program), VARVE_CORRUPT,
// VARVE_UNSUPPORTED (a feature, named in `what`), VARVE_READ_ONLY, VARVE_INVALID_ARGUMENT (a
// backing file without a format), VARVE_IO, VARVE_NO_MEMORY.
VARVE_API varve_code varve_image_open(varve_engine* engine, const char* path,
                                      const varve_open_options* options, varve_image** image,
                                      varve_error* error);

// The same over a storage, which is the image's from then on, also on failure (unless the failure
// is VARVE_INVALID_ARGUMENT for a NULL). Blocking.
// Threads: the engine's. Fork: not in the child. Errors: as varve_image_open.
VARVE_API varve_code varve_image_open_storage(varve_storage* storage,
                                              const varve_open_options* options,
                                              varve_image** image, varve_error* error);

// The same over a descriptor; no path is opened unless the image names one and the options allow
// it. On success, and only then, `fd` is the library's, and closed. Blocking.
// Threads: the engine's. Fork: not in the child. Errors: as varve_image_open, and
// VARVE_INVALID_ARGUMENT (the mode of `fd` is not what WRITABLE says).
VARVE_API varve_code varve_image_open_fd(varve_engine* engine, int fd,
                                         const varve_open_options* options, varve_image** image,
                                         varve_error* error);

// Drains, flushes, gives back what was freed, drops the locks, and frees the handle. Operations
// that can be cancelled are, others run to their end. Blocking. Durable on VARVE_OK. After any
// other answer than VARVE_BUSY or VARVE_INVALID_ARGUMENT the handle is gone as well, and the error
// tells what was lost.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (queues, operations, readers,
// writers or images of snapshots made from it are open, or inside a callback: nothing is done), and
// those of writing.
VARVE_API varve_code varve_image_close(varve_image* image, varve_error* error);

enum {
  VARVE_FACT_LAZY_REFCOUNTS = 1,
  VARVE_FACT_EXTENDED_L2 = 2,
  VARVE_FACT_DATA_FILE_RAW = 4,
  VARVE_FACT_DIRTY = 8,
  VARVE_FACT_CORRUPT = 16
};

typedef struct varve_image_facts {
  size_t size;
  uint64_t disk_bytes;
  uint64_t file_bytes;
  uint32_t format;
  uint32_t version;
  uint32_t cluster_bytes;
  uint32_t refcount_bits;
  uint32_t compression;
  uint32_t flags;  // VARVE_FACT_...
  uint32_t snapshot_count;
  uint32_t reserved;
  const char* backing_name;    // Texts as the header spells them; "": none. Valid until the next
  const char* backing_format;  // call of this function on the image, or its close.
  const char* data_file_name;
} varve_image_facts;

// Facts of an open image. No I/O. Threads: the engine's. Fork: not in the child.
// Errors: VARVE_NO_MEMORY, VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_image_get_facts(varve_image* image, varve_image_facts* facts,
                                           varve_error* error);

// The disk's size in bytes. No I/O. Threads: the engine's. Fork: not in the child (0).
VARVE_API uint64_t varve_image_get_size(const varve_image* image);

// Blocking forms of guest requests; queue.h has the asynchronous ones. Any alignment; buffers are
// the caller's. After a failed write every sector of the range is old or new.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_OUT_OF_RANGE (beyond the disk),
// VARVE_READ_ONLY, VARVE_NO_SPACE, VARVE_CORRUPT, VARVE_IO, VARVE_POISONED, VARVE_UNSUPPORTED,
// VARVE_NO_MEMORY, VARVE_INVALID_ARGUMENT, VARVE_BUSY (inside a callback).
VARVE_API varve_code varve_image_read(varve_image* image, uint64_t offset, void* target,
                                      size_t length, varve_error* error);
// As varve_image_read. Durable after a flush. Threads: the engine's. Fork: not in the child.
VARVE_API varve_code varve_image_write(varve_image* image, uint64_t offset, const void* source,
                                       size_t length, varve_error* error);
// The range reads as zeros; with `may_unmap` its clusters may be given back. Durable after a flush.
// Threads: the engine's. Fork: not in the child. Errors: as above.
VARVE_API varve_code varve_image_write_zeroes(varve_image* image, uint64_t offset, uint64_t length,
                                              int may_unmap, varve_error* error);
// Whole clusters (the disk's last may be shorter), stored compressed; qcow2 without data file.
// Durable after a flush. Threads: the engine's. Fork: not in the child. Errors: as above.
VARVE_API varve_code varve_image_write_compressed(varve_image* image, uint64_t offset,
                                                  const void* source, size_t length,
                                                  varve_error* error);
// A hint: whole clusters inside the range are dropped. Durable after a flush.
// Threads: the engine's. Fork: not in the child. Errors: as above.
VARVE_API varve_code varve_image_discard(varve_image* image, uint64_t offset, uint64_t length,
                                         varve_error* error);
// Everything completed before is durable on return. Threads: the engine's. Fork: not in the child.
// Errors: as above; VARVE_IO poisons the image.
VARVE_API varve_code varve_image_flush(varve_image* image, varve_error* error);

// Makes the disk larger. Blocking; durable on return. `preallocation`: VARVE_PREALLOCATION_...
// Threads: the engine's. Fork: not in the child. Errors: VARVE_UNSUPPORTED (shrinking),
// VARVE_OUT_OF_RANGE (beyond the format's limit), and those of writing.
VARVE_API varve_code varve_image_grow(varve_image* image, uint64_t disk_bytes,
                                      uint32_t preallocation, varve_error* error);

// Requests submitted from now on wait until resume; those in flight go on, and snapshot operations
// do not mind. Blocking requests are VARVE_BUSY meanwhile. No I/O. To close resumes first.
// Threads: the engine's; allowed inside callbacks. Fork: not in the child.
// Errors: VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_image_pause(varve_image* image, varve_error* error);
// Lets them go on. Threads: the engine's; allowed inside callbacks. Fork: not in the child.
// Errors: VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_image_resume(varve_image* image, varve_error* error);
// Runs the engine until no request is in flight; those that wait for resume do not count. Blocking.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (inside a callback).
VARVE_API varve_code varve_image_drain(varve_image* image, varve_error* error);

// Hands the image over to somebody else, the target of a migration: requests wait, what is in
// flight is drained, everything is flushed and given back, and the locks of the whole chain are
// dropped. Until reacquire nothing touches the files, which stay open. Blocking. Durable.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (operations, state writers or
// readers, or images of snapshots are open; released already), and those of flush: the image is
// then not released.
VARVE_API varve_code varve_image_release(varve_image* image, varve_error* error);
// Takes the image back, whatever was done to it meanwhile, and lets requests go on: locks it, reads
// and checks everything anew, settles a dirty image. Blocking.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (somebody has it),
// VARVE_INVALID_ARGUMENT (not released), VARVE_UNSUPPORTED (it is another image now), and those of
// opening; the image is then still released.
VARVE_API varve_code varve_image_reacquire(varve_image* image, varve_error* error);

enum {
  VARVE_STATUS_DATA = 1,  // Reading needs I/O somewhere in the chain.
  VARVE_STATUS_ZERO = 2,  // Reads as zeros.
  VARVE_STATUS_COMPRESSED = 4,
  VARVE_STATUS_ALLOCATED = 8,    // The layer at `depth` decides the content.
  VARVE_STATUS_HOST_OFFSET = 16  // `host_offset` is known.
};

typedef struct varve_block_status {
  size_t size;
  uint64_t length;       // From the offset asked for: the range this holds of.
  uint64_t host_offset;  // In the file of that layer (its data file where it has one).
  uint32_t flags;        // VARVE_STATUS_...
  uint32_t depth;        // 0: the image itself; n: its n-th backing file.
} varve_block_status;

// What the range from `offset` on is made of, looking at `length` bytes at most; with `whole_chain`
// backing files are asked where the image has nothing. Blocking (may read tables).
// Threads: the engine's. Fork: not in the child. Errors: VARVE_OUT_OF_RANGE, VARVE_CORRUPT,
// VARVE_IO, VARVE_NO_MEMORY.
VARVE_API varve_code varve_image_get_status(varve_image* image, uint64_t offset, uint64_t length,
                                            int whole_chain, varve_block_status* status,
                                            varve_error* error);

VARVE_C_END
