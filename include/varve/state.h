// The machine state of a full snapshot: a blob of the embedder's own, of any size, kept where qcow2
// keeps VM state (QEMU's `-loadvm` finds it there when the blob is QEMU's own stream).
//
// A StateWriter takes the blob as a stream or as parallel writes at offsets. Its clusters belong to
// no disk until the snapshot it is attached to (SnapshotCreateOptions::state) is published; then
// only that snapshot refers to them. Blocks of zeros take no space. Behind the blob stands one
// XXH3-128 sum per 64 KiB of it, and one digest over the sums in the snapshot's entry; a
// StateReader verifies every byte against them before it hands it out.
//
// Threads: the image's. Guest I/O and other snapshot work go on meanwhile. Memory: a few blocks,
// and for each cluster of the state eight bytes, for each 64 KiB sixteen. Durability: what a
// process leaves behind that dies before the snapshot is published is clusters that nobody uses.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <varve/image.h>
#include <varve/result.h>

namespace varve {

inline constexpr std::uint64_t kStateChunkBytes = 65536;  // What one sum covers.
inline constexpr std::uint64_t kStateBytesMax = std::uint64_t{1} << 40;

class StateStore;  // The library's.

// One write, owned by the caller until `complete` runs, from the engine's poll or wait. The bytes
// are the caller's until then.
struct StateRequest {
  std::uint64_t offset = 0;  // Bytes, any alignment.
  std::span<const std::byte> source;
  void (*complete)(StateRequest& request, const Result<void>& result) = nullptr;
  void* owner = nullptr;  // Free for the caller's use.

  // The library's, from submit until completion.
  struct Private {
    StateRequest* next = nullptr;
    std::uint64_t done_bytes = 0;
  } internal;
};

class StateWriter {
 public:
  // The image must outlive the writer, and be closed after it. Several writers may work at once.
  // Blocking: the first change of a session is prepared. Errors: unsupported (raw image, external
  // data file), read_only, poisoned, no_memory, io.
  [[nodiscard]] static Result<std::unique_ptr<StateWriter>> create(Image& image) noexcept;
  // REQUIRES: no request in flight. A blob not attached to a published snapshot is given back.
  // Blocking.
  ~StateWriter();
  StateWriter(const StateWriter&) = delete;
  StateWriter& operator=(const StateWriter&) = delete;

  // Writes at an offset; requests may overlap in time, and arrive in any order. Of bytes written
  // twice at once either may win. The blob ends where the furthest write ended; what was not
  // written reads as zeros. Errors, told to this or a later request and to finish(): out_of_range
  // (beyond kStateBytesMax or what an L1 table maps), invalid_argument (finished), no_space, io,
  // corrupt, no_memory, poisoned.
  void submit(StateRequest& request) noexcept;

  // Blocking forms; write() appends to what was written so far.
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> source) noexcept;
  Result<void> write(std::span<const std::byte> source) noexcept {
    return write_at(size(), source);
  }
  // The blob is at least this long.
  Result<void> extend(std::uint64_t size) noexcept;
  // Bytes so far.
  [[nodiscard]] std::uint64_t size() const noexcept;

  // Nothing more comes: the rest, the sums and the tables are written. REQUIRES: no request in
  // flight. Blocking; made durable by the publication of the snapshot. The first error of anything
  // written is told here; the blob is then of no use.
  Result<void> finish() noexcept;
  [[nodiscard]] bool is_finished() const noexcept;

  [[nodiscard]] StateStore& store() const noexcept { return *store_; }  // For the library.
  explicit StateWriter(std::unique_ptr<StateStore> store) noexcept;

 private:
  std::unique_ptr<StateStore> store_;
};

// Reads a snapshot's state, whole or at random. While it is open the snapshot cannot be deleted
// (busy). The image must outlive it.
class StateReader {
 public:
  // Errors: not_found, busy (it is being deleted), corrupt (the sums do not fit their digest),
  // unsupported (raw image), io, no_memory. A snapshot without state has a state of 0 bytes.
  [[nodiscard]] static Result<std::unique_ptr<StateReader>> open(Image& image,
                                                                 std::size_t index) noexcept;
  ~StateReader();
  StateReader(const StateReader&) = delete;
  StateReader& operator=(const StateReader&) = delete;

  [[nodiscard]] std::uint64_t size() const noexcept;
  // False: another program wrote the state; it has no sums and is read as it is.
  [[nodiscard]] bool is_verified() const noexcept;

  // Blocking. Errors: out_of_range, corrupt with Corruption::state_sum_mismatch (offset: of the
  // damaged 64 KiB, counted in the blob), io. After an error the content of `target` is not to be
  // used.
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> target) noexcept;
  // The next bytes of a stream, as many as there are up to the target's size; 0 at the end.
  Result<std::size_t> read(std::span<std::byte> target) noexcept;

  class Implementation;
  explicit StateReader(std::unique_ptr<Implementation> implementation) noexcept;

 private:
  std::unique_ptr<Implementation> implementation_;
};

// Drops the snapshot's state and keeps its disk. Blocking; crash-safe: the state is there whole, or
// gone. Errors: as delete_snapshot; a snapshot without state is left alone.
Result<void> drop_snapshot_state(Image& image, std::size_t index) noexcept;

}  // namespace varve
