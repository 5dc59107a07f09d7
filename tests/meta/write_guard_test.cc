// Goal: the guard knows at any moment which clusters hold tables, whatever came and went, and lets
// nothing but a table's own writes through. Method: the set against std::map under random changes;
// requests on a simulated disk, one of each kind.
#include "meta/write_guard.h"

#include <map>

#include "meta/meta_fixture.h"
#include "sim/random.h"

namespace varve::test {
namespace {

using Kind = TablePlaces::Kind;

TEST(TablePlaces, IsWhatAMapWouldBeUnderRandomChanges) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  for (const std::uint64_t key : {std::uint64_t{0}, std::uint64_t{0x9e37'79b9'7f4a'7c15}}) {
    sim::Random random(seed);
    TablePlaces places(key);
    std::map<std::uint64_t, Kind> model;
    for (int step = 0; step < 20'000; ++step) {
      // Few enough clusters that they meet again, some of them far behind in the file.
      const std::uint64_t cluster = random.below(600) << (random.chance(20) ? 38 : 0);
      if (random.chance(55)) {
        const auto kind = static_cast<Kind>(random.between(1, 6));
        ASSERT_TRUE(places.reserve(1).has_value());
        places.add(HostCluster(cluster), kind);
        model.emplace(cluster, kind);
      } else {
        const std::uint64_t count = random.between(1, 4);
        places.forget({HostCluster(cluster), count});
        model.erase(model.lower_bound(cluster), model.lower_bound(cluster + count));
      }
      const std::uint64_t asked = random.below(600) << (random.chance(20) ? 38 : 0);
      const auto found = model.find(asked);
      ASSERT_EQ(places.find(HostCluster(asked)), found == model.end() ? Kind::none : found->second)
          << "cluster " << asked << " in step " << step;
      ASSERT_EQ(places.size(), model.size());
    }
    for (const auto& [cluster, kind] : model) {
      EXPECT_EQ(places.find(HostCluster(cluster)), kind);
    }
  }
}

class WriteGuardTest : public MetaTest {
 protected:
  Result<void> submit(StorageOperation operation, IoTag tag, HostOffset offset,
                      std::uint64_t length) {
    Batch batch(metadata_->counters);
    std::vector<std::byte> bytes(length);
    switch (operation) {
      case StorageOperation::write:
        VARVE_TRY(batch.write(*metadata_->file, tag, offset, bytes));
        break;
      case StorageOperation::write_zeroes:
        VARVE_TRY(batch.write_zeroes(*metadata_->file, tag, offset, length));
        break;
      default:
        VARVE_TRY(batch.discard(*metadata_->file, tag, offset, length));
        break;
    }
    return batch.run();
  }
};

// History: cloud-hypervisor 8358.
TEST_F(WriteGuardTest, EveryTableTakesItsOwnWritesAndNoOthers) {
  struct Case {
    const char* name;
    IoTag own;
  };
  for (const Case& tried : {Case{"header", IoTag::header}, Case{"l1", IoTag::l1},
                            Case{"refcount table", IoTag::refcount_table},
                            Case{"refcount block", IoTag::refcount_block}}) {
    for (const StorageOperation operation :
         {StorageOperation::write, StorageOperation::write_zeroes, StorageOperation::discard}) {
      for (const IoTag tag : {IoTag::guest_data, IoTag::compressed_data, IoTag::state, IoTag::l2,
                              IoTag::snapshot_table}) {
        SCOPED_TRACE(std::string(tried.name) + " under " + io_tag_name(tag));
        disk_.content = sim::SparseBytes();
        open(small(4096, 16));
        HostOffset place;
        if (tried.own == IoTag::l1) {
          place = metadata_->l1.offset();
        } else if (tried.own == IoTag::refcount_table) {
          place = metadata_->refcounts.table_offset();
        } else if (tried.own == IoTag::refcount_block) {
          place = HostOffset(metadata_->refcounts.table()[0]);
        }
        // In the middle of it.
        const HostOffset before = place + 1000;
        std::vector<std::byte> bytes(4096);
        disk_.content.read(place.value(), bytes);
        const Result<void> refused = submit(operation, tag, before, 512);
        ASSERT_FALSE(refused.has_value());
        EXPECT_EQ(refused.error().corruption, Corruption::cluster_overlaps_metadata);
        EXPECT_EQ(refused.error().tag, tag);
        EXPECT_EQ(refused.error().value, place.value());
        EXPECT_TRUE(metadata_->guard.has_tripped());
        EXPECT_TRUE(metadata_->commit.is_poisoned());
        // Nothing is written any more but the mark, and that is on disk.
        const Result<void> later =
            submit(StorageOperation::write, IoTag::guest_data, HostOffset(1u << 20), 512);
        ASSERT_FALSE(later.has_value());
        EXPECT_EQ(later.error().code, ErrorCode::poisoned);
        while (metadata_->header_writer.is_running()) {
          engine_->wait();
        }
        EXPECT_EQ(be64_at(offsetof(RawHeader, incompatible_features)), kIncompatibleCorrupt);
        std::vector<std::byte> now(4096);
        disk_.content.read(place.value(), now);
        now[offsetof(RawHeader, incompatible_features) + 7] &=
            std::byte(place.value() == 0 ? 0xfd : 0xff);
        EXPECT_EQ(now, bytes);
        metadata_.reset();
      }
    }
  }
}

TEST_F(WriteGuardTest, EveryUseOfATableIsRefusedAndTheFirstIsMarked) {
  open(small(4096, 16));
  const ClusterRun table{metadata_->geometry.cluster_of(metadata_->l1.offset()), 1};
  for (int i = 0; i < 2; ++i) {
    const Result<void> refused = metadata_->guard.admit(table, IoTag::guest_data, HostOffset(7));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().corruption, Corruption::cluster_overlaps_metadata);
    wait_until_idle();
  }
  EXPECT_EQ(trace_.count(StorageOperation::write, IoTag::header), 1u);
}

TEST_F(WriteGuardTest, AnImageMarkedAlreadyIsNotMarkedAgain) {
  open(small(4096, 16));
  put_be64(offsetof(RawHeader, incompatible_features), kIncompatibleCorrupt);
  load();
  trace_.clear();
  EXPECT_FALSE(
      submit(StorageOperation::write, IoTag::guest_data, metadata_->l1.offset(), 1).has_value());
  wait_until_idle();
  EXPECT_TRUE(metadata_->commit.is_poisoned());
  EXPECT_EQ(trace_.count(StorageOperation::write), 0u);
}

TEST_F(WriteGuardTest, ATablesOwnWritesPassAndMakeThePlaceItsOwn) {
  open(small(4096, 16));
  EXPECT_TRUE(submit(StorageOperation::write, IoTag::extension, HostOffset(512), 8).has_value());
  EXPECT_TRUE(submit(StorageOperation::write, IoTag::l1, metadata_->l1.offset(), 512).has_value());
  EXPECT_TRUE(submit(StorageOperation::write, IoTag::refcount_block,
                     HostOffset(metadata_->refcounts.table()[0]), 4096)
                  .has_value());
  // Growth writes blocks and the table they are in at once.
  const HostOffset fresh(1u << 20);
  EXPECT_TRUE(submit(StorageOperation::write, IoTag::refcount_block, fresh, 3 * 4096).has_value());
  EXPECT_TRUE(
      submit(StorageOperation::write, IoTag::refcount_table, fresh + 8192, 4096).has_value());
  EXPECT_FALSE(metadata_->guard.has_tripped());
  EXPECT_FALSE(submit(StorageOperation::write, IoTag::guest_data, fresh + 4096, 1).has_value());
  EXPECT_TRUE(metadata_->guard.has_tripped());
  while (metadata_->header_writer.is_running()) {
    engine_->wait();
  }
}

TEST_F(WriteGuardTest, WhatHeldATableHoldsDataOnceItIsFree) {
  open(small(4096, 16));
  ASSERT_TRUE(prepare_table(GuestOffset(0)).has_value());
  const HostCluster table = metadata_->geometry.cluster_of(metadata_->l1.entry(0).offset());
  EXPECT_EQ(metadata_->guard.places().find(table), Kind::l2);
  metadata_->l1.set(0, L1Entry());
  metadata_->store.release({table, 1});
  ASSERT_TRUE(settle_drops().has_value());
  EXPECT_EQ(metadata_->guard.places().find(table), Kind::none);
  const Result<Claim> again = claim(1);
  ASSERT_TRUE(again.has_value()) << describe(again.error());
  EXPECT_EQ(again->run.first, table);
}

}  // namespace
}  // namespace varve::test
