// Goal: released clusters are remembered while there is room, and leak beyond it: nothing is handed
// out twice, and what can be done about it is said.
#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class DropsTest : public MetaTest {
 protected:
  // Runs of one cluster each that do not join.
  void release(std::uint64_t count) {
    ClusterStore& store = metadata_->store;
    for (std::uint64_t i = 0; i < count; ++i) {
      store.release({HostCluster(next_), 1});
      next_ += 2;
    }
  }
  void release_durable(std::uint64_t count) {
    ClusterStore& store = metadata_->store;
    for (std::uint64_t i = 0; i < count; ++i) {
      const Answer<Nothing> room = store.has_room_for_durable_drop();
      ASSERT_TRUE(room.has_value());
      store.release_durable({HostCluster(next_), 1});
      next_ += 2;
    }
  }
  std::uint64_t next_ = 1000;
};

TEST_F(DropsTest, ARoundIsWantedWhereTheListIsFullAndMemoryWhereDropsAreHeld) {
  open(small());
  ClusterStore& store = metadata_->store;
  EXPECT_TRUE(store.has_room_for_drops(2).has_value());
  release(4095);
  const Answer<Nothing> full = store.has_room_for_drops(2);
  ASSERT_NE(full.need(), nullptr);
  EXPECT_EQ(full.need()->kind, Need::Kind::round);
  store.hold_drops();
  EXPECT_TRUE(store.has_room_for_drops(2).has_value());
  release(2);
  EXPECT_TRUE(store.has_undurable_drops());
  store.let_drops_go();
}

TEST_F(DropsTest, WhatNobodyMadeRoomForLeaks) {
  open(small());
  ClusterStore& store = metadata_->store;
  release(3 * 4096);
  store.release({HostCluster(next_), 0});
  EXPECT_TRUE(store.has_undurable_drops());
  for (std::uint64_t i = 0; i < 3 * 4096; ++i) {
    store.release_durable({HostCluster(next_), 1});
    next_ += 2;
  }
  EXPECT_NE(store.next_reclaimable(), nullptr);
}

TEST_F(DropsTest, ManyDurableOnesAreReclaimedFirstOrTakeMemory) {
  open(small());
  ClusterStore& store = metadata_->store;
  // Nothing can be reclaimed below a request that may have seen it.
  const std::uint64_t era = metadata_->eras.enter();
  release_durable(70000);
  EXPECT_EQ(store.next_reclaimable(), nullptr);
  metadata_->eras.leave(era);
  while (store.has_room_for_durable_drop().has_value()) {
    store.release_durable({HostCluster(next_), 1});
    next_ += 2;
  }
  const Answer<Nothing> full = store.has_room_for_durable_drop();
  ASSERT_NE(full.need(), nullptr);
  EXPECT_EQ(full.need()->kind, Need::Kind::reclaim);
}

// Without anyone who waits for a flush, much released space asks for a round by itself.
TEST_F(DropsTest, MuchReleasedSpaceIsMadeDurableByItself) {
  open(small(512, 16));
  std::vector<Claim> claims;
  for (unsigned i = 0; i < 2400; ++i) {
    const auto claimed = claim(256);
    ASSERT_TRUE(claimed.has_value());
    claims.push_back(*claimed);
  }
  ASSERT_TRUE(flush().has_value());
  for (const Claim& one : claims) {
    metadata_->store.release(one.run);
  }
  ASSERT_TRUE(metadata_->store.wants_round());
  metadata_->leave_era(metadata_->eras.enter());
  EXPECT_TRUE(metadata_->commit.is_running());
  while (!metadata_->is_idle()) {
    engine_->wait();
  }
  EXPECT_FALSE(metadata_->store.wants_round());
  metadata_->commit.poison();
  for (unsigned i = 0; i < 2; ++i) {
    metadata_->store.release({HostCluster(1), std::uint64_t{1} << 40});
    metadata_->leave_era(metadata_->eras.enter());
  }
  EXPECT_FALSE(metadata_->commit.is_running());
}

}  // namespace
}  // namespace varve::test
