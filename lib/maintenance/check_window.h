// What a check knows of each cluster in a window of the file: how many references it has met, from
// what kinds of structure, and whether the stored count is exactly one. Two bytes per cluster, or
// four where something is referred to more than a thousand times.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "meta/cluster_store.h"

namespace varve {

template <std::unsigned_integral Cell>
class CheckWindow {
  static constexpr Cell bit_from_top(unsigned place) noexcept {
    return static_cast<Cell>(Cell{1} << (sizeof(Cell) * 8 - 1 - place));
  }

 public:
  static constexpr Cell kStoredOne = bit_from_top(0);
  static constexpr Cell kFixed = bit_from_top(1);  // Header, L1, refcounts, snapshots, bitmaps.
  static constexpr Cell kTable = bit_from_top(2);  // An L2 table.
  static constexpr Cell kData = bit_from_top(3);   // Guest data or saved machine state.
  static constexpr Cell kCompressed = bit_from_top(4);  // Compressed guest data.
  // Of a cluster without references: it is counted nevertheless. Set when counts are compared.
  static constexpr Cell kLeaked = kData;
  static constexpr Cell kGuard = bit_from_top(5);  // Set by a count that overflows.
  static constexpr Cell kCountMask = static_cast<Cell>(kGuard - 1);

  void start(std::uint64_t first, std::uint64_t count) {
    first_ = first;
    next_ = kNone;
    cells_.assign(count, Cell{0});
  }
  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return first_ + cells_.size(); }
  [[nodiscard]] bool contains(std::uint64_t cluster) const noexcept {
    return cluster >= first_ && cluster < end();
  }
  // The part of a run that lies in the window; count 0 for none.
  [[nodiscard]] ClusterRun clip(ClusterRun run) noexcept {
    const std::uint64_t run_end = run.first.value() + run.count;
    const std::uint64_t begin = std::max(run.first.value(), first_);
    const std::uint64_t stop = std::min(run_end, end());
    if (run_end > end()) {
      next_ = std::min(next_, std::max(run.first.value(), end()));
    }
    return {HostCluster(begin), begin < stop ? stop - begin : 0};
  }
  // The first cluster behind the window that a clipped run reaches; kNone: no run did.
  [[nodiscard]] std::uint64_t next() const noexcept { return next_; }
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  // REQUIRES: contains(cluster).
  [[nodiscard]] Cell& operator[](std::uint64_t cluster) noexcept {
    VARVE_ASSERT(contains(cluster));
    return cells_[cluster - first_];
  }

  // What was known of the clusters of a run before it was added: of any of them, and of all.
  struct Met {
    Cell any = 0;
    Cell all = static_cast<Cell>(~Cell{0});
  };
  // REQUIRES: the run lies in the window.
  Met add(ClusterRun run, std::uint64_t references, Cell kind) noexcept {
    VARVE_ASSERT(run.first.value() >= first_ && run.first.value() + run.count <= end());
    Cell* const begin = cells_.data() + (run.first.value() - first_);
    const auto step = static_cast<Cell>(std::min<std::uint64_t>(references, kCountMask));
    Met met;
    Cell after = 0;
    for (std::uint64_t i = 0; i < run.count; ++i) {
      const Cell cell = begin[i];
      met.any = static_cast<Cell>(met.any | cell);
      met.all = static_cast<Cell>(met.all & cell);
      begin[i] = static_cast<Cell>((cell + step) | kind);
      after = static_cast<Cell>(after | begin[i]);
    }
    if ((after & kGuard) != 0 || step != references) {
      is_saturated_ = true;
      saturate(begin, run.count);
    }
    return met;
  }

  // Some count is a lower bound only.
  [[nodiscard]] bool is_saturated() const noexcept { return is_saturated_; }

 private:
  static void saturate(Cell* begin, std::uint64_t count) noexcept {
    for (std::uint64_t i = 0; i < count; ++i) {
      if ((begin[i] & kGuard) != 0) {
        begin[i] = static_cast<Cell>((begin[i] | kCountMask) & ~kGuard);
      }
    }
  }

  std::uint64_t first_ = 0;
  std::uint64_t next_ = kNone;
  std::vector<Cell> cells_;
  bool is_saturated_ = false;
};

}  // namespace varve
