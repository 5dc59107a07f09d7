#include "meta/commit.h"

#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class CommitTest : public MetaTest {
 protected:
  // What the round wrote, in order, flushes included; repeats of one tag once.
  std::vector<std::string> steps() const {
    std::vector<std::string> steps;
    for (const sim::TraceEntry& entry : trace_.entries()) {
      std::string step;
      if (entry.operation == StorageOperation::flush) {
        step = "flush";
      } else if (entry.operation == StorageOperation::write) {
        step = io_tag_name(entry.tag);
      }
      if (!step.empty() && (steps.empty() || steps.back() != step || step == "flush")) {
        steps.push_back(step);
      }
    }
    return steps;
  }
  void map(std::uint64_t offset) { static_cast<void>(map_data(GuestOffset(offset))); }
};
using Steps = std::vector<std::string>;

TEST_F(CommitTest, NothingDirtyIsNoIo) {
  open(small(65536, 16));
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(steps(), Steps());
}

TEST_F(CommitTest, DataAloneIsOneFlush) {
  open(small(65536, 16));
  metadata_->commit.note_unsynced(false);
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(steps(), Steps({"flush"}));
  EXPECT_EQ(metadata_->counters.flushes, 1u);
  trace_.clear();
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(steps(), Steps());
}

// History: 9991923b26.
TEST_F(CommitTest, CountsThenTablesThenTheL1) {
  open(small(65536, 16));
  map(0);
  ASSERT_TRUE(flush().has_value());  // Growth of the file may flush too.
  trace_.clear();
  map(512 * kMiB / 64);  // The same table: no L1 entry changes.
  trace_.clear();
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(steps(), Steps({"refcount_block", "flush", "l2", "flush"}));
}

TEST_F(CommitTest, ANewTableTakesThreeFlushes) {
  open(small(65536, 16));
  map(0);
  trace_.clear();
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(steps(), Steps({"refcount_block", "flush", "l2", "flush", "l1", "flush"}));
  trace_.clear();
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(steps(), Steps());
}

TEST_F(CommitTest, AHeldL1Waits) {
  open(small(65536, 16));
  map(0);
  trace_.clear();
  metadata_->commit.hold_l1(true);
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(steps(), Steps({"refcount_block", "flush", "l2", "flush"}));
  metadata_->commit.hold_l1(false);
  trace_.clear();
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(steps(), Steps({"l1", "flush"}));
}

TEST_F(CommitTest, OneRoundServesAllWhoAskBeforeItBegins) {
  open(small(65536, 16));
  map(0);
  trace_.clear();
  BlockingWaiter first(*engine_);
  BlockingWaiter second(*engine_);
  metadata_->commit.flush(first);
  metadata_->commit.flush(second);
  ASSERT_TRUE(first.wait().has_value());
  ASSERT_TRUE(second.wait().has_value());
  EXPECT_EQ(trace_.count(StorageOperation::flush), 3u);
}

TEST_F(CommitTest, WhatChangesDuringARoundBelongsToTheNext) {
  open(small(65536, 16));
  map(0);
  BlockingWaiter waiter(*engine_);
  metadata_->commit.flush(waiter);
  while (trace_.count(StorageOperation::write, IoTag::refcount_block) == 0) {
    engine_->wait();
  }
  const HostOffset table = metadata_->l1.entry(0).offset();
  const L2Entry old =
      metadata_->map.exchange(GuestOffset(65536), L2Entry::zero(metadata_->geometry));
  EXPECT_EQ(old.raw(), 0u);
  ASSERT_TRUE(waiter.wait().has_value());
  EXPECT_EQ(be64_at(table.value() + 8), 0u);
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(be64_at(table.value() + 8), L2Entry::kZero);
}

TEST_F(CommitTest, PoisonedMeansNoMoreWrites) {
  open(small(65536, 16));
  map(0);
  trace_.clear();
  metadata_->commit.poison();
  const Result<void> flushed = flush();
  ASSERT_FALSE(flushed.has_value());
  EXPECT_EQ(flushed.error().code, ErrorCode::poisoned);
  EXPECT_EQ(steps(), Steps());
}

}  // namespace
}  // namespace varve::test
