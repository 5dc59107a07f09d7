// Makes refcount blocks (and a larger refcount table) where clusters are not counted yet.
//
// The new blocks and the new table stand at the first uncounted cluster and describe themselves:
// area F, table entries F, or area F, header F (O4). Only then is anything they count handed out.
// One growth at a time; others wait. Threads: the engine's thread only.
#pragma once

#include <optional>
#include <vector>

#include "meta/batch.h"
#include "meta/cluster_store.h"
#include "meta/header_writer.h"
#include "meta/need.h"
#include "meta/refcounts.h"

namespace varve {

class Commit;

class RefcountGrowth final : private Waiter {
 public:
  struct Parts {
    Storage* file = nullptr;
    Refcounts* refcounts = nullptr;
    ClusterStore* store = nullptr;
    HeaderWriter* header_writer = nullptr;
    Commit* commit = nullptr;
    Image::Counters* counters = nullptr;
  };
  explicit RefcountGrowth(const Parts& parts) noexcept : parts_(parts), batch_(*parts.counters) {}

  // Grows so that the cluster at need.offset is counted, and need.clusters free clusters behind the
  // new blocks. The waiter is resumed after this growth, or after the one under way: it asks again.
  // Errors: no_space (storage or table limit), no_memory, io, poisoned.
  void grow(const Need& need, Waiter& waiter) noexcept;
  // Resumed when the growth under way is done. REQUIRES: is_running().
  void wait(Waiter& waiter) noexcept { waiters_.add(waiter); }
  [[nodiscard]] bool is_running() const noexcept { return step_ != Step::idle; }

 private:
  enum class Step : std::uint8_t {
    idle,             // -> writing_area
    writing_area,     // -> area_barrier
    area_barrier,     // -> writing_entries, or writing_header with a new table
    writing_entries,  // -> entries_barrier
    entries_barrier,  // -> idle
    writing_header,   // -> idle
  };
  [[nodiscard]] Result<void> plan(const Need& need) noexcept;
  [[nodiscard]] Result<void> fill_area() noexcept;
  [[nodiscard]] Result<void> write_entries() noexcept;
  void write_header() noexcept;
  void resume(const Result<void>& result) noexcept override;
  [[nodiscard]] Result<void> advance() noexcept;
  void install() noexcept;
  void finish(const Result<void>& result) noexcept;

  Parts parts_;
  Batch batch_;
  Step step_ = Step::idle;
  WaitList waiters_;
  std::uint64_t first_block_ = 0;  // Index of the first new block.
  std::uint64_t block_count_ = 0;
  std::uint64_t table_clusters_ = 0;  // Of the new table; 0: the old one has room.
  ClusterRun area_;
  Buffer area_bytes_;
  Buffer entry_bytes_;
  std::vector<std::uint64_t> new_table_;
  HeaderWriter::Update update_;
  std::optional<Error> failure_;  // Found before any I/O; told from a later loop.
};

}  // namespace varve
