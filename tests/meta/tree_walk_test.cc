// Goal: a walk changes exactly the counts and flags it is for, whatever stands in the tables and
// however full the caches are. Method: trees made by hand on a simulated disk, walked one at a
// time, and every count compared.
#include "meta/tree_walk.h"

#include "meta/meta_fixture.h"
#include "meta/straight_line.h"

namespace varve::test {
namespace {

using Change = TreeWalk::Change;
using Slots = std::vector<std::uint64_t>;

class TreeWalkTest : public MetaTest {
 protected:
  static constexpr std::uint64_t kEntries = 64;  // Of a table, and counts of a block.

  // A table of 512 bytes on the disk, counted once; returns an L1 entry that leads to it.
  std::uint64_t table_of(const std::vector<L2Entry>& entries) {
    const HostOffset offset = metadata_->geometry.offset_of(claim(1)->run.first);
    for (std::size_t i = 0; i < kEntries; ++i) {
      put_be64(offset.value() + i * 8, i < entries.size() ? entries[i].raw() : 0);
    }
    return L1Entry::table(offset, false).raw();
  }
  [[nodiscard]] L2Entry data(HostCluster cluster, bool copied = false) const {
    return L2Entry::standard(metadata_->geometry.offset_of(cluster), copied);
  }
  [[nodiscard]] HostCluster table_cluster(std::uint64_t l1_entry) const {
    return metadata_->geometry.cluster_of(L1Entry(l1_entry).offset());
  }
  static TreeWalk::Plan plan_of(Change change, const Slots& l1) {
    TreeWalk::Plan plan;
    plan.change = change;
    plan.l1 = &l1;
    return plan;
  }
  Result<void> walk(const TreeWalk::Plan& plan) {
    TreeWalk walk(*metadata_);
    BlockingWaiter waiter(*engine_);
    walk.start(plan, waiter);
    const Result<void> result = waiter.wait();
    needs_round_ = walk.needs_round();
    has_room_ = walk.has_room();
    return result;
  }
  // Lets the cluster's count be the largest there is.
  void fill_count(HostCluster cluster) {
    Refcounts& refcounts = metadata_->refcounts;
    const std::uint64_t index = metadata_->geometry.refcount_block_index(cluster);
    TableCache::Table* block =
        ask_until(*metadata_, [&] { return refcounts.block(index); }).value();
    store_refcount(metadata_->geometry, block->edit(0, 512), cluster.value() % kEntries,
                   metadata_->geometry.refcount_max());
  }

  bool needs_round_ = false;
  bool has_room_ = false;
};

TEST_F(TreeWalkTest, ARunOfDataGoesOnIntoTheNextBlock) {
  open(small());
  const ClusterRun run = claim_run(*metadata_, 3 * kEntries).value();
  const HostCluster middle(round_up(run.first.value() + kEntries, kEntries));
  std::vector<L2Entry> entries;
  for (std::uint64_t i = 0; i < kEntries; ++i) {
    entries.push_back(data(HostCluster(middle.value() - kEntries / 2 + i)));
  }
  const Slots l1{0, table_of(entries)};
  const auto expect_counts = [&](std::uint64_t inside) {
    for (std::uint64_t i = 0; i < run.count; ++i) {
      const std::uint64_t cluster = run.first.value() + i;
      const bool is_mapped =
          cluster + kEntries / 2 >= middle.value() && cluster < middle.value() + kEntries / 2;
      ASSERT_EQ(count_of(cluster), is_mapped ? inside : 1) << cluster;
    }
    EXPECT_EQ(count_of(table_cluster(l1[1]).value()), inside);
  };
  ASSERT_TRUE(walk(plan_of(Change::add, l1)).has_value());
  expect_counts(2);
  ASSERT_TRUE(walk(plan_of(Change::drop, l1)).has_value());
  expect_counts(1);
  ASSERT_TRUE(walk(plan_of(Change::drop, l1)).has_value());
  ASSERT_TRUE(settle_drops().has_value());
  expect_counts(0);
}

TEST_F(TreeWalkTest, AProbeChangesNothingAndSeesACountThatCannotDouble) {
  open(small());
  const HostCluster cluster = claim(1)->run.first;
  const Slots l1{table_of({data(cluster)})};
  ASSERT_TRUE(walk(plan_of(Change::probe, l1)).has_value());
  EXPECT_TRUE(has_room_);
  EXPECT_EQ(count_of(cluster.value()), 1u);
  fill_count(cluster);
  ASSERT_TRUE(walk(plan_of(Change::probe, l1)).has_value());
  EXPECT_FALSE(has_room_);
}

// Each entry leads to a block of its own, more of them than the cache holds: what is taken back is
// no longer in memory, and what was read ahead is still on its way.
TEST_F(TreeWalkTest, AnAdditionThatFailsLateTakesEverythingBack) {
  open(small());
  constexpr std::uint64_t kBlocks = 256;
  ASSERT_LT(metadata_->refcounts.blocks().capacity(), 200u);
  const ClusterRun run = claim_run(*metadata_, kBlocks * kEntries).value();
  const auto cluster = [&](std::uint64_t i) { return run.first + i * kEntries; };
  Slots l1;
  for (std::uint64_t table = 0; table < kBlocks / kEntries; ++table) {
    std::vector<L2Entry> entries;
    for (std::uint64_t i = 0; i < kEntries; ++i) {
      entries.push_back(data(cluster(table * kEntries + i)));
    }
    l1.push_back(table_of(entries));
  }
  fill_count(cluster(200));
  ASSERT_TRUE(flush().has_value());
  std::vector<bool> added(l1.size(), false);
  TreeWalk::Plan plan = plan_of(Change::add, l1);
  plan.added = &added;
  const Result<void> refused = walk(plan);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::out_of_range) << describe(refused.error());
  EXPECT_EQ(added, std::vector<bool>(l1.size(), false));
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    ASSERT_EQ(count_of(cluster(i).value()), i == 200 ? metadata_->geometry.refcount_max() : 1) << i;
  }
  for (const std::uint64_t entry : l1) {
    EXPECT_EQ(count_of(table_cluster(entry).value()), 1u);
  }
}

TEST_F(TreeWalkTest, AnAdditionCanBeStoppedAndADropCannot) {
  open(small());
  const HostCluster cluster = claim(1)->run.first;
  const Slots l1{table_of({data(cluster)})};
  for (const Change change : {Change::add, Change::drop}) {
    TreeWalk walk(*metadata_);
    BlockingWaiter waiter(*engine_);
    walk.stop();  // Nothing runs that it could stop.
    walk.start(plan_of(change, l1), waiter);
    walk.stop();
    walk.stop();
    const Result<void> result = waiter.wait();
    EXPECT_EQ(result.has_value(), change == Change::drop);
    EXPECT_TRUE(result.has_value() || result.error().code == ErrorCode::cancelled);
  }
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(cluster.value()), 0u);
}

TEST_F(TreeWalkTest, ManyEmptySlotsArePassedOver) {
  open(small());
  Slots l1(200'000, 0);
  const HostCluster cluster = claim(1)->run.first;
  l1.back() = table_of({data(cluster)});
  ASSERT_TRUE(walk(plan_of(Change::add, l1)).has_value());
  EXPECT_EQ(count_of(cluster.value()), 2u);
}

// So much was released before that the walk has to wait until some of it is reclaimed.
TEST_F(TreeWalkTest, ADropWaitsForTheReclaimerRatherThanForMemory) {
  open(small());
  const HostCluster cluster = claim(1)->run.first;
  const Slots l1{table_of({data(cluster)})};
  ClusterStore& store = metadata_->store;
  std::uint64_t elsewhere = 1'000'000;
  const std::uint64_t era = metadata_->eras.enter();
  for (int i = 0; i < 70'000; ++i) {
    ASSERT_TRUE(store.has_room_for_durable_drop().has_value());
    store.release_durable({HostCluster(elsewhere += 2), 1});
  }
  metadata_->eras.leave(era);
  while (store.has_room_for_durable_drop().has_value()) {
    store.release_durable({HostCluster(elsewhere += 2), 1});
  }
  ASSERT_TRUE(walk(plan_of(Change::drop, l1)).has_value());
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(cluster.value()), 0u);
  EXPECT_EQ(count_of(table_cluster(l1[0]).value()), 0u);
}

// What a snapshot of a larger disk held belongs to nobody's table of the active one.
TEST_F(TreeWalkTest, ADropBehindTheActiveDisksEndSetsNoFlags) {
  open(small());
  const HostCluster cluster = claim(1)->run.first;
  ASSERT_TRUE(metadata_->store.share({cluster, 1}).has_value());
  Slots l1(metadata_->l1.size() + 3, 0);
  l1.back() = table_of({data(cluster)});
  TreeWalk::Plan plan = plan_of(Change::drop, l1);
  plan.sets_flags = true;
  ASSERT_TRUE(walk(plan).has_value());
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(cluster.value()), 1u);
  EXPECT_EQ(count_of(table_cluster(l1.back()).value()), 0u);
  EXPECT_FALSE(metadata_->l1.is_dirty());
}

TEST_F(TreeWalkTest, ATableThatBecomesTheActiveDisksOwnIsFlaggedOnce) {
  open(small());
  const HostCluster cluster = claim(1)->run.first;
  const Slots l1{table_of({data(cluster)})};
  const HostOffset table = L1Entry(l1[0]).offset();
  for (const bool is_flagged : {false, true}) {
    SCOPED_TRACE(is_flagged);
    metadata_->l1.set(0, L1Entry::table(table, is_flagged));
    ASSERT_TRUE(flush().has_value());
    ASSERT_TRUE(walk(plan_of(Change::add, l1)).has_value());
    TreeWalk::Plan plan = plan_of(Change::drop, l1);
    plan.sets_flags = true;
    ASSERT_TRUE(walk(plan).has_value());
    EXPECT_EQ(metadata_->l1.is_dirty(), !is_flagged);
    EXPECT_TRUE(metadata_->l1.entry(0).is_copied());
    ASSERT_TRUE(flush().has_value());
    EXPECT_EQ(be64_at(table.value()), data(cluster, true).raw());
    EXPECT_EQ(count_of(cluster.value()), 1u);
  }
}

// A table with changes that must wait for their round takes the cleared flags along with them.
TEST_F(TreeWalkTest, FlagsInATableThatWaitsForARoundNeedOne) {
  open(small());
  Slots l1;
  for (int i = 0; i < 3; ++i) {
    l1.push_back(table_of({data(claim(1)->run.first, true)}));
  }
  ASSERT_TRUE(flush().has_value());
  const auto table = [&](std::size_t i) {
    return ask_until(*metadata_,
                     [&]() -> Answer<TableCache::Table*> {
                       const HostOffset offset = L1Entry(l1[i]).offset();
                       TableCache::Table* found = metadata_->l2.find(offset);
                       return found != nullptr ? Answer<TableCache::Table*>(found)
                                               : Answer<TableCache::Table*>(
                                                     Need{Need::Kind::l2_table, offset, 0});
                     })
        .value();
  };
  for (const bool is_waiting : {false, true}) {
    static_cast<void>(table(0)->edit_early(8, 16));
    if (is_waiting) {
      static_cast<void>(table(1)->edit(8, 16));
    }
    ASSERT_TRUE(walk(plan_of(Change::add, l1)).has_value());
    EXPECT_EQ(needs_round_, is_waiting);
    ASSERT_TRUE(flush().has_value());
    for (const std::uint64_t entry : l1) {
      const std::uint64_t at = L1Entry(entry).offset().value();
      EXPECT_EQ(be64_at(at) & L2Entry::kCopied, 0u);
      put_be64(at, be64_at(at) | L2Entry::kCopied);
      ASSERT_TRUE(metadata_->l2.forget(HostOffset(at)));
    }
  }
}

TEST_F(TreeWalkTest, AWalkFindsItsWayWhereEveryTableIsDirty) {
  open(small());
  const HostCluster cluster = claim(1)->run.first;
  const Slots l1{table_of({data(cluster)}), table_of({data(cluster)})};
  ASSERT_TRUE(metadata_->guard.places().reserve(metadata_->l2.capacity()).has_value());
  while (metadata_->l2.can_make()) {
    const HostCluster taken = claim(1)->run.first;
    metadata_->guard.places().add(taken, TablePlaces::Kind::l2);
    ASSERT_NE(metadata_->l2.make(metadata_->geometry.offset_of(taken)), nullptr);
  }
  ASSERT_TRUE(walk(plan_of(Change::add, l1)).has_value());
  EXPECT_EQ(count_of(cluster.value()), 3u);
}

// Begins so many requests in each turn of the loop until the walk is over.
class Guest final : public Waiter {
 public:
  Guest(Metadata& metadata, int requests) : metadata_(&metadata), requests_(requests) {
    metadata.defer(*this, {});
  }
  void resume(const Result<void>&) noexcept override {
    for (int i = 0; i < requests_; ++i) {
      metadata_->leave_era(metadata_->eras.enter());
    }
    ++turns_;
    if (!is_over) {
      metadata_->defer(*this, {});
    } else {
      has_left = true;
    }
  }
  [[nodiscard]] int turns() const noexcept { return turns_; }

  bool is_over = false;
  bool has_left = false;

 private:
  Metadata* metadata_;
  int requests_;
  int turns_ = 0;
};

// The turns that guests had while the same tree was walked.
TEST_F(TreeWalkTest, BusyGuestsHaveTheirTurnsAndNoMore) {
  open(small(65536, 16));
  Slots l1;
  for (int i = 0; i < 8; ++i) {
    const HostOffset offset = metadata_->geometry.offset_of(claim(1)->run.first);
    disk_.content.write(offset.value(), std::vector<std::byte>(65536));
    l1.push_back(L1Entry::table(offset, false).raw());
  }
  const auto turns_beside = [&](int requests) {
    TreeWalk walk(*metadata_);
    BlockingWaiter waiter(*engine_);
    walk.start(plan_of(Change::probe, l1), waiter);
    Guest guest(*metadata_, requests);
    EXPECT_TRUE(waiter.wait().has_value());
    guest.is_over = true;
    while (!guest.has_left) {
      engine_->wait();
    }
    return guest.turns();
  };
  const int idle = turns_beside(0);
  const int slow = turns_beside(1);
  const int fast = turns_beside(100);
  EXPECT_GT(slow, idle + 6);
  EXPECT_LT(fast, slow - 6);
  EXPECT_GE(fast, idle);
}

// Reads take effect before any write does.
class WritesLastStorage final : public sim::DecoratorStorage, private Engine::Source {
 public:
  explicit WritesLastStorage(std::unique_ptr<Storage> inner) : DecoratorStorage(std::move(inner)) {
    engine().add_source(*this);
  }
  ~WritesLastStorage() override { engine().remove_source(*this); }
  void submit(StorageRequest& request) noexcept override {
    (request.operation == StorageOperation::read ? reads_ : writes_).push_back(&request);
  }

 private:
  std::size_t advance() noexcept override {
    std::vector<StorageRequest*>& queue = reads_.empty() ? writes_ : reads_;
    if (queue.empty()) {
      return 0;
    }
    StorageRequest& request = *queue.front();
    queue.erase(queue.begin());
    forward(request);
    return 1;
  }

  std::vector<StorageRequest*> reads_;
  std::vector<StorageRequest*> writes_;
};

class SlowWritesWalkTest : public TreeWalkTest {
 protected:
  std::unique_ptr<Storage> make_storage() override {
    return std::make_unique<WritesLastStorage>(MetaTest::make_storage());
  }
};

// Stopped while tables are read ahead and the window before is still being written.
TEST_F(SlowWritesWalkTest, AStoppedWalkEndsWhenItsWritesHave) {
  open(small());
  Slots l1;
  std::vector<HostCluster> clusters;
  for (int i = 0; i < 60; ++i) {
    clusters.push_back(claim(1)->run.first);
    l1.push_back(table_of({data(clusters.back(), true)}));
  }
  ASSERT_TRUE(flush().has_value());
  std::vector<bool> added(l1.size(), false);
  TreeWalk::Plan plan = plan_of(Change::add, l1);
  plan.added = &added;
  TreeWalk walk(*metadata_);
  BlockingWaiter waiter(*engine_);
  walk.start(plan, waiter);
  while (walk.tables_done() == 0) {
    engine_->wait();
  }
  const std::uint64_t done = walk.tables_done();
  ASSERT_LT(done, l1.size());
  walk.stop();
  const Result<void> stopped = waiter.wait();
  ASSERT_FALSE(stopped.has_value());
  EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
  EXPECT_FALSE(metadata_->commit.is_running());
  for (std::size_t i = 0; i < l1.size(); ++i) {
    EXPECT_EQ(added[i], i < done) << i;
    EXPECT_EQ(count_of(clusters[i].value()), i < done ? 2u : 1u) << i;
  }
}

}  // namespace
}  // namespace varve::test
