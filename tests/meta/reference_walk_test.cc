#include "meta/reference_walk.h"

#include "base/meter.h"
#include "meta/bitmap_bytes.h"
#include "meta/bitmap_entries.h"
#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class ReferenceWalkTest : public MetaTest {
 protected:
  static constexpr std::uint64_t kPlace = kMiB;

  // A snapshot with an L1 table of its own.
  void add_snapshot(std::uint64_t l1_offset, std::uint32_t l1_entries) {
    SnapshotEntry entry;
    entry.l1_offset = HostOffset(l1_offset);
    entry.l1_entries = l1_entries;
    metadata_->snapshots.entries.push_back(entry);
  }
  // The active disk's first tables.
  void add_tables(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const GuestOffset guest(i * metadata_->geometry.l2_coverage());
      ASSERT_TRUE(prepare_table(guest).has_value());
    }
    ASSERT_TRUE(flush().has_value());
  }
  ReferenceWalk walk() {
    return {*metadata_, [this](const Error& error) { problems_.push_back(error); }};
  }

  std::vector<Error> problems_;
};

// The active table is believed, wherever the other one begins.
TEST_F(ReferenceWalkTest, ASnapshotsL1OverTheActiveOneIsLeftOut) {
  open(small(4096, 16));
  disk_.content.resize(2 * kMiB);
  add_tables(2);
  const std::uint64_t active = metadata_->l1.offset().value();
  ASSERT_GE(active, 4096u);
  for (const std::uint64_t begin : {active - 4096, active, active + 8}) {
    problems_.clear();
    metadata_->snapshots.entries.clear();
    add_snapshot(begin, 600);
    add_snapshot(kPlace, 8);
    ReferenceWalk walk = this->walk();
    ASSERT_TRUE(walk.collect().has_value());
    ASSERT_EQ(problems_.size(), 1u) << begin;
    EXPECT_EQ(problems_[0].corruption, Corruption::cluster_overlaps_metadata);
    EXPECT_EQ(problems_[0].value, begin);
    EXPECT_EQ(problems_[0].limit, active);
    ASSERT_EQ(walk.tables().size(), 2u);
    for (const ReferenceWalk::TableReference& table : walk.tables()) {
      EXPECT_EQ(table.references, 1u);
      EXPECT_EQ(table.active_references, 1u);
    }
    std::vector<HostCluster> l1_clusters;
    ASSERT_TRUE(walk.for_each_fixed([&](ClusterRun run, IoTag tag, HostOffset) {
                      if (tag == IoTag::l1) {
                        EXPECT_EQ(run.count, 1u);
                        l1_clusters.push_back(run.first);
                      }
                    })
                    .has_value());
    EXPECT_EQ(l1_clusters, (std::vector{HostCluster(active / 4096), HostCluster(kPlace / 4096)}));
  }
}

TEST_F(ReferenceWalkTest, ABudgetTooSmallForASnapshotsTableIsNamed) {
  Budget budget;
  budget.memory_bytes = 1000;
  Meter meter(budget, 0);
  meter_ = &meter;
  open(small(4096, 16));
  disk_.content.resize(2 * kMiB);
  add_snapshot(kPlace, 126);
  ReferenceWalk walk = this->walk();
  ASSERT_TRUE(walk.collect().has_value());
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_EQ(problems_[0].code, ErrorCode::over_budget);
  // Everything after it has the same answer.
  EXPECT_EQ(walk.collect().error().code, ErrorCode::over_budget);
}

TEST_F(ReferenceWalkTest, ABudgetTooSmallForTheBitmapsIsNamed) {
  open(small(4096, 16));
  add_bitmaps(disk_.content, 3, kPlace);
  Budget budget;
  budget.memory_bytes = 200;
  Meter meter(budget, 0);
  meter_ = &meter;
  load();
  MeteredMemory held;
  const auto refused = read_bitmap_entries(*metadata_, *metadata_->header.bitmaps(), held);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::over_budget);
  meter_ = nullptr;
  load();
  MeteredMemory enough;
  const auto entries = read_bitmap_entries(*metadata_, *metadata_->header.bitmaps(), enough);
  ASSERT_TRUE(entries.has_value()) << describe(entries.error());
  EXPECT_EQ(entries->size(), 3u);
}

TEST_F(ReferenceWalkTest, ABitmapsTableIsNotFollowedBeyondTheBudget) {
  open(small(4096, 16));
  add_bitmaps(disk_.content, 1, kPlace);
  std::vector<std::byte> table(12);
  store_be(Bytes(table), 0, kPlace + 4096);
  store_be(Bytes(table), 8, std::uint32_t{1});
  disk_.content.write(kPlace, table);
  disk_.content.resize(2 * kMiB);
  Budget budget;
  budget.steps = 1'000'000;
  Meter meter(budget, 0);
  meter_ = &meter;
  load();
  ReferenceWalk walk = this->walk();
  ASSERT_TRUE(walk.collect().has_value());
  const auto visit = [&](ClusterRun run, IoTag, HostOffset) {
    if (run.first.value() == kPlace / 4096 + 1) {
      meter.spend_steps(2'000'000);
    }
  };
  ASSERT_TRUE(walk.for_each_fixed(visit).has_value());
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_EQ(problems_[0].code, ErrorCode::over_budget);
  metadata_.reset();
  meter_ = nullptr;
}

// Part after part: every table once, each problem once.
TEST_F(ReferenceWalkTest, InPartsItSeesEveryTableAndTellsNothingTwice) {
  open(small(4096, 16));
  add_tables(5);
  metadata_->l1.set(7, L1Entry(metadata_->l1.entry(0).raw() | 1));  // A reserved bit.
  ReferenceWalk walk = this->walk();
  walk.set_tables_max(2);
  ASSERT_TRUE(walk.collect().has_value());
  for (int round = 0; round < 2; ++round) {
    std::uint64_t references = 0;
    std::vector<HostOffset> seen;
    ASSERT_TRUE(walk.for_each_range([&]() -> Result<void> {
                      for (const ReferenceWalk::TableReference& table : walk.tables()) {
                        seen.push_back(table.offset);
                        references += table.references;
                      }
                      return {};
                    })
                    .has_value());
    EXPECT_EQ(seen.size(), 5u);
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    EXPECT_EQ(references, 6u);
  }
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_EQ(problems_[0].corruption, Corruption::l1_entry_reserved_bits);
}

// The budget is exhausted in the first part, or when all of them have been seen.
TEST_F(ReferenceWalkTest, InPartsItEndsWithTheBudget) {
  for (const int parts : {1, 3}) {
    meter_ = nullptr;
    disk_.content = sim::SparseBytes();
    open(small(4096, 16));
    add_tables(3);
    Budget budget;
    budget.steps = 1'000'000;
    Meter meter(budget, 0);
    meter_ = &meter;
    load();
    disk_.content.resize(2 * kMiB);
    add_snapshot(kPlace, 8);
    ReferenceWalk walk = this->walk();
    walk.set_tables_max(1);
    ASSERT_TRUE(walk.collect().has_value());
    int seen = 0;
    const auto body = [&]() -> Result<void> {
      if (++seen == parts) {
        meter.spend_steps(2'000'000);
      }
      return {};
    };
    Result<void> result = walk.for_each_range(body);
    EXPECT_EQ(result.has_value(), parts == 3);  // Nobody asks behind the last one ...
    result = walk.for_each_range(body);         // ... and the next walk has none.
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, ErrorCode::over_budget);
    EXPECT_EQ(seen, parts);
    metadata_.reset();
  }
}

}  // namespace
}  // namespace varve::test
