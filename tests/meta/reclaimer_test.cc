#include "meta/reclaimer.h"

#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

// A round that still writes the dead table would put it over whatever the cluster is used for next.
TEST_F(MetaTest, ATableIsFreeOnlyWhenNoRoundWritesItAnyMore) {
  open(small());
  ASSERT_TRUE(prepare_table(GuestOffset(0)).has_value());
  ASSERT_TRUE(flush().has_value());
  const HostOffset offset = metadata_->l1.entry(0).offset();
  const HostCluster cluster = metadata_->geometry.cluster_of(offset);
  TableCache::Table* table = metadata_->l2.find(offset);
  static_cast<void>(table->edit(0, 8));
  const TableCache::DirtySpan span = metadata_->l2.begin_write(*table);
  metadata_->l1.set(0, L1Entry());
  metadata_->store.release_durable({cluster, 1});
  BlockingWaiter waiter(*engine_);
  metadata_->reclaimer.wait_idle(waiter);
  for (int i = 0; i < 100; ++i) {
    engine_->poll();
  }
  EXPECT_EQ(count_of(cluster.value()), 1u);
  EXPECT_NE(claim(1)->run.first, cluster);
  metadata_->l2.end_write(offset, span, true);
  ASSERT_TRUE(waiter.wait().has_value());
  EXPECT_EQ(count_of(cluster.value()), 0u);
  EXPECT_FALSE(metadata_->l2.holds(offset));
  EXPECT_EQ(claim(1)->run.first, cluster);
}

// Of a damaged image: the count of one goes on being that of the table that stays.
TEST_F(MetaTest, AClusterWithTwoTablesIsNotFreedWithItsNeighbours) {
  open(small());
  const Claim claimed = claim(3).value();
  ASSERT_EQ(claimed.run.count, 3u);
  TablePlaces& places = metadata_->guard.places();
  ASSERT_TRUE(places.reserve(1).has_value());
  const HostCluster shared = claimed.run.first + 1;
  places.add(shared, TablePlaces::Kind::snapshot_table);
  EXPECT_FALSE(places.holds_two(shared));
  places.add(shared, TablePlaces::Kind::refcounts);
  EXPECT_TRUE(places.holds_two(shared));
  metadata_->store.release(claimed.run);
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_FALSE(metadata_->store.has_drops());
  EXPECT_EQ(count_of(claimed.run.first.value()), 0u);
  EXPECT_EQ(count_of(shared.value()), 1u);
  EXPECT_EQ(count_of(shared.value() + 1), 0u);
  EXPECT_EQ(places.find(shared), TablePlaces::Kind::snapshot_table);
}

}  // namespace
}  // namespace varve::test
