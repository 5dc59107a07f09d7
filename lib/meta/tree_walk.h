// Walks everything a set of L2 tables maps, in bulk, and adds or drops one reference on each: what
// a snapshot, an apply, a deletion or an undone creation changes. Runs behind guest I/O. A probe
// changes nothing: it reads and checks all that an addition would.
//
// A window of tables at a time: the tables are read in parallel and checked whole, their clusters
// gathered by refcount block, the blocks edited run by run, COPIED put right in the tables, and
// both written without a barrier (Commit::write_early). Everything goes through the caches, so
// there is one copy of each table. Work is done in slices between which guests have their turns.
//
// Counts only ever err upwards (O1): additions are made before what they are for is published,
// drops after it is durable. A cluster found at count 0 means the image is corrupt, and the walk
// stops. The walked tables must not change meanwhile (they are shared, or nobody's). Threads: the
// engine's thread only.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "meta/metadata.h"
#include "meta/need.h"
#include "meta/waiter.h"
#include "meta/walk_items.h"

namespace varve {

class TreeWalk final : private Waiter {
 public:
  enum class Change : std::uint8_t { add, drop, probe };
  // What is pointed to outlives the walk.
  struct Plan {
    Change change = Change::add;
    const std::vector<std::uint64_t>* l1 = nullptr;  // Raw entries ...
    HostOffset where;                                // ... that stand here in the file.
    // Slots with the same table there are left out.
    const std::vector<std::uint64_t>* other = nullptr;
    // add, probe: slots marked here are left out, and marked when they are done; drop: only those
    // marked lose references.
    std::vector<bool>* added = nullptr;
    // drop: where a count falls to one and the active disk owns the cluster, found by pairing L1
    // slots, COPIED is set again; with `added` in the slots not marked there as well, as far as the
    // active disk has another table there.
    bool sets_flags = false;
  };

  explicit TreeWalk(Metadata& metadata) noexcept;
  ~TreeWalk() { VARVE_ASSERT(step_ == Step::idle); }

  // Resumes `done` with the outcome. Errors: out_of_range (a count would overflow), corrupt, io,
  // no_space, no_memory, poisoned, cancelled. After a failed addition exactly the slots marked in
  // `added` have their references; the clusters of others are counted as before, unless taking them
  // back failed too (counts are then too high: leaks). REQUIRES: not running.
  void start(const Plan& plan, Waiter& done) noexcept;
  // Ends an addition or a probe early, as a failure.
  void stop() noexcept { is_stopped_ = is_stopped_ || step_ != Step::idle; }

  // Every count the probe has seen can double, so that an addition cannot overflow: a tree refers
  // to a cluster no more often than the count says.
  [[nodiscard]] bool has_room() const noexcept { return has_room_; }

  // Flags were changed in a table that only a flush round may write.
  [[nodiscard]] bool needs_round() const noexcept { return needs_round_; }

  // L2 tables the walk is done with, and how many it will visit.
  [[nodiscard]] std::uint64_t tables_done() const noexcept { return tables_done_; }
  [[nodiscard]] std::uint64_t tables_total() const noexcept { return tables_total_; }

 private:
  enum class Step : std::uint8_t {
    idle,
    choosing,    // -> collecting, or finishing when no slot is left
    collecting,  // -> applying
    applying,    // -> flagging; choosing in a probe; reverting after a failed addition
    flagging,    // -> writing
    writing,     // -> choosing, the write going on behind
    reverting,   // -> finishing
    finishing,   // -> idle
  };
  // One table of the window.
  struct Visit {
    std::uint64_t slot = 0;
    HostOffset table;
    bool drops = true;  // False: only flags are put right.
    bool has_copied = false;
    bool is_table_dropped = false;
  };
  // Loads ahead; what fails is loaded again, and told, when it is needed.
  class Prefetch final : public Waiter {
   public:
    TreeWalk* walk = nullptr;
    bool is_busy = false;
    void resume(const Result<void>&) noexcept override;
  };
  static constexpr std::size_t kPrefetches = 8;
  // Writes one window while the next is read.
  class EarlyWrite final : public Waiter {
   public:
    TreeWalk* walk = nullptr;
    bool is_running = false;
    Result<void> result;
    void resume(const Result<void>&) noexcept override;
  };

  void resume(const Result<void>& result) noexcept override;
  void run() noexcept;
  [[nodiscard]] Answer<Nothing> perform() noexcept;
  void fail(const Error& error) noexcept;
  void finish() noexcept;
  void finish_when_idle() noexcept;
  [[nodiscard]] bool start_early_write() noexcept;
  [[nodiscard]] bool is_pacing() noexcept;

  [[nodiscard]] bool is_visited(std::uint64_t slot) const noexcept;
  [[nodiscard]] Answer<Nothing> choose() noexcept;
  [[nodiscard]] Answer<Nothing> collect() noexcept;
  [[nodiscard]] Answer<Nothing> apply() noexcept;
  [[nodiscard]] Answer<Nothing> revert() noexcept;
  [[nodiscard]] Answer<Nothing> apply_block(std::uint32_t block) noexcept;
  [[nodiscard]] Answer<Nothing> apply_item(WalkItem& item) noexcept;
  [[nodiscard]] Answer<Nothing> drop_table(Visit& visit, std::uint32_t index) noexcept;
  [[nodiscard]] Answer<Nothing> drop_stretch(WalkItem& item) noexcept;
  [[nodiscard]] bool is_active_table(const WalkItem& item) const noexcept;
  [[nodiscard]] HostOffset owning_table(const WalkItem& item) const noexcept;
  void set_flags(TableCache::Table& active, const WalkItem& item, std::uint32_t count) noexcept;
  [[nodiscard]] Answer<Nothing> clear_flags() noexcept;
  void prefetch(TableCache& cache, HostOffset offset) noexcept;
  void let_go() noexcept;
  void leave_window() noexcept;
  [[nodiscard]] std::uint64_t prefetch_depth(const TableCache& cache) const noexcept;

  Metadata* metadata_;
  Plan plan_;
  Waiter* done_ = nullptr;
  Step step_ = Step::idle;
  std::optional<Error> error_;
  bool is_stopped_ = false;
  bool is_written_ = false;
  bool needs_round_ = false;
  bool has_room_ = true;

  std::uint64_t next_slot_ = 0;
  std::vector<Visit> window_;
  std::uint64_t window_max_ = 1;
  WalkItems items_;
  std::size_t collected_ = 0;             // Tables of the window that are.
  std::size_t block_ = 0;                 // Of the items' blocks.
  std::uint32_t item_ = WalkItem::kNone;  // The next of that block's.
  bool is_block_begun_ = false;
  std::uint64_t applied_ = 0;  // Items, in order.
  std::uint64_t reverted_ = 0;
  std::size_t flagged_ = 0;

  std::uint64_t work_ = 0;  // Since guests had their turn.
  bool is_stepping_back_ = false;
  unsigned turns_ = 0;
  std::uint64_t entered_at_first_ = 0;
  std::uint64_t entered_last_ = 0;

  std::array<Prefetch, kPrefetches> prefetches_;
  std::size_t prefetching_ = 0;
  EarlyWrite early_write_;
  bool is_waiting_for_write_ = false;
  bool is_waiting_to_finish_ = false;

  std::uint64_t tables_done_ = 0;
  std::uint64_t tables_total_ = 0;
};

}  // namespace varve
