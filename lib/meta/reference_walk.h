// Everything in an image that refers to clusters, each L2 table once whatever the number of L1
// entries (active or of snapshots) that lead to it. Serves settling, check and inspection.
// Straight-line code that runs the engine; nobody else changes the image meanwhile, and everything
// is on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <varve/result.h>

#include "base/buffer.h"
#include "base/units.h"
#include "meta/cluster_store.h"
#include "meta/metadata.h"

namespace varve {

class ReferenceWalk {
 public:
  static constexpr std::uint64_t kNotActive = ~std::uint64_t{0};

  // One L2 table and how many L1 entries lead to it.
  struct TableReference {
    HostOffset offset;
    std::uint32_t references = 0;
    std::uint64_t active_index = kNotActive;  // The active L1 slot that leads to it, if any.
    HostOffset where;                         // Of one of the L1 entries in the file.
  };
  // A place that breaks a rule; the walk goes on behind it.
  using Problem = std::function<void(const Error&)>;

  ReferenceWalk(Metadata& metadata, Problem problem)
      : metadata_(&metadata), problem_(std::move(problem)) {}

  // Collects the L1 tables of the active disk and of every snapshot. Errors: no_memory; io goes to
  // `problem`.
  [[nodiscard]] Result<void> collect() noexcept;

  // Clusters outside L2 tables: header, L1 tables, refcount structures, snapshot table, bitmaps.
  using FixedVisitor = std::function<void(ClusterRun run, IoTag tag, HostOffset where)>;
  [[nodiscard]] Result<void> for_each_fixed(const FixedVisitor& visit) noexcept;

  // Each L2 table once, in file order, read in batches. A table that cannot be read goes to
  // `problem`.
  using TableVisitor = std::function<void(const TableReference& table, ConstBytes bytes)>;
  [[nodiscard]] Result<void> for_each_table(const TableVisitor& visit) noexcept;

  [[nodiscard]] const std::vector<TableReference>& tables() const noexcept { return tables_; }

  // The clusters of one validated entry in the image file; count 0 where it refers to none.
  [[nodiscard]] ClusterRun clusters_of(L2Entry entry) const noexcept;

 private:
  void add_l1_entry(L1Entry entry, std::uint64_t active_index, HostOffset where);
  [[nodiscard]] Result<void> add_snapshot_l1(const SnapshotEntry& snapshot);
  void merge_tables();
  [[nodiscard]] Result<void> visit_refcounts(const FixedVisitor& visit);
  [[nodiscard]] Result<void> visit_bitmaps(const FixedVisitor& visit);
  [[nodiscard]] Result<void> visit_bitmap_tables(const FixedVisitor& visit, HostOffset directory,
                                                 ConstBytes bytes);
  [[nodiscard]] ClusterRun run_of(HostOffset offset, std::uint64_t bytes) const noexcept;
  // The file's bytes, or nothing after telling the problem.
  [[nodiscard]] Result<Buffer> read(IoTag tag, HostOffset offset, std::uint64_t bytes) noexcept;

  Metadata* metadata_;
  Problem problem_;
  std::vector<TableReference> tables_;
};

}  // namespace varve
