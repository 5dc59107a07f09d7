// The machine state of a full snapshot: a blob of the embedder's own, of any size, that the
// snapshot keeps. Blocks of zeros take no space; every 64 KiB is verified when read.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>
#include <varve/c/snapshot.h>

VARVE_C_BEGIN

typedef struct varve_state_reader varve_state_reader;

// Begins a state, to be attached to a snapshot by varve_snapshot_options.state. Blocking. Freed by
// varve_state_writer_close, before the image is closed.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_UNSUPPORTED (raw image, external
// data file), VARVE_READ_ONLY, VARVE_POISONED, VARVE_IO, VARVE_NO_MEMORY.
VARVE_API varve_code varve_state_writer_create(varve_image* image, varve_state_writer** writer,
                                               varve_error* error);

// One piece of a state.
typedef struct varve_state_piece {
  uint64_t offset;  // Any alignment.
  const void* data;
  size_t length;
} varve_state_piece;

// Writes pieces side by side, in any order. The state ends where the furthest write ended; what was
// not written reads as zeros. Blocking. Durable with the snapshot.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_OUT_OF_RANGE (beyond 1 TiB or what
// the format maps), VARVE_INVALID_ARGUMENT (finished), VARVE_NO_SPACE, VARVE_CORRUPT, VARVE_IO,
// VARVE_NO_MEMORY, VARVE_POISONED.
VARVE_API varve_code varve_state_writer_write(varve_state_writer* writer,
                                              const varve_state_piece* pieces, size_t count,
                                              varve_error* error);
// Appends to what was written so far. Otherwise as varve_state_writer_write.
// Threads: the engine's. Fork: not in the child.
VARVE_API varve_code varve_state_writer_append(varve_state_writer* writer, const void* data,
                                               size_t length, varve_error* error);

// Bytes so far. No I/O. Threads: the engine's. Fork: not in the child (0).
VARVE_API uint64_t varve_state_writer_get_size(const varve_state_writer* writer);

// Nothing more comes: the rest, sums and tables are written. Blocking. Durable with the snapshot.
// Threads: the engine's. Fork: not in the child. Errors: the first of anything written.
VARVE_API varve_code varve_state_writer_finish(varve_state_writer* writer, varve_error* error);

// Frees the writer. A state that no published snapshot has is given back. Blocking.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (inside a callback).
VARVE_API varve_code varve_state_writer_close(varve_state_writer* writer, varve_error* error);

// Opens a snapshot's state. While it is open the snapshot cannot be deleted, nor the image closed.
// Blocking. Freed by varve_state_reader_close.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_NOT_FOUND, VARVE_BUSY (it is being
// deleted), VARVE_CORRUPT, VARVE_UNSUPPORTED (raw image), VARVE_IO, VARVE_NO_MEMORY.
VARVE_API varve_code varve_state_reader_open(varve_image* image, size_t index,
                                             varve_state_reader** reader, varve_error* error);

// Bytes of the state; 0: the snapshot has none. No I/O.
// Threads: the engine's. Fork: not in the child (0).
VARVE_API uint64_t varve_state_reader_get_size(const varve_state_reader* reader);

// 0: another program wrote the state; it has no sums and is read as it is. No I/O.
// Threads: the engine's. Fork: not in the child (0).
VARVE_API int varve_state_reader_is_verified(const varve_state_reader* reader);

// Reads a part, verified. Blocking. After an error the content of `target` is not to be used.
// Threads: the engine's. Fork: not in the child. Errors: VARVE_OUT_OF_RANGE, VARVE_CORRUPT
// (`offset`: of the damaged 64 KiB in the state), VARVE_IO.
VARVE_API varve_code varve_state_reader_read(varve_state_reader* reader, uint64_t offset,
                                             void* target, size_t length, varve_error* error);

// Threads: the engine's. Fork: not in the child. Errors: VARVE_BUSY (inside a callback).
VARVE_API varve_code varve_state_reader_close(varve_state_reader* reader, varve_error* error);

// Drops a snapshot's state and keeps its disk. Blocking. Durable; crash-safe.
// Threads: the engine's. Fork: not in the child. Errors: as varve_snapshot_delete.
VARVE_API varve_code varve_state_drop(varve_image* image, size_t index, varve_error* error);

VARVE_C_END
