#include "meta/cluster_store.h"

#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class ClusterStoreTest : public MetaTest {
 protected:
  void release(ClusterRun run) {
    ASSERT_TRUE(metadata_->store.has_room_for_drops(1).has_value());
    metadata_->store.release(run);
  }
};

TEST_F(ClusterStoreTest, ClaimsAreCountedOnce) {
  open(small());
  const Result<Claim> claim = this->claim(3);
  ASSERT_TRUE(claim.has_value());
  ASSERT_GE(claim->run.count, 1u);
  for (std::uint64_t i = 0; i < claim->run.count; ++i) {
    EXPECT_EQ(count_of(claim->run.first.value() + i), 1u);
  }
  EXPECT_EQ(stored_count_of(claim->run.first.value()), 0u);
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(stored_count_of(claim->run.first.value()), 1u);
}

TEST_F(ClusterStoreTest, SharingAddsAReferenceAndRefusesWhatIsFree) {
  open(small(512, 2));
  const ClusterRun run{claim(1)->run.first, 1};
  EXPECT_TRUE(metadata_->store.share(run).has_value());
  EXPECT_TRUE(metadata_->store.share(run).has_value());
  const Answer<Nothing> overflow = metadata_->store.share(run);
  ASSERT_NE(overflow.error(), nullptr);
  EXPECT_EQ(overflow.error()->code, ErrorCode::out_of_range);
  EXPECT_EQ(count_of(run.first.value()), 3u);
  const Answer<Nothing> unused =
      metadata_->store.share({HostCluster(metadata_->store.append_position()), 1});
  ASSERT_NE(unused.error(), nullptr);
  EXPECT_EQ(unused.error()->code, ErrorCode::corrupt);
}

// Whatever a damaged refcount table says, a claim ends, and others get a turn.
class LongRefcountTable : public ClusterStoreTest {
 protected:
  // The table moves behind everything else and has as many entries as any may have; `name_block`
  // says for each of them, given the first one's, what it names. The file's clusters are in use.
  template <class NameBlock>
  void open_with(NameBlock name_block) {
    open(small(65536, 16));
    const std::uint64_t table = round_up(disk_.content.size(), 65536);
    const std::uint64_t block = be64_at(be64_at(offsetof(RawHeader, refcount_table_offset)));
    std::vector<std::byte> entries(kRefcountTableBytesMax);
    for (std::uint64_t i = 0; i < entries.size() / 8; ++i) {
      store_be(Bytes(entries), i * 8, name_block(i, block));
    }
    disk_.content.write(table, entries);
    clusters_ = table / 65536 + entries.size() / 65536;
    const std::vector<std::byte> counts(65536, std::byte{1});
    disk_.content.write(block, ConstBytes(counts).first(2 * clusters_));
    if (name_block(1, block) == block) {
      disk_.content.write(block, counts);  // Each says that all it counts is in use.
    }
    std::vector<std::byte> field(12);
    store_be(Bytes(field), 0, table);
    store_be(Bytes(field), 8, static_cast<std::uint32_t>(entries.size() / 65536));
    disk_.content.write(offsetof(RawHeader, refcount_table_offset), field);
    load();
  }
  std::uint64_t clusters_ = 0;
};

TEST_F(LongRefcountTable, BlocksThatAreNotThereAreAllPassed) {
  const std::uint64_t last = kRefcountTableBytesMax / 8 - 1;
  open_with([&](std::uint64_t i, std::uint64_t block) {
    return i == 0 || i == last ? block : std::uint64_t{0};
  });
  const Result<Claim> claim = this->claim(1);
  ASSERT_TRUE(claim.has_value()) << describe(claim.error());
  EXPECT_EQ(claim->run.first.value(), clusters_);
}

TEST_F(LongRefcountTable, OneBlockNamedAMillionTimesKeepsNobodyWaiting) {
  open_with([](std::uint64_t, std::uint64_t block) { return block; });
  unsigned turns = 0;
  const auto expect_turns = [&](auto ask) {
    turns = 0;
    while (turns < 3) {
      const auto answer = ask();
      ASSERT_NE(answer.need(), nullptr);
      turns += answer.need()->kind == Need::Kind::turn ? 1 : 0;
      BlockingWaiter waiter(*engine_);
      metadata_->satisfy(*answer.need(), waiter);
      ASSERT_TRUE(waiter.wait().has_value());
    }
  };
  expect_turns([&] { return metadata_->store.claim(1); });
  expect_turns([&] { return metadata_->store.reserve_run(2); });
}

// History: ecbda7a225, cloud-hypervisor 8624.
TEST_F(ClusterStoreTest, ReleasedSpaceComesBackAfterTheRoundOnly) {
  open(small());
  const Claim first = claim(1).value();
  ASSERT_TRUE(flush().has_value());
  release(first.run);
  EXPECT_EQ(count_of(first.run.first.value()), 1u);
  EXPECT_NE(claim(1)->run.first, first.run.first);
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(first.run.first.value()), 0u);
  EXPECT_EQ(metadata_->store.quarantined_clusters(), 0u);
  const Claim again = claim(1).value();
  EXPECT_EQ(again.run.first, first.run.first);
  EXPECT_FALSE(again.known_zero);
}

TEST_F(ClusterStoreTest, ARequestThatMayHaveSeenItHoldsItBack) {
  open(small());
  const Claim claimed = claim(1).value();
  const std::uint64_t era = metadata_->eras.enter();
  release(claimed.run);
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(claimed.run.first.value()), 1u);
  EXPECT_TRUE(metadata_->store.has_drops());
  EXPECT_FALSE(metadata_->store.has_undurable_drops());
  metadata_->leave_era(era);
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(claimed.run.first.value()), 0u);
}

TEST_F(ClusterStoreTest, HeldDropsWait) {
  open(small());
  const Claim claimed = claim(1).value();
  metadata_->store.hold_drops();
  release(claimed.run);
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(claimed.run.first.value()), 1u);
  metadata_->store.let_drops_go();
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(claimed.run.first.value()), 0u);
}

TEST_F(ClusterStoreTest, ASharedClusterStaysAfterOneRelease) {
  open(small());
  const ClusterRun run{claim(1)->run.first, 1};
  ASSERT_TRUE(metadata_->store.share(run).has_value());
  release(run);
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(count_of(run.first.value()), 1u);
}

TEST_F(ClusterStoreTest, OnlyFreshSpaceIsKnownToBeZero) {
  open(small(65536, 16));
  ASSERT_TRUE(metadata_->file->capabilities().growth_is_zero);
  const Claim fresh = claim(2).value();
  EXPECT_TRUE(fresh.known_zero);
  release(fresh.run);
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_FALSE(claim(2)->known_zero);
}

TEST_F(ClusterStoreTest, AFullDeviceSaysSoAndTakesFreedSpace) {
  const CreateOptions options = small(65536, 16);
  disk_.content.resize(2 * kMiB);  // 32 clusters; a block counts far more.
  open(options, true);
  std::vector<Claim> claims;
  for (Result<Claim> next = claim(4); next.has_value(); next = claim(4)) {
    claims.push_back(*next);
    EXPECT_FALSE(next->known_zero);
    ASSERT_LT(claims.size(), 10000u);
  }
  EXPECT_EQ(claim(1).error().code, ErrorCode::no_space);
  ASSERT_FALSE(claims.empty());
  release(claims[0].run);
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(claim(1)->run.first, claims[0].run.first);
}

// A damaged count of 0 must not give away a table that everything hangs on. On a device everything
// that exists is searched for space; in a file what earlier sessions have freed.
TEST_F(ClusterStoreTest, ATableInUseIsNeverHandedOutWhateverItsCount) {
  for (const bool fixed_size : {true, false}) {
    for (const std::string table : {"l1", "refcount table", "refcount block", "snapshot table"}) {
      SCOPED_TRACE(table + (fixed_size ? " on a device" : " in a file"));
      disk_.content = sim::SparseBytes();
      disk_.content.resize(fixed_size ? 2 * kMiB : 0);
      open(small(65536, 16), fixed_size);
      HostOffset offset = metadata_->l1.offset();
      if (table == "refcount table") {
        offset = metadata_->refcounts.table_offset();
      } else if (table == "refcount block") {
        offset = HostOffset(metadata_->refcounts.table()[0]);
      } else if (table == "snapshot table") {
        offset = metadata_->geometry.offset_of(claim(1)->run.first);
      }
      const HostCluster cluster = metadata_->geometry.cluster_of(offset);
      release({cluster, 1});
      ASSERT_TRUE(settle_drops().has_value());
      ASSERT_EQ(count_of(cluster.value()), 0u);
      // It was not really given back: only its count says so.
      TablePlaces& places = metadata_->guard.places();
      ASSERT_TRUE(places.reserve(1).has_value());
      places.add(cluster, TablePlaces::Kind::l1);
      Result<Claim> next = claim(1);
      for (int claims = 0; next.has_value() && claims < 10'000; ++claims) {
        ASSERT_NE(next->run.first, cluster);
        next = claim(1);
      }
      ASSERT_FALSE(next.has_value());
      EXPECT_EQ(next.error().corruption, Corruption::refcount_zero_in_use)
          << describe(next.error());
      EXPECT_EQ(next.error().value, offset.value());
      EXPECT_EQ(count_of(cluster.value()), 0u);
      metadata_.reset();
    }
  }
}

TEST_F(ClusterStoreTest, AReservedRunIsClaimedBlockByBlock) {
  open(small());  // 64 counts per block.
  constexpr std::uint64_t kClusters = 200;
  const HostCluster first =
      ask_until(*metadata_, [&] { return metadata_->store.reserve_run(kClusters); }).value();
  const Claim other = claim(1).value();
  EXPECT_TRUE(other.run.first.value() < first.value() ||
              other.run.first.value() >= first.value() + kClusters);
  std::uint64_t done = 0;
  int steps = 0;
  while (done < kClusters) {
    const ClusterRun rest{HostCluster(first.value() + done), kClusters - done};
    done += ask_until(*metadata_, [&] { return metadata_->store.claim_reserved(rest); }).value();
    ++steps;
  }
  EXPECT_GE(steps, 3);
  for (std::uint64_t i = 0; i < kClusters; ++i) {
    ASSERT_EQ(count_of(first.value() + i), 1u) << i;
  }
}

// A block that is read again need not say what it said before: nothing is claimed where it says
// more.
TEST_F(ClusterStoreTest, ACountThatRoseUnnoticedIsToldAndNothingIsClaimed) {
  open(small());
  ASSERT_TRUE(claim(1).has_value());
  ASSERT_TRUE(flush().has_value());
  const std::uint64_t next = metadata_->store.append_position();
  const HostOffset block(metadata_->refcounts.table()[0]);
  ASSERT_TRUE(metadata_->refcounts.blocks().forget(block));
  put_be64(block.value() + next * 8, ~std::uint64_t{0});
  const Result<Claim> refused = claim(1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::out_of_range) << describe(refused.error());
  EXPECT_EQ(refused.error().offset, block.value() + next * 8);
  EXPECT_EQ(metadata_->store.append_position(), next);
}

TEST_F(ClusterStoreTest, ADropThatCannotBeCountedIsToldAndChangesNothing) {
  open(small());
  const ClusterRun run = claim(2)->run;
  ASSERT_EQ(run.count, 2u);
  Refcounts& refcounts = metadata_->refcounts;
  ASSERT_TRUE(refcounts.subtract(run.first + 1, 1).has_value());
  const Answer<Nothing> too_low = refcounts.subtract(run.first, 2);
  ASSERT_NE(too_low.error(), nullptr);
  EXPECT_EQ(too_low.error()->corruption, Corruption::refcount_too_low);
  EXPECT_EQ(count_of(run.first.value()), 1u);
  const HostOffset block(refcounts.table()[0]);
  refcounts.set_block(0, block + 8);  // As a damaged table has it.
  const Answer<Nothing> nowhere = refcounts.subtract(run.first, 1);
  ASSERT_NE(nowhere.error(), nullptr);
  EXPECT_EQ(nowhere.error()->corruption, Corruption::refcount_block_unaligned);
  refcounts.set_block(0, block);
  EXPECT_EQ(count_of(run.first.value()), 1u);
}

// Claims and releases at random: nothing is handed out twice.
// History: cloud-hypervisor 8606.
TEST_F(ClusterStoreTest, RandomUseHandsNothingOutTwice) {
  const std::uint64_t seed = sim::seed_from_environment();
  std::printf("VARVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  sim::Random random(seed);
  open(small(512, 16));
  std::vector<std::uint64_t> mine;
  std::vector<bool> is_taken(20000, false);
  for (int step = 0; step < 3000; ++step) {
    if (random.chance(60)) {
      const Claim next = claim(random.between(1, 9)).value();
      for (std::uint64_t i = 0; i < next.run.count; ++i) {
        const std::uint64_t cluster = next.run.first.value() + i;
        ASSERT_LT(cluster, is_taken.size());
        ASSERT_FALSE(is_taken[cluster]) << cluster;
        is_taken[cluster] = true;
        mine.push_back(cluster);
      }
    } else if (!mine.empty() && random.chance(90)) {
      std::swap(mine[random.below(mine.size())], mine.back());
      release({HostCluster(mine.back()), 1});
      is_taken[mine.back()] = false;
      mine.pop_back();
      ASSERT_TRUE(!random.chance(20) || settle_drops().has_value());
    } else {
      ASSERT_TRUE(flush().has_value());
    }
  }
  ASSERT_TRUE(settle_drops().has_value());
  ASSERT_TRUE(flush().has_value());
  for (const std::uint64_t cluster : mine) {
    ASSERT_EQ(stored_count_of(cluster), 1u);
  }
}

}  // namespace
}  // namespace varve::test
