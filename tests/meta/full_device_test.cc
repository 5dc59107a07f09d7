// Goal: a device without room says so at once, and what was dropped is made use of first. Method:
// devices of a few refcount blocks.
#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class FullDeviceTest : public MetaTest {
 protected:
  static constexpr std::uint64_t kPerBlock = 64;

  // A device that ends with its second refcount block, and all of it claimed.
  void fill() {
    disk_.content.resize(2 * kPerBlock * 512);
    open(small(), true);
    for (Result<Claim> next = claim(8); next.has_value(); next = claim(8)) {
      last_ = next->run;
      claimed_ += next->run.count;
      ASSERT_LT(claimed_, 2 * kPerBlock);
    }
    ASSERT_GT(claimed_, kPerBlock);
    ASSERT_TRUE(flush().has_value());
  }
  void release() {
    ASSERT_TRUE(metadata_->store.has_room_for_drops(1).has_value());
    metadata_->store.release({last_.first, 1});
  }
  void expect_full() {
    const Answer<Claim> refused = metadata_->store.claim(1);
    ASSERT_NE(refused.error(), nullptr);
    EXPECT_EQ(refused.error()->code, ErrorCode::no_space);
  }

  ClusterRun last_;
  std::uint64_t claimed_ = 0;
};

TEST_F(FullDeviceTest, ThatEndsWithABlockIsNotAskedToGrow) {
  fill();
  expect_full();
  EXPECT_FALSE(metadata_->refcounts.has_block(2));
  const Answer<HostCluster> run = metadata_->store.reserve_run(2);
  ASSERT_NE(run.error(), nullptr);
  EXPECT_EQ(run.error()->code, ErrorCode::no_space);
  release();
  EXPECT_EQ(claim(1)->run.first, last_.first);
}

// A round would make nothing free, however often it is asked for.
TEST_F(FullDeviceTest, SaysSoWhileDropsAreHeldBack) {
  fill();
  metadata_->store.hold_drops();
  release();
  expect_full();
  metadata_->store.let_drops_go();
  EXPECT_EQ(claim(1)->run.first, last_.first);
}

TEST_F(FullDeviceTest, WaitsForTheRoundThatDropsRideOn) {
  fill();
  release();
  // Something for the round to write.
  ASSERT_TRUE(metadata_->store.share({last_.first + 1, 1}).has_value());
  BlockingWaiter waiter(*engine_);
  metadata_->commit.flush(waiter);
  trace_.clear();
  while (trace_.count(StorageOperation::write) == 0) {
    engine_->wait();
  }
  const Answer<Claim> asked = metadata_->store.claim(1);
  ASSERT_NE(asked.need(), nullptr);
  EXPECT_EQ(asked.need()->kind, Need::Kind::round);
  EXPECT_EQ(claim(1)->run.first, last_.first);
  EXPECT_TRUE(waiter.wait().has_value());
}

TEST_F(FullDeviceTest, HasNoRunLongerThanItself) {
  disk_.content.resize(2 * kPerBlock * 512);
  open(small(), true);
  const auto run = ask_until(*metadata_, [&] { return metadata_->store.reserve_run(1000); });
  ASSERT_FALSE(run.has_value());
  EXPECT_EQ(run.error().code, ErrorCode::no_space);
  EXPECT_TRUE(claim(1).has_value());
}

// Blocks of an earlier session, read one after the other.
TEST_F(FullDeviceTest, ARunLeadsThroughBlocksOfEarlierSessions) {
  disk_.content.resize(64 * kKiB * 8);
  open(small(), true);
  const auto reserve = [&](std::uint64_t count) {
    const auto run = ask_until(*metadata_, [&] { return metadata_->store.reserve_run(count); });
    if (run) {
      metadata_->store.end_reservation();
    }
    return run;
  };
  ASSERT_TRUE(reserve(6 * kPerBlock).has_value());
  ASSERT_TRUE(flush().has_value());
  load();
  const std::uint64_t blocks = metadata_->refcounts.block_end();
  ASSERT_GE(blocks, 6u);
  const auto run = reserve(3 * kPerBlock);
  ASSERT_TRUE(run.has_value()) << describe(run.error());
  EXPECT_EQ(metadata_->refcounts.block_end(), blocks);
  for (std::uint64_t i = 0; i < 3 * kPerBlock; ++i) {
    ASSERT_EQ(count_of(run->value() + i), 0u) << i;
  }
  load();
  metadata_->refcounts.set_block(3, HostOffset(0x1234));  // As a damaged table has it.
  const auto refused = reserve(3 * kPerBlock);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().corruption, Corruption::refcount_block_unaligned);
  const auto count =
      ask_until(*metadata_, [&] { return metadata_->refcounts.count(HostCluster(3 * kPerBlock)); });
  ASSERT_FALSE(count.has_value());
  EXPECT_EQ(count.error().corruption, Corruption::refcount_block_unaligned);
  EXPECT_EQ(count_of(1u << 20), 0u);  // No block, no references.
}

}  // namespace
}  // namespace varve::test
