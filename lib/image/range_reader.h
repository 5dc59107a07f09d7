// Reads a range of a disk into memory: looks the pieces up, fetches several at once from the file,
// the backing image or compressed clusters, and fills zeros. Shared by guest reads, copy on write
// and snapshot views. Threads: the engine's thread only.
#pragma once

#include <array>
#include <cstdint>

#include <varve/image.h>

#include "codec/codec.h"
#include "image/scratch.h"
#include "image/vectors.h"
#include "meta/metadata.h"

namespace varve {

// Whose bytes are read. Everything outlives the reader.
struct ReadSource {
  Metadata* metadata = nullptr;
  Map* map = nullptr;
  Image* backing = nullptr;  // Null: unallocated clusters read as zeros.
  Codec* codec = nullptr;
  ScratchPool* scratch = nullptr;  // Buffers of two clusters and one.
};

// Whether [begin, end) is known to read as zeros without reading data. An empty range does; one
// with a damaged entry does not, as reading it tells. No error.
[[nodiscard]] Answer<bool> reads_as_zeros(const ReadSource& source, GuestOffset begin,
                                          GuestOffset end) noexcept;

class RangeReader final : private Waiter {
 public:
  RangeReader() noexcept;

  // Reads [offset, offset + length) of the mapping into the cursor's memory. `done` is resumed with
  // the outcome, never inside this call; false: nothing to wait for, result() tells the outcome.
  // The vectors stay valid until then. REQUIRES: not running; the range lies inside what the L1
  // covers.
  [[nodiscard]] bool start(const ReadSource& source, GuestOffset offset, std::uint64_t length,
                           VectorCursor target, Waiter& done) noexcept;
  [[nodiscard]] const Result<void>& result() const noexcept { return result_; }

 private:
  static constexpr std::size_t kSlots = 8;
  static constexpr std::uint32_t kVectorsPerSlot = 8;
  struct Slot {
    RangeReader* reader = nullptr;
    bool is_used = false;
    std::array<IoVector, kVectorsPerSlot> vectors;
    StorageRequest storage_request;
    BlockRequest block_request;
  };
  void resume(const Result<void>& result) noexcept override;
  // Starts what can be started; true when everything is done.
  [[nodiscard]] bool pump() noexcept;
  [[nodiscard]] bool start_piece(const MapExtent& extent) noexcept;
  void read_file(Slot& slot, const MapExtent& extent) noexcept;
  void read_backing(Slot& slot, const MapExtent& extent) noexcept;
  [[nodiscard]] bool start_compressed(const MapExtent& extent) noexcept;
  void finish_compressed(const Result<void>& read) noexcept;
  void fail(const Error& error) noexcept;
  void piece_done(const Result<void>& result) noexcept;
  void step() noexcept;
  // REQUIRES: not all are in flight.
  [[nodiscard]] Slot& free_slot() noexcept;

  ReadSource source_;
  GuestOffset position_;
  GuestOffset end_;
  VectorCursor target_;
  Waiter* done_ = nullptr;
  Result<void> result_;
  unsigned pending_ = 0;        // Slots in flight.
  bool is_waiting_ = false;     // For a table or a buffer.
  bool is_compressed_ = false;  // A compressed cluster is under way: pieces behind it wait.
  Buffer* scratch_ = nullptr;
  MapExtent compressed_;
  std::array<Slot, kSlots> slots_;
};

}  // namespace varve
