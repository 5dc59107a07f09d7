// Which clusters of the file hold the image's own tables, and of what kind: what no other write may
// land on. An open-addressed set, so that asking costs the same whatever the size of the image;
// sixteen bytes per table at most. Its hash is keyed, so that no image can be made to fill one
// stretch of it. Threads: the engine's thread only.
#pragma once

#include <cstdint>
#include <vector>

#include <varve/result.h>
#include <varve/types.h>

#include "base/units.h"
#include "meta/cluster_store.h"

namespace varve {

class TablePlaces {
 public:
  enum class Kind : std::uint8_t {
    none,
    header,
    l1,  // Of the active disk or a snapshot.
    l2,
    refcounts,  // Table and blocks: growth writes both at once.
    snapshot_table,
    bitmap,
  };
  // What a write with this tag may land on; none for everything that is no table.
  [[nodiscard]] static Kind kind_of(IoTag tag) noexcept;

  // Random: what spreads the clusters over the slots.
  explicit TablePlaces(std::uint64_t key) noexcept : multiplier_(key | 1u | kTopBit) {}

  // Room for `more` clusters beside what is kept. Errors: no_memory.
  [[nodiscard]] Result<void> reserve(std::uint64_t more) noexcept;

  // REQUIRES: reserved. What a cluster was first known to hold counts: a second table there is
  // damage, and its writes are refused.
  void add(HostCluster cluster, Kind kind) noexcept;
  // Whether tables of two kinds were added there, which no sound image has anywhere.
  [[nodiscard]] bool holds_two(HostCluster cluster) const noexcept {
    return has_twos_ && (slots_[position(cluster.value())] & kTwo) != 0;
  }
  // The clusters hold no tables any more.
  void forget(ClusterRun run) noexcept;

  [[nodiscard]] Kind find(HostCluster cluster) const noexcept {
    if (slots_.empty()) {
      return Kind::none;
    }
    // Guest data is what is asked for most, and most slots are empty.
    return slots_[home(cluster.value())] == 0 ? Kind::none : look_up(cluster.value());
  }
  [[nodiscard]] std::uint64_t size() const noexcept { return used_; }

 private:
  static constexpr std::uint64_t kTopBit = std::uint64_t{1} << 63;
  static constexpr unsigned kKindBits = 4;
  static constexpr std::uint64_t kTwo = 8;  // Of them, marks a second kind.

  [[nodiscard]] std::uint64_t home(std::uint64_t cluster) const noexcept {
    return (cluster * multiplier_) >> shift_;
  }
  [[nodiscard]] Kind look_up(std::uint64_t cluster) const noexcept;
  // Where the cluster stands, or the empty slot where it would.
  [[nodiscard]] std::uint64_t position(std::uint64_t cluster) const noexcept;
  void remove(std::uint64_t position) noexcept;

  std::uint64_t multiplier_;
  unsigned shift_ = 63;
  std::uint64_t used_ = 0;
  bool has_twos_ = false;             // Once there was one.
  std::vector<std::uint64_t> slots_;  // Cluster and kind; 0 is empty, as no kind is 0.
};

}  // namespace varve
