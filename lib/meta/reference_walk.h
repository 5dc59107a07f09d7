// Everything in an image that refers to clusters, each L2 table once whatever the number of L1
// entries (active or of snapshots) that lead to it. Serves settling, check and inspection.
// Straight-line code that runs the engine; nobody else changes the image meanwhile, and everything
// is on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <varve/result.h>

#include "base/buffer.h"
#include "base/try.h"
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
    std::uint32_t active_references = 0;      // Of these, from the active L1: 1 at most where sane.
    std::uint64_t active_index = kNotActive;  // The first active L1 slot that leads to it, if any.
    HostOffset where;                         // Of one of the L1 entries in the file.
  };
  // A place that breaks a rule; the walk goes on behind it.
  using Problem = std::function<void(const Error&)>;

  ReferenceWalk(Metadata& metadata, Problem problem)
      : metadata_(&metadata), problem_(std::move(problem)) {}

  // At most this much is read at a time; one cluster at least.
  void set_batch_bytes(std::uint64_t bytes) noexcept { batch_bytes_ = bytes; }

  // So many tables are remembered at most (twice as many while they are collected): what lies
  // behind them in the file is left to another collect. At least one.
  void set_tables_max(std::size_t tables) noexcept { tables_max_ = tables; }

  // Collects the tables at or behind `from` in the file, from the L1 tables of the active disk and
  // of every snapshot. An entry with reserved bits is told and followed, one that leads nowhere is
  // told and left out, as is a snapshot whose L1 table overlaps another: no more is read than the
  // file is long. Only the first call tells. Errors: no_memory; io goes to `problem`.
  [[nodiscard]] Result<void> collect(HostOffset from = HostOffset()) noexcept;
  // Where another collect would have to begin; nothing when there are no more tables.
  [[nodiscard]] std::optional<HostOffset> next_range() const noexcept { return next_range_; }
  // Where this one began.
  [[nodiscard]] HostOffset range_begin() const noexcept { return range_begin_; }

  // Clusters outside L2 tables: header, L1 tables, refcount structures, snapshot table, bitmaps.
  // What lies beyond the end of the file goes to `problem`. `where` is the field that names the
  // run; of a snapshot's L1 the start of the snapshot table.
  using FixedVisitor = std::function<void(ClusterRun run, IoTag tag, HostOffset where)>;
  [[nodiscard]] Result<void> for_each_fixed(const FixedVisitor& visit) noexcept;

  // Each L2 table once, in file order, read in batches. A table that cannot be read goes to
  // `problem`. An error of the visitor ends the walk.
  using TableVisitor = std::function<Result<void>(const TableReference& table, ConstBytes bytes)>;
  [[nodiscard]] Result<void> for_each_table(const TableVisitor& visit) noexcept;

  // Runs `body` for each part of the tables that is remembered at a time, from the first on. An
  // error of the body ends the walk.
  template <class Body>
  Result<void> for_each_range(Body body) {
    if (range_begin() != HostOffset()) {
      VARVE_TRY(collect());
    }
    while (true) {
      VARVE_TRY(body());
      const std::optional<HostOffset> next = next_range();
      if (!next) {
        return {};
      }
      VARVE_TRY(collect(*next));
    }
  }

  [[nodiscard]] const std::vector<TableReference>& tables() const noexcept { return tables_; }

  // The clusters of one validated entry in the image file; count 0 where it refers to none.
  [[nodiscard]] ClusterRun clusters_of(L2Entry entry) const noexcept;

  // The clusters that `bytes` from `offset` on touch.
  [[nodiscard]] ClusterRun run_of(HostOffset offset, std::uint64_t bytes) const noexcept;

 private:
  void add_l1_entry(L1Entry entry, std::uint64_t active_index, HostOffset where);
  [[nodiscard]] Result<void> add_snapshot_l1(const SnapshotEntry& snapshot);
  void find_overlaps();
  void merge_tables();
  void tell(const Error& error) const {
    if (tells_) {
      problem_(error);
    }
  }
  // Visits a structure that lies in the file; tells the problem, and answers false, otherwise.
  bool visit_fixed(const FixedVisitor& visit, HostOffset offset, std::uint64_t bytes, IoTag tag,
                   HostOffset where);
  void visit_refcounts(const FixedVisitor& visit);
  void visit_snapshots(const FixedVisitor& visit);
  [[nodiscard]] Result<void> visit_bitmaps(const FixedVisitor& visit);
  [[nodiscard]] Result<void> visit_bitmap_data(const FixedVisitor& visit, HostOffset table,
                                               std::uint64_t entries);
  [[nodiscard]] bool is_in_file(HostOffset offset, std::uint64_t bytes) const noexcept;
  [[nodiscard]] Result<Buffer> read(IoTag tag, HostOffset offset,
                                    std::uint64_t bytes) const noexcept;

  Metadata* metadata_;
  Problem problem_;
  std::vector<bool> overlaps_;  // By snapshot: its L1 table lies over another.
  std::vector<TableReference> tables_;
  std::size_t merged_ = 0;  // So many tables were left by the last merge.
  std::size_t tables_max_ = ~std::size_t{0} / 4;
  HostOffset range_begin_;
  std::optional<HostOffset> next_range_;
  bool tells_ = true;
  bool has_collected_ = false;
  std::uint64_t batch_bytes_ = 4 * kMiB;
};

}  // namespace varve
