#include "meta/map.h"

#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class MapTest : public MetaTest {
 protected:
  // Of all clusters there are.
  std::uint64_t references() {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < metadata_->store.used_end(); ++i) {
      sum += count_of(i);
    }
    return sum;
  }
  // Prepares each of these slots to be written; where that has to wait, nothing has changed by
  // then, and where it succeeds, everything has. Returns how often it had to wait for room.
  std::size_t prepare_slots(std::uint64_t first, std::uint64_t end) {
    const Geometry& geometry = metadata_->geometry;
    std::size_t waits = 0;
    for (std::uint64_t slot = first; slot < end; ++slot) {
      const GuestOffset guest(slot * geometry.l2_entries() * geometry.cluster_bytes());
      const L1Entry entry = metadata_->l1.entry(slot);
      while (true) {
        const std::uint64_t counted = references();
        const Answer<Nothing> answer = metadata_->map.prepare(guest);
        if (answer.need() == nullptr) {
          EXPECT_TRUE(answer.has_value());
          EXPECT_TRUE(metadata_->l1.entry(slot).is_copied());
          EXPECT_NE(metadata_->l1.entry(slot).raw(), entry.raw());
          EXPECT_EQ(references(), counted + 1);
          break;
        }
        EXPECT_EQ(metadata_->l1.entry(slot).raw(), entry.raw());
        EXPECT_EQ(references(), counted) << "claimed, and not linked";
        waits += answer.need()->kind == Need::Kind::l2_room ? 1 : 0;
        BlockingWaiter waiter(*engine_);
        metadata_->satisfy(*answer.need(), waiter);
        EXPECT_TRUE(waiter.wait().has_value());
      }
    }
    return waits;
  }

  void set(std::uint64_t cluster, L2Entry entry) {
    const GuestOffset guest(cluster * metadata_->geometry.cluster_bytes());
    ASSERT_TRUE(prepare_table(guest).has_value());
    static_cast<void>(metadata_->map.exchange(guest, entry));
  }
  Result<MapExtent> find(std::uint64_t offset, std::uint64_t length) {
    return ask_until(*metadata_, [&] { return metadata_->map.find(GuestOffset(offset), length); });
  }

  // Runs against one question per subcluster.
  void compare_runs(sim::Random& random) {
    const Geometry& geometry = metadata_->geometry;
    const std::uint64_t unit = geometry.subcluster_bytes();
    const std::uint64_t size = metadata_->header.virtual_size;
    for (int i = 0; i < 400; ++i) {
      const std::uint64_t offset = random.below(size / 512) * 512;
      const std::uint64_t length = std::min(size - offset, (1 + random.below(200)) * 512);
      const MapExtent run = find(offset, length).value();
      ASSERT_GE(run.length, 1u);
      ASSERT_LE(run.length, length);
      for (std::uint64_t at = offset; at < offset + run.length;) {
        const std::uint64_t step = std::min(unit - at % unit, offset + run.length - at);
        const MapExtent one = find(at, step).value();
        ASSERT_EQ(one.kind, run.kind) << offset << " " << at;
        ASSERT_EQ(one.has_host, run.has_host) << offset << " " << at;
        ASSERT_EQ(one.is_exclusive, run.is_exclusive);
        if (run.kind == MapExtent::Kind::data) {
          ASSERT_EQ(one.host.value(), run.host.value() + (at - offset));
        }
        at += step;
      }
    }
  }
};

TEST_F(MapTest, NoTableIsUnallocatedToTheEndOfTheQuestion) {
  open(small(512, 16));
  const MapExtent extent = find(0, kMiB).value();
  EXPECT_EQ(extent.kind, MapExtent::Kind::unallocated);
  EXPECT_EQ(extent.length, kMiB);
  EXPECT_FALSE(extent.has_host);
}

TEST_F(MapTest, AQuestionBeyondTheLastTableIsAnsweredToItsEnd) {
  open(small(512, 16));
  const std::uint64_t end = metadata_->l1.size() * metadata_->geometry.l2_coverage();
  EXPECT_EQ(find(0, end + kMiB).value().length, end);
  EXPECT_EQ(find(end - 512, kMiB).value().length, 512u);
}

TEST_F(MapTest, ASharedTableIsCopiedOnlyWhereItsReleaseCanBeRemembered) {
  open(small(512, 16));
  set(3, L2Entry::zero(metadata_->geometry));
  ASSERT_TRUE(flush().has_value());
  const L1Entry own = metadata_->l1.entry(0);
  metadata_->l1.set(0, L1Entry::table(own.offset(), false));
  std::uint64_t dropped = 100'000;
  while (metadata_->store.has_room_for_drops(1).has_value()) {
    metadata_->store.release({HostCluster(dropped += 2), 1});
  }
  const Answer<Nothing> full = metadata_->map.prepare(GuestOffset(0));
  ASSERT_NE(full.need(), nullptr);
  EXPECT_EQ(full.need()->kind, Need::Kind::round);
  EXPECT_EQ(metadata_->l1.entry(0).offset(), own.offset());
  set(4, L2Entry::zero(metadata_->geometry));
  EXPECT_NE(metadata_->l1.entry(0).offset(), own.offset());
  EXPECT_EQ(find(3 * 512, 1024)->kind, MapExtent::Kind::zero);
}

TEST_F(MapTest, WhatLeadsToATableGivesNothingBack) {
  open(small(512, 16));
  metadata_->map.release(L2Entry::standard(metadata_->l1.offset(), true));
  EXPECT_TRUE(metadata_->guard.has_tripped());
  EXPECT_FALSE(metadata_->store.has_drops());
}

TEST_F(MapTest, BrokenEntriesNameTheirPlace) {
  open(small(512, 16));
  set(3, L2Entry::standard(HostOffset(0x10000), true));
  set(4, L2Entry(0x10200 | 2));
  const MapExtent before = find(3 * 512, 1024).value();
  EXPECT_EQ(before.length, 512u);
  const Result<MapExtent> broken = find(4 * 512, 512);
  ASSERT_FALSE(broken.has_value());
  EXPECT_EQ(broken.error().corruption, Corruption::l2_entry_reserved_bits);
  EXPECT_EQ(broken.error().offset, metadata_->l1.entry(0).offset().value() + 4 * 8);
}

// H3: who waits for room in the cache has claimed nothing yet.
TEST_F(MapTest, ATableIsClaimedFilledAndLinkedInOneGo) {
  open(small());
  EXPECT_GT(prepare_slots(0, 400), 0u);
}

TEST_F(MapTest, ATableOfASnapshotIsCopiedInOneGo) {
  open(small());
  std::uint64_t slots = 0;
  while (metadata_->l2.can_make()) {
    EXPECT_EQ(prepare_slots(slots, slots + 1), 0u);
    ++slots;
  }
  // Still as they were made, in memory only, and a snapshot's too.
  for (std::uint64_t slot = 0; slot < slots; ++slot) {
    const HostOffset offset = metadata_->l1.entry(slot).offset();
    const ClusterRun table{metadata_->geometry.cluster_of(offset), 1};
    ASSERT_TRUE(ask_until(*metadata_, [&] { return metadata_->store.share(table); }).has_value());
    metadata_->l1.set(slot, L1Entry::table(offset, false));
  }
  metadata_->store.hold_drops();
  EXPECT_GT(prepare_slots(0, slots), 0u);
  metadata_->store.let_drops_go();
}

// A run in place may reach into what the next block counts, if there is one.
TEST_F(MapTest, ARunIsWrittenInPlaceWhereAllOfItIsCounted) {
  open(small());
  while (metadata_->refcounts.block_end() < 3) {
    ASSERT_TRUE(claim(1).has_value());
  }
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t per_block = geometry.refcounts_per_block();
  const std::uint64_t blocks = metadata_->refcounts.block_end();
  const auto ask = [&](std::uint64_t block) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      const HostCluster host(block * per_block - 2 + i);
      set(i, L2Entry::standard(geometry.offset_of(host), true));
    }
    return ask_until(*metadata_,
                     [&] { return metadata_->map.find_in_place(GuestOffset(0), 4 * 512); });
  };
  const Result<MapExtent> inside = ask(blocks - 1);
  ASSERT_TRUE(inside.has_value()) << describe(inside.error());
  EXPECT_EQ(inside->length, 4u * 512);
  for (const std::uint64_t block : {blocks, blocks + 1}) {
    const Result<MapExtent> beyond = ask(block);
    ASSERT_FALSE(beyond.has_value());
    EXPECT_EQ(beyond.error().corruption, Corruption::refcount_missing_block);
    EXPECT_EQ(beyond.error().value, (block * per_block - 2) * 512);
  }
}

// History: f8de16605c.
TEST_F(MapTest, RunsAgreeWithQuestionsOneByOne) {
  const std::uint64_t seed = sim::seed_from_environment();
  std::printf("VARVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  sim::Random random(seed);
  CreateOptions options = small(512, 16);
  options.size_bytes = 256 * kKiB;
  open(options);
  std::uint64_t host = kMiB;
  for (std::uint64_t cluster = 0; cluster < 512; ++cluster) {
    host += random.chance(70) ? 512 : 1536;
    const bool copied = !random.chance(10);
    switch (random.below(6)) {
      case 0:
        break;
      case 1:
        set(cluster, L2Entry::zero(metadata_->geometry));
        break;
      case 2:
        set(cluster, L2Entry(host | L2Entry::kZero | (copied ? L2Entry::kCopied : 0)));
        break;
      case 3:
        set(cluster, L2Entry::compressed(metadata_->geometry, {HostOffset(host + 17), 300}));
        break;
      default:
        set(cluster, L2Entry::standard(HostOffset(host), copied));
        break;
    }
  }
  compare_runs(random);
}

// History: f8de16605c.
TEST_F(MapTest, RunsOfSubclustersAgreeToo) {
  const std::uint64_t seed = sim::seed_from_environment();
  std::printf("VARVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  sim::Random random(seed);
  CreateOptions options = small(16384, 16);
  options.extended_l2 = true;
  options.size_bytes = 4 * kMiB;
  open(options);
  std::uint64_t host = 16 * kMiB;
  for (std::uint64_t cluster = 0; cluster < 256; ++cluster) {
    host += random.chance(70) ? 16384 : 3 * 16384;
    std::uint64_t bitmap = 0;
    for (unsigned i = 0; i < 32; ++i) {
      const std::uint64_t kind = random.chance(60) && i > 0 ? 3 : random.below(3);
      if (kind == 3) {  // As the one before.
        bitmap |= ((bitmap >> (i - 1)) & 1) << i | ((bitmap >> (31 + i)) & 1) << (32 + i);
      } else if (kind != 0) {
        bitmap |= std::uint64_t{1} << (kind == 1 ? i : 32 + i);
      }
    }
    if (random.chance(20)) {
      set(cluster, L2Entry(0, bitmap & 0xffff'ffff'0000'0000));
    } else if (random.chance(80)) {
      set(cluster, L2Entry::extended(HostOffset(host), true, bitmap));
    }
  }
  compare_runs(random);
}

}  // namespace
}  // namespace varve::test
