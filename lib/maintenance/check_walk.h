// One check of one image: counts every reference, window of clusters by window, and sets the counts
// and flags the image keeps against them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <varve/check.h>

#include "base/failure.h"
#include "base/try.h"
#include "maintenance/check_l2.h"
#include "maintenance/check_observer.h"
#include "maintenance/check_refcounts.h"
#include "maintenance/check_report.h"
#include "maintenance/check_window.h"
#include "meta/metadata.h"
#include "meta/reference_walk.h"

namespace varve {

template <std::unsigned_integral Cell>
class CheckWalk {
 public:
  // Without an observer nobody is told.
  CheckWalk(Metadata& metadata, const CheckOptions& options, CheckObserver* observer);

  // Errors: no_memory, cancelled, over_budget, and the observer's.
  Result<void> run();
  // Some cluster has more references than a cell counts: the report is of no use.
  [[nodiscard]] bool is_saturated() const noexcept { return window_.is_saturated(); }
  [[nodiscard]] CheckReport& report() noexcept { return findings_.report(); }

 private:
  using Window = CheckWindow<Cell>;
  using TableReference = ReferenceWalk::TableReference;
  class TableSink;
  class Shown;

  Result<void> run_window();
  [[nodiscard]] std::uint64_t next_window() const noexcept;
  Result<void> load_counts();
  Result<void> add_fixed();
  void add_fixed_run(ClusterRun run, IoTag tag, HostOffset where);
  void add_tables();
  void check_l1_flags();
  Result<void> add_contents();
  Result<std::uint64_t> count_tables();
  Result<void> compare();
  void compare_cluster(const CountedRange& range, std::uint64_t cluster, std::uint64_t stored);
  void check_snapshots();
  Result<void> show_window();

  // What is told once, however many passes there are.
  [[nodiscard]] bool is_first_pass() const noexcept { return window_.first() == 0; }
  [[nodiscard]] bool is_count_known(std::uint64_t cluster) const noexcept;
  [[nodiscard]] Result<void> go_on() const noexcept;
  [[nodiscard]] Result<void> pay_for_window() const noexcept;
  void tell(Severity severity, Corruption reason, IoTag table, std::uint64_t offset,
            std::uint64_t host_offset, std::uint64_t found, std::uint64_t expected) {
    findings_.add(Finding{severity, reason, table, offset, host_offset, found, expected});
  }

  Metadata* metadata_;
  const CheckOptions* options_;
  CheckObserver* observer_;
  Geometry geometry_;
  CheckFindings findings_;
  ReferenceWalk walk_;
  Window window_;
  std::uint64_t batch_bytes_;
  std::uint64_t file_clusters_;
  std::uint64_t highest_in_use_ = 0;
  std::uint64_t done_ = 0;  // Tables, over all passes.
  std::uint64_t total_ = 0;
  std::vector<std::uint64_t> unknown_blocks_;  // In this window, ascending.
};

// The entries of one table; check_table.cc.
template <std::unsigned_integral Cell>
class CheckWalk<Cell>::TableSink {
 public:
  TableSink(CheckWalk& walk, const TableReference& table) noexcept
      : walk_(&walk), table_(&table), is_active_(table.active_references != 0) {}

  void run(std::uint64_t index, ClusterRun run, std::uint64_t raw);
  void single(std::uint64_t index, L2Entry entry);

 private:
  [[nodiscard]] std::uint64_t where(std::uint64_t index) const noexcept {
    return table_->offset.value() + (index << walk_->geometry_.l2_entry_bits());
  }
  void count_allocated(HostOffset host, std::uint64_t clusters);
  void show_beyond_disk(std::uint64_t index, std::uint64_t clusters);
  void in_data_file(std::uint64_t index, L2Entry entry);
  void odd_data(std::uint64_t index, L2Entry entry);
  void compressed(std::uint64_t index, L2Entry entry);
  void tell_beyond_end(Corruption reason, std::uint64_t index, HostOffset host);
  void tell_overlaps(ClusterRun part, Cell others, std::uint64_t index, bool is_one_entry);
  void tell_flags(ClusterRun part, std::uint64_t index, std::uint64_t raw);

  CheckWalk* walk_;
  const TableReference* table_;
  bool is_active_;
  std::uint64_t next_contiguous_ = 0;  // Where the next cluster stands if nothing is fragmented.
};

extern template class CheckWalk<std::uint16_t>;
extern template class CheckWalk<std::uint32_t>;
extern template class CheckWalk<std::uint16_t>::TableSink;
extern template class CheckWalk<std::uint32_t>::TableSink;

}  // namespace varve
