// Flush rounds: the one place that decides in which order tables reach the file.
// Between rounds, what needs no order may be written without any barrier (write_early).
//
// A round takes the dirty refcount blocks, L2 tables and L1 sectors as they are when it begins (O3:
// copies, so that later changes belong to the next round), writes the blocks, a barrier, the
// tables, a barrier, the sectors, a barrier: at most three, and one when only data is dirty. The
// first barrier covers every data write that completed before the round began (O2), the blocks
// every claim the tables show (O1). Drops released before it are durable after it (O3, O7).
// Threads: the engine's thread only.
#pragma once

#include <vector>

#include "base/buffer.h"
#include "base/mutation.h"
#include "meta/batch.h"
#include "meta/cluster_store.h"
#include "meta/l1_table.h"
#include "meta/table_cache.h"
#include "meta/waiter.h"

namespace varve {

class Commit final : private Waiter {
 public:
  struct Parts {
    Storage* file = nullptr;
    Storage* data_file = nullptr;  // Null: data stands in the image file.
    L1Table* l1 = nullptr;
    TableCache* l2 = nullptr;
    Refcounts* refcounts = nullptr;
    ClusterStore* store = nullptr;
    Image::Counters* counters = nullptr;
    Waiter* after_round = nullptr;  // Resumed after every round, before those who waited for it.
  };
  explicit Commit(const Parts& parts) noexcept : parts_(parts), batch_(*parts.counters) {}
  ~Commit() { VARVE_ASSERT(step_ == Step::idle && !is_scheduled_); }

  // Resumed when everything that completed before this call is durable. The next round that has not
  // begun serves it. Errors: poisoned, io and no_space of the writes (tables stay dirty: a later
  // flush tries again), no_memory.
  void flush(Waiter& waiter) noexcept;
  // Writes what may reach the file at any moment, and nothing else, without a barrier: refcount
  // blocks (a count in memory is never below what is durable) and tables changed by edit_early
  // alone. Resumed when everything that was changed so before this call has been written. Errors:
  // io and no_space of the writes (what failed stays dirty), no_memory, poisoned.
  void write_early(Waiter& waiter) noexcept;
  // Starts a round soon without waiting for it, when there is anything to write.
  void nudge() noexcept;

  [[nodiscard]] bool is_running() const noexcept { return step_ != Step::idle || is_scheduled_; }
  [[nodiscard]] bool is_poisoned() const noexcept { return is_poisoned_; }
  // A failed barrier or an unknown header (O9): nothing may be written any more.
  void poison() noexcept { is_poisoned_ = !is_broken(Rule::o9); }

  // A write to the file (or the data file) has completed and is not durable yet.
  void note_unsynced(bool in_data_file) noexcept {
    (in_data_file ? is_data_file_unsynced_ : is_file_unsynced_) = true;
  }
  // While held, L1 sectors wait: a control operation is about to replace the table (O5).
  void hold_l1(bool hold) noexcept { is_l1_held_ = hold; }

 private:
  enum class Step : std::uint8_t {
    idle,            // -> writing_counts from the engine's loop
    writing_counts,  // -> first_barrier
    first_barrier,   // -> writing_tables, or finish when there are none
    writing_tables,  // -> second_barrier
    second_barrier,  // -> writing_l1, or finish
    writing_l1,      // -> third_barrier
    third_barrier,   // -> finish
    writing_early,   // -> itself, until nothing is left; then idle
  };
  struct TableWrite {
    HostOffset offset;
    TableCache::DirtySpan span;
    Buffer copy;
  };
  struct SectorWrite {
    HostOffset table;  // The L1 as it was: an apply may put another in its place meanwhile.
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    Buffer copy;
  };

  void schedule() noexcept;
  void begin() noexcept;
  void begin_round() noexcept;
  void write_next_early() noexcept;
  [[nodiscard]] Result<void> collect_early() noexcept;
  [[nodiscard]] Result<void> collect_table(TableCache& cache, TableCache::Table& table,
                                           std::vector<TableWrite>& writes) noexcept;
  void finish_early(const Result<void>& result) noexcept;
  // Memory for a copy; most are used again, so that the system is not asked for each.
  [[nodiscard]] Result<Buffer> take_copy() noexcept;
  void give_back_copy(Buffer copy) noexcept;
  [[nodiscard]] Result<void> collect() noexcept;
  [[nodiscard]] Result<void> collect_tables(TableCache& cache,
                                            std::vector<TableWrite>& writes) noexcept;
  void resume(const Result<void>& result) noexcept override;
  void advance(Result<void> result) noexcept;
  [[nodiscard]] Result<void> stage_tables(const std::vector<TableWrite>& writes,
                                          IoTag tag) noexcept;
  [[nodiscard]] Result<bool> issue_tables(const std::vector<TableWrite>& writes,
                                          IoTag tag) noexcept;
  [[nodiscard]] Result<bool> issue_sectors() noexcept;
  [[nodiscard]] Result<bool> issue_barrier(bool is_needed) noexcept;
  void settle_writes(TableCache& cache, std::vector<TableWrite>& writes, bool written) noexcept;
  void finish(const Result<void>& result) noexcept;

  Parts parts_;
  Batch batch_;
  Step step_ = Step::idle;
  StorageRequest start_;  // Posted to the engine: rounds begin from its loop, never inside flush().
  bool is_scheduled_ = false;
  std::uint64_t round_ = 0;
  WaitList waiting_;  // For the next round.
  WaitList riding_;   // For the one that runs.
  WaitList early_waiting_;
  WaitList early_riding_;
  std::vector<Buffer> spare_copies_;
  std::size_t early_block_ = 0;  // How far the early writes have come in either cache.
  std::size_t early_table_ = 0;
  std::vector<TableWrite> counts_;
  std::vector<TableWrite> tables_;
  std::vector<SectorWrite> sectors_;
  bool is_file_unsynced_ = false;
  bool is_data_file_unsynced_ = false;
  bool is_poisoned_ = false;
  bool is_l1_held_ = false;
  bool is_l1_left_out_ = false;  // Of the round under way: it makes no dropping entry durable.
};

}  // namespace varve
