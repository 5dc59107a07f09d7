// Storage: a flat range of bytes that qcow2 images stand in. Implemented by files on io_uring,
// files on a small pool of threads, and memory; embedders may supply their own (a network store, a
// file broker).
//
// Duties of the caller
//  * A request, its vectors and their memory stay valid and untouched until `complete` has run.
//  * Order between requests comes only from waiting for completions; two requests that overlap and
//  are both in
//    flight may take effect in either order.
//  * No alignment is owed. Requests whose offset, length and memory meet capabilities() go straight
//  to the device;
//    others are bounced, and small writes to a larger device block are serialised per block.
// Duties of the implementer
//  * Every request completes exactly once, from Engine::poll or Engine::wait, never inside submit.
//  * A read or write is whole or an error: no short transfer is ever reported. Reading past the end
//  yields zeros.
//  * Writing past the end extends regular files and memory; a block device answers out_of_range.
//  * `flush` completes when everything that completed before it was submitted is durable, size
//  included.
//  * A failed flush stays failed: later flushes fail too (retrying fsync on Linux loses data
//  silently).
//
// Threads: a Storage belongs to the thread of its Engine.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <varve/result.h>
#include <varve/types.h>

namespace varve {

class Engine;

enum class StorageOperation : std::uint8_t {
  read,          // vectors <- bytes at offset
  write,         // bytes at offset <- vectors
  flush,         // durable: data, and the metadata needed to read it back
  write_zeroes,  // [offset, offset + length) reads as zeros afterwards; space may stay allocated
  discard,       // [offset, offset + length) is given back to the file system; reads as zeros where
            // capabilities().discard_zeroes, else undefined. `unsupported` where it cannot be done
  allocate,  // space for [offset, offset + length) is reserved; content that exists is kept
  resize,    // the size becomes `offset`; new bytes read as zeros. Fixed-size storage: unsupported
};

// Facts fixed when the storage is opened.
struct StorageCapabilities {
  std::uint32_t request_alignment =
      1;  // Bytes; offset and length multiples of it avoid bouncing. A power of two.
  std::uint32_t memory_alignment = 1;  // Bytes; as above for memory.
  bool fixed_size = false;             // Block device: cannot grow.
  bool can_discard = false;
  bool discard_zeroes = false;    // A discarded range reads as zeros.
  bool can_write_zeroes = false;  // write_zeroes is done by the file system, not by writing zeros.
  bool growth_is_zero = false;    // New bytes of a resize are known to read as zeros.
  bool read_only = false;
};

// One I/O. Owned by the caller until `complete` runs; `complete` may destroy or resubmit it.
struct StorageRequest {
  StorageOperation operation = StorageOperation::read;
  IoTag tag = IoTag::none;
  std::uint64_t offset = 0;           // Bytes.
  std::uint64_t length = 0;           // Bytes, for write_zeroes, discard and allocate.
  const IoVector* vectors = nullptr;  // For read and write; the array itself must stay valid too.
  std::uint32_t vector_count = 0;
  void (*complete)(StorageRequest& request, const Result<void>& result) = nullptr;
  void* owner = nullptr;  // Free for the caller's use.

  // The implementation's, from submit until completion.
  struct Private {
    StorageRequest* next = nullptr;
    std::uint64_t done_bytes = 0;
    std::uint64_t words[4] = {};
    void* implementation = nullptr;
    StorageRequest* neighbours[2] = {};  // Links of a list that outlives a stay in a queue.
    Result<void> result;
  } internal;

  // Sum of the vectors' sizes, or `length` for the operations without vectors.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept {
    if (vectors == nullptr) {
      return length;
    }
    std::uint64_t total = 0;
    for (std::uint32_t i = 0; i < vector_count; ++i) {
      total += vectors[i].size;
    }
    return total;
  }
};

// A stretch of a storage that holds data, or is a hole that reads as zeros.
struct StorageExtent {
  std::uint64_t length = 0;  // Bytes.
  bool is_data = true;
};

class Storage {
 public:
  virtual ~Storage() = default;

  [[nodiscard]] virtual const StorageCapabilities& capabilities() const noexcept = 0;

  // Size in bytes now: what completed resizes and extending writes have made it.
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;

  // Starts a request. Never blocks on the device, never completes inside the call, never allocates
  // on the path of an aligned read or write.
  virtual void submit(StorageRequest& request) noexcept = 0;

  // What the bytes take on their device, as far as that is known: of a sparse file without its
  // holes.
  [[nodiscard]] virtual std::uint64_t allocated_bytes() const noexcept { return size(); }

  // The engine the completions come from.
  [[nodiscard]] virtual Engine& engine() const noexcept = 0;

  // A name for messages: the path, or "<memory>". Lives as long as the storage.
  [[nodiscard]] virtual const char* name() const noexcept = 0;

  // Whether this and `other` are the same file (device and inode), so that loops in backing chains
  // are found.
  [[nodiscard]] virtual bool is_same_file(const Storage& other) const noexcept {
    return this == &other;
  }

  // Takes QEMU's image locks, or changes those held. A reader keeps others from writing and
  // resizing, a writer from reading as well; with `share_everything` nobody is kept from anything.
  // Errors: busy (somebody is in the way; `what` is QEMU's own message for it), io; what was held
  // stays held. Does not block. Storages without a file have no locks and succeed.
  [[nodiscard]] virtual Result<void> lock(bool for_writing, bool share_everything) noexcept {
    (void)for_writing;
    (void)share_everything;
    return {};
  }
  virtual void unlock() noexcept {}

  // Somebody else may have changed the storage while it was unlocked: what is remembered of it (its
  // size) is asked again. REQUIRES: nothing in flight. Errors: io.
  [[nodiscard]] virtual Result<void> refresh() noexcept { return {}; }

  // Whether `offset` is data or a hole, as far as the file system tells without I/O of its own; at
  // most `length` bytes. Data where it does not tell. Only a hint of what can be skipped: no
  // decision about correctness may rest on it while writes are in flight. REQUIRES: offset <
  // size().
  [[nodiscard]] virtual StorageExtent extent_at(std::uint64_t offset,
                                                std::uint64_t length) const noexcept {
    (void)offset;
    return {length, true};
  }
};

// How a file is opened. Sizes in bytes.
struct FileOptions {
  bool writable = false;
  bool create = false;    // Make the file; it must not exist unless `truncate`.
  bool truncate = false;  // With create: an existing regular file is emptied.
  bool direct =
      false;  // O_DIRECT (cache=none). EINVAL from the file system is reported as unsupported.
  bool fsync = true;  // false: flush succeeds without asking the system (cache=unsafe).
};

// Opens `path` (a regular file or a block device) on the engine's kind of I/O. Blocking; does not
// lock. Errors: not_found, exists, io (see os_errno: EACCES, EISDIR ...), unsupported (O_DIRECT
// refused; no io_uring and no threads; neither file nor device), no_memory, read_only (a read-only
// file system or device opened for writing), busy (truncate, and somebody has locked the file as an
// image), invalid_argument (create without writable). The storage must be destroyed before the
// engine, with nothing in flight.
[[nodiscard]] Result<std::unique_ptr<Storage>> open_file(Engine& engine, const std::string& path,
                                                         const FileOptions& options);

// As open_file, for a descriptor the caller opened. Ownership of `fd` passes to the storage on
// success only. O_DIRECT is read off the descriptor; options.writable must match its mode
// (invalid_argument otherwise).
[[nodiscard]] Result<std::unique_ptr<Storage>> adopt_file(Engine& engine, int fd,
                                                          const FileOptions& options);

// Memory that behaves like a sparse regular file. For tests and for embedders' scratch images.
[[nodiscard]] Result<std::unique_ptr<Storage>> make_memory_storage(Engine& engine,
                                                                   std::uint64_t size_bytes);

}  // namespace varve
