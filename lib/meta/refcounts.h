// The refcount table in memory and its blocks through a cache. Answers "how often is this cluster
// referenced". Threads: the engine's thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "format/geometry.h"
#include "format/header.h"
#include "format/refcount.h"
#include "meta/need.h"
#include "meta/table_cache.h"

namespace varve {

class Refcounts {
 public:
  Refcounts(const Geometry& geometry, Storage& file, Image::Counters& counters) noexcept
      : geometry_(geometry),
        blocks_(file, counters, IoTag::refcount_block, geometry.cluster_bytes()) {}

  // Takes the table's entries as found on disk. Errors: no_memory.
  Result<void> reserve(std::vector<std::uint64_t> table, HostOffset table_offset,
                       std::size_t cache_blocks) noexcept;

  [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] TableCache& blocks() noexcept { return blocks_; }
  [[nodiscard]] const TableCache& blocks() const noexcept { return blocks_; }
  [[nodiscard]] HostOffset table_offset() const noexcept { return table_offset_; }
  [[nodiscard]] const std::vector<std::uint64_t>& table() const noexcept { return table_; }
  [[nodiscard]] std::uint64_t table_clusters() const noexcept {
    return geometry_.clusters_for(table_.size() * 8);
  }
  [[nodiscard]] bool has_block(std::uint64_t index) const noexcept {
    return index < table_.size() && table_[index] != 0;
  }
  // One past the highest block that exists.
  [[nodiscard]] std::uint64_t block_end() const noexcept;

  // The block counting cluster `index * refcounts_per_block()` and on. REQUIRES: has_block(index).
  // Errors: corrupt (refcount_block_unaligned).
  [[nodiscard]] Answer<TableCache::Table*> block(std::uint64_t index) noexcept;
  // The count of one cluster; 0 where no block exists.
  [[nodiscard]] Answer<std::uint64_t> count(HostCluster cluster) noexcept;

  // Adds or drops one reference on each cluster of a run that lies in one block. REQUIRES: the
  // block exists. Errors: corrupt (refcount_too_low: a count of 0 where `must_be_counted`, or a
  // drop below 0); out_of_range (overflow). On error nothing has changed.
  [[nodiscard]] Answer<Nothing> add(HostCluster first, std::uint64_t count,
                                    bool must_be_counted) noexcept;
  [[nodiscard]] Answer<Nothing> subtract(HostCluster first, std::uint64_t count) noexcept;
  // The same where the run's block is at hand.
  [[nodiscard]] Result<void> subtract(TableCache::Table& block, HostCluster first,
                                      std::uint64_t count) noexcept;
  // Whether every cluster of such a run can take as many references as it has; what others use
  // stays more recently used. Errors: corrupt (refcount_too_low: a count of 0).
  [[nodiscard]] Answer<bool> can_double(HostCluster first, std::uint64_t count) noexcept;

  // Growth has made a block, or a whole new table, durable.
  void set_block(std::uint64_t index, HostOffset offset) noexcept {
    table_[index] = offset.value();
  }
  void set_table(std::vector<std::uint64_t> table, HostOffset offset) noexcept {
    table_ = std::move(table);
    table_offset_ = offset;
  }

  // Clusters of the run that share the first one's block.
  [[nodiscard]] std::uint64_t in_one_block(HostCluster first, std::uint64_t count) const noexcept;
  // The bytes of a block that hold the counts [index, index + count), for dirty spans.
  struct Span {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  [[nodiscard]] Span span_of(std::uint64_t index, std::uint64_t count) const noexcept;

 private:
  // Where a block stands. Errors: corrupt (refcount_block_unaligned).
  [[nodiscard]] Result<HostOffset> place_of(std::uint64_t index) const noexcept;
  // A reference to a cluster of the run's block whose count, at `index`, is 0.
  [[nodiscard]] Error not_counted(const TableCache::Table& table, HostCluster first,
                                  std::uint64_t index) const noexcept;

  Geometry geometry_;
  TableCache blocks_;
  std::vector<std::uint64_t> table_;
  HostOffset table_offset_;
};

}  // namespace varve
