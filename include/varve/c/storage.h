// Storages: flat ranges of bytes that images stand in. Files by path or by descriptor, memory, and
// whatever a caller supplies by callbacks (a network store, a file broker).
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>

VARVE_C_BEGIN

enum {
  VARVE_FILE_WRITABLE = 1,
  VARVE_FILE_CREATE = 2,    // Make the file; it must not exist unless VARVE_FILE_TRUNCATE.
  VARVE_FILE_TRUNCATE = 4,  // With CREATE: an existing regular file is emptied.
  VARVE_FILE_DIRECT = 8,    // O_DIRECT (cache=none). By descriptor: read off the descriptor.
  VARVE_FILE_NO_FSYNC = 16  // A flush succeeds without asking the system (cache=unsafe).
};

// Opens a regular file or block device. Takes no lock. `flags`: VARVE_FILE_... Blocking.
// Durability: with CREATE the folder's entry is durable on return, unless NO_FSYNC.
// Threads: the engine's. Fork: not in the child.
// Errors: VARVE_NOT_FOUND, VARVE_EXISTS, VARVE_IO (os_errno: EACCES, EISDIR ...),
// VARVE_UNSUPPORTED (O_DIRECT refused; no io_uring and no threads; neither file nor device),
// VARVE_READ_ONLY, VARVE_BUSY (truncating what is locked as an image), VARVE_INVALID_ARGUMENT,
// VARVE_NO_MEMORY.
VARVE_API varve_code varve_storage_open_path(varve_engine* engine, const char* path, uint32_t flags,
                                             varve_storage** storage, varve_error* error);

// The same over a descriptor the caller opened; no path is opened. On success, and only then, `fd`
// is the library's, and closed. `flags`: WRITABLE must match its mode; NO_FSYNC.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_INVALID_ARGUMENT (the mode),
// VARVE_UNSUPPORTED, VARVE_READ_ONLY, VARVE_IO, VARVE_NO_MEMORY.
VARVE_API varve_code varve_storage_open_fd(varve_engine* engine, int fd, uint32_t flags,
                                           varve_storage** storage, varve_error* error);

// Memory that behaves like a sparse regular file of `bytes`. Gone with the handle.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_NO_MEMORY.
VARVE_API varve_code varve_storage_open_memory(varve_engine* engine, uint64_t bytes,
                                               varve_storage** storage, varve_error* error);

// What a storage supplied by callbacks is asked to do.
enum {
  VARVE_STORAGE_READ = 0,          // vectors <- bytes at offset; zeros past the end.
  VARVE_STORAGE_WRITE = 1,         // bytes at offset <- vectors; past the end it grows.
  VARVE_STORAGE_FLUSH = 2,         // Durable: all that completed before, size included.
  VARVE_STORAGE_WRITE_ZEROES = 3,  // [offset, offset + length) reads as zeros.
  VARVE_STORAGE_DISCARD = 4,       // [offset, offset + length) is given back.
  VARVE_STORAGE_ALLOCATE = 5,      // Space for the range is reserved; content is kept.
  VARVE_STORAGE_RESIZE = 6         // The size becomes `offset`; new bytes are zeros.
};

// One request to such a storage. The library's; valid until it is completed.
typedef struct varve_storage_request varve_storage_request;
typedef struct varve_storage_io {
  size_t size;
  uint32_t operation;  // VARVE_STORAGE_...
  uint32_t tag;        // VARVE_TAG_...: what it is for.
  uint64_t offset;
  uint64_t length;             // Of the range; for read and write the sum of the vectors.
  const varve_iovec* vectors;  // Read and write. Valid until completion, as the memory is.
  uint32_t vector_count;
  uint32_t reserved;
} varve_storage_io;

enum {
  VARVE_STORAGE_FIXED_SIZE = 1,        // Cannot grow.
  VARVE_STORAGE_CAN_DISCARD = 2,       // DISCARD works; else it is not asked for.
  VARVE_STORAGE_DISCARD_ZEROES = 4,    // A discarded range reads as zeros.
  VARVE_STORAGE_CAN_WRITE_ZEROES = 8,  // WRITE_ZEROES costs less than writing zeros.
  VARVE_STORAGE_GROWTH_IS_ZERO = 16,   // New bytes of a resize read as zeros.
  VARVE_STORAGE_READ_ONLY = 32
};

// Duties of the implementer: each request completes exactly once, whole or with an error (a read or
// write is never short); a failed flush stays failed. Requests may complete in any order.
typedef struct varve_storage_callbacks {
  size_t size;
  void* owner;                 // Passed to each callback.
  const char* name;            // For messages. NULL: "<callbacks>".
  uint32_t flags;              // VARVE_STORAGE_FIXED_SIZE and so on.
  uint32_t request_alignment;  // A power of two that offsets and lengths should meet; a hint. 0: 1.
  uint32_t memory_alignment;   // The same for memory. 0: 1.
  uint32_t reserved;
  // Starts a request; describe it with varve_storage_request_get. Must not block, and must not call
  // the library otherwise, apart from completing requests (this one included).
  void (*submit)(void* owner, varve_storage_request* request);
  // The size in bytes now: what completed writes and resizes have made it. No I/O.
  uint64_t (*get_size)(void* owner);
  // Image locks: as QEMU's. May be NULL: there are none. VARVE_BUSY: somebody is in the way.
  varve_code (*lock)(void* owner, int for_writing, int share_everything);
  void (*unlock)(void* owner);
  // The storage is closed: nothing is in flight. May be NULL.
  void (*close)(void* owner);
} varve_storage_callbacks;

// A storage made of callbacks, which run on the engine's thread. `owner` must live until `close`.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_INVALID_ARGUMENT (submit or get_size
// missing, an alignment that is no power of two), VARVE_UNSUPPORTED, VARVE_NO_MEMORY.
VARVE_API varve_code varve_storage_open_callbacks(varve_engine* engine,
                                                  const varve_storage_callbacks* callbacks,
                                                  varve_storage** storage, varve_error* error);

// What a request asks for. No I/O. Threads: any, until the request is completed.
// Fork: also in the child. Errors: VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_storage_request_get(const varve_storage_request* request,
                                               varve_storage_io* io);

// Completes a request: VARVE_OK, or the kind of failure and errno (0: none). What waits for it runs
// from the engine's next poll or wait; the request is gone at once.
// Threads: the engine's. Fork: not in the child.
VARVE_API void varve_storage_complete(varve_storage_request* request, varve_code code,
                                      int os_errno);
// The same from any thread; wakes the engine.
// Threads: any. Fork: not in the child.
VARVE_API void varve_storage_complete_from_any_thread(varve_storage_request* request,
                                                      varve_code code, int os_errno);

// Bytes the storage has now. No I/O. Threads: the engine's. Fork: not in the child (0).
VARVE_API uint64_t varve_storage_get_size(const varve_storage* storage);

// Closes a storage that no image has taken over. Nothing is flushed.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (inside a callback).
VARVE_API varve_code varve_storage_close(varve_storage* storage, varve_error* error);

VARVE_C_END
