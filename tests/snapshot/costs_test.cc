// What snapshot operations cost, in numbers that no machine changes: barriers, tables read, and
// what is asked of the storage before the guest or the caller sees the new state.
#include <algorithm>
#include <functional>

#include <gtest/gtest.h>
#include <varve/diff.h>

#include "base/failure.h"
#include "sim/faulty_storage.h"
#include "snapshot/operation_ground.h"

namespace varve::test {
namespace {

// Goal: the number of barriers does not follow the size, and creation needs fewer than six. Method:
// the same on disks of few and of many windows of tables.
TEST_F(OperationTest, BarriersAreFewWhateverTheSize) {
  for (const std::uint64_t size : {4u, 300u}) {
    SCOPED_TRACE(size);
    make_tables(size);
    const auto barriers_of = [&](const std::function<void()>& act) {
      trace_.clear();
      act();
      return trace_.count(StorageOperation::flush);
    };
    EXPECT_EQ(barriers_of([&] { take("one"); }), 5u);
    EXPECT_EQ(barriers_of([&] { take("two"); }), 4u);
    write_each(std::byte{2});
    EXPECT_EQ(barriers_of([&] { VARVE_MUST(apply_snapshot(*image_, 0)); }), 5u);
    EXPECT_EQ(barriers_of([&] { VARVE_MUST(delete_snapshot(*image_, 1)); }), 4u);
    EXPECT_EQ(barriers_of([&] { VARVE_MUST(delete_snapshot(*image_, 0)); }), 4u);
    expect_each(*image_, std::byte{1});
  }
  check();
}

TEST_F(OperationTest, ApplyReadsOnlyTheTablesThatDiffer) {
  make_tables(32);
  take("one");
  for (const std::uint64_t differing : {0u, 1u, 7u, 32u}) {
    for (std::uint64_t table = 0; table < differing; ++table) {
      write_at(table, std::byte{9});
    }
    reopen_traced();
    VARVE_MUST(apply_snapshot(*image_, 0));
    // The snapshot's, to look at them and, where the cache has lost them, to count what they map;
    // and the disk's own.
    const bool fits = differing <= kCachedTables / 4;
    EXPECT_EQ(trace_.count(StorageOperation::read, IoTag::l2), (fits ? 2 : 3) * differing);
    expect_each(*image_, std::byte{1});
  }
  check();
}

// Goal: how soon a deletion is visible follows from nothing that grows with the disk: one read of
// the snapshot's L1, one table of snapshots written and made durable where any are left, one header
// write. Method: all that was asked of the storage when the snapshot is gone, on disks of few and
// of many windows of tables.
TEST_F(OperationTest, ADeletionIsVisibleBeforeAnyTableIsRead) {
  struct Seen {
    const sim::Trace* trace;
    std::vector<sim::TraceEntry> entries;
  };
  for (const std::uint64_t size : {4u, 300u}) {
    for (const bool is_last : {true, false}) {
      SCOPED_TRACE(std::to_string(size) + (is_last ? " tables, the last" : " tables, one of two"));
      make_tables(size);
      take("one");
      if (!is_last) {
        take("two");
      }
      write_each(std::byte{2});
      reopen_traced();
      Seen seen{&trace_, {}};
      OperationOptions options;
      options.owner = &seen;
      options.changed = [](SnapshotOperation& operation, void* owner) {
        auto& at = *static_cast<Seen*>(owner);
        if (operation.progress().phase == SnapshotPhase::reclaiming) {
          at.entries = at.trace->entries();
        }
      };
      auto deletion = start_delete(*image_, 0, options);
      VARVE_MUST(deletion);
      VARVE_MUST((*deletion)->wait());
      const auto count = [&](StorageOperation operation, std::optional<IoTag> tag = std::nullopt) {
        return std::count_if(seen.entries.begin(), seen.entries.end(), [&](const auto& entry) {
          return entry.operation == operation && (!tag || entry.tag == *tag);
        });
      };
      // The first change of a session looks at every snapshot's L1; here that is the deletion.
      const int left = is_last ? 0 : 1;
      EXPECT_EQ(count(StorageOperation::read, IoTag::l1), 2 + left);
      EXPECT_EQ(count(StorageOperation::read, IoTag::refcount_block), left);
      EXPECT_EQ(count(StorageOperation::read), 2 + 2 * left);
      EXPECT_EQ(count(StorageOperation::write, IoTag::refcount_block), left);
      EXPECT_EQ(count(StorageOperation::write, IoTag::snapshot_table), left);
      EXPECT_EQ(count(StorageOperation::write, IoTag::header), 1);
      EXPECT_EQ(count(StorageOperation::write), 1 + 2 * left);
      EXPECT_EQ(count(StorageOperation::flush), 1 + left);
      expect_each(*image_, std::byte{2});
      check(false);
    }
  }
}

// Goal: comparing disks reads each table that differs once, several at a time; a cache of two
// tables does as well. Method: reads that were under way together.
TEST_F(OperationTest, ADifferenceIsReadSeveralTablesAtATime) {
  make_tables(32);
  take("one");
  for (std::uint64_t table = 0; table < 32; table += 2) {
    write_at(table, std::byte{2});
  }
  reopen_traced();
  const auto ranges = diff_snapshots(*image_, {0}, {});
  VARVE_MUST(ranges);
  ASSERT_EQ(ranges->size(), 16u);
  EXPECT_EQ((*ranges)[15].start, 30 * kTableCovers);
  EXPECT_EQ(trace_.count(StorageOperation::read, IoTag::l2), 32u);
  std::vector<std::pair<std::uint64_t, int>> moments;
  for (const sim::TraceEntry& entry : trace_.entries()) {
    if (entry.tag == IoTag::l2) {
      moments.emplace_back(entry.submitted, 1);
      moments.emplace_back(entry.completed, -1);
    }
  }
  std::sort(moments.begin(), moments.end());
  int under_way = 0;
  int most = 0;
  for (const auto& [moment, change] : moments) {
    under_way += change;
    most = std::max(most, under_way);
  }
  EXPECT_EQ(most, 8);
  open_with([](std::unique_ptr<Storage> storage) { return storage; });
  const auto with_two = diff_snapshots(*image_, {0}, {});
  VARVE_MUST(with_two);
  EXPECT_EQ(with_two->size(), 16u);
  check(false);
}

// Goal: a comparison that ends early leaves nothing under way and nothing kept in memory. Method: a
// visitor that refuses, and a device that fails, at each range and read.
TEST_F(OperationTest, AComparisonMayEndAnywhere) {
  make_tables(12);
  take("one");
  for (std::uint64_t table = 0; table < 12; table += 2) {
    write_at(table, std::byte{2});
  }
  sim::FaultPlan plan;
  VARVE_MUST(image_->close());
  image_.reset();
  OpenOptions options;
  options.writable = true;
  options.l2_cache_bytes = 16 * kClusterBytes;
  auto opened = Image::open(std::make_unique<sim::FaultyStorage>(
                                std::make_unique<sim::SimStorage>(*engine_, disk_), plan),
                            "/lab", options);
  VARVE_MUST(opened);
  image_ = std::move(*opened);
  for (std::uint64_t i = 0; i < 6; ++i) {
    std::uint64_t told = 0;
    const Result<void> stopped =
        for_each_difference(*image_, {0}, {}, [&](const DiffRange&) -> Result<void> {
          return told++ == i ? Result<void>(failure(ErrorCode::cancelled, "enough"))
                             : Result<void>();
        });
    EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
  }
  unsigned failures = 0;
  const auto whole = [&] { return diff_snapshots(*image_, {0}, {}); };
  for (std::uint64_t i = 0; i < 4; ++i) {
    plan.lift();
    sim::FaultRule rule;
    rule.tag = IoTag::l2;
    rule.nth = i;
    rule.from_then_on = true;
    plan.add(rule);
    const auto found = whole();
    EXPECT_TRUE(found.has_value() || found.error().code == ErrorCode::io);
    failures += found ? 0 : 1;
  }
  EXPECT_GT(failures, 0u);
  plan.lift();
  for (unsigned table = 0; table < 12; ++table) {  // All of the cache is there for everybody.
    write_at(table, std::byte{3});
  }
  const auto ranges = whole();
  VARVE_MUST(ranges);
  EXPECT_EQ(ranges->size(), 12u);
  check(false);
}

}  // namespace
}  // namespace varve::test
