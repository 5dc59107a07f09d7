// Goal: each part of meta that needs memory answers `no_memory` where it gets none, has changed
// nothing that matters, and does its work when it is asked again. Method: one part at a time over a
// simulated disk; every allocation it makes fails once.
#include "meta/bitmap_bytes.h"
#include "meta/bitmap_entries.h"
#include "meta/meta_fixture.h"
#include "meta/tree_walk.h"
#include "sim/allocation_faults.h"

namespace varve::test {
namespace {

class MetaMemoryTest : public MetaTest {
 protected:
  // Keeps what the disk holds now, for each of the runs to begin with.
  void keep() { kept_ = disk_.content.clone(); }

  // Runs `act` until none of its allocations is left to fail, each time in a session of its own
  // that `prepare` has made ready; `judge` is told what it answered.
  template <class Prepare, class Act, class Judge>
  void fail_each(Prepare prepare, Act act, Judge judge) {
    bool has_failed = true;
    for (std::uint64_t number = 0; has_failed; ++number) {
      SCOPED_TRACE("allocation " + std::to_string(number));
      ASSERT_LT(number, 1000u);
      disk_.content = kept_.clone();
      load();
      prepare();
      sim::AllocationFaults::arm(number, false);
      const Result<void> result = sim::within_window(act);
      sim::AllocationFaults::disarm();
      has_failed = sim::AllocationFaults::failed() != 0;
      ASSERT_TRUE(has_failed || number != 0) << "it takes no memory";
      ASSERT_TRUE(has_failed || result.has_value()) << describe(result.error());
      if (!result) {
        ASSERT_EQ(result.error().code, ErrorCode::no_memory) << describe(result.error());
        ++refusals_;
      }
      judge(result);
      wait_until_idle();
    }
    EXPECT_GT(refusals_, 0u);
  }

  sim::SparseBytes kept_;
  unsigned refusals_ = 0;
};

// Without the memory to mark the bitmaps they are given up, which other programs see.
TEST_F(MetaMemoryTest, BitmapsAreMarkedOrGivenUpBeforeTheFirstWrite) {
  constexpr std::uint64_t kDirectory = kMiB;
  open(small(4096, 16));
  add_bitmaps(disk_.content, 3, kDirectory);
  keep();
  unsigned given_up = 0;
  const auto first_write = [&]() -> Result<void> {
    BlockingWaiter waiter(*engine_);
    metadata_->first_write.prepare(waiter);
    return waiter.wait();
  };
  fail_each([] {}, first_write,
            [&](const Result<void>& result) {
              ASSERT_TRUE(result.has_value() || first_write().has_value());
              ASSERT_TRUE(metadata_->first_write.is_done());
              if (be64_at(offsetof(RawHeader, autoclear_features)) == 0) {
                ++given_up;
                return;
              }
              for (unsigned i = 0; i < 3; ++i) {
                const std::uint64_t entry = kDirectory + i * kBitmapBytes;
                EXPECT_EQ(be64_at(entry + offsetof(RawBitmapEntry, flags)) >> 32,
                          BitmapEntry::kAuto | BitmapEntry::kInUse)
                    << i;
              }
            });
  EXPECT_GT(given_up, 0u);
}

TEST_F(MetaMemoryTest, BitmapsAreListed) {
  open(small(4096, 16));
  add_bitmaps(disk_.content, 3, kMiB);
  keep();
  const auto list = [&]() -> Result<void> {
    MeteredMemory held;
    const auto entries = read_bitmap_entries(*metadata_, *metadata_->header.bitmaps(), held);
    return entries ? Result<void>() : entries.error();
  };
  fail_each([] {}, list, [&](const Result<void>&) { EXPECT_TRUE(list().has_value()); });
}

TEST_F(MetaMemoryTest, TheRefcountTableGrows) {
  open(small());
  keep();
  const auto grow = [&]() -> Result<void> {
    BlockingWaiter waiter(*engine_);
    metadata_->satisfy({Need::Kind::refcount_growth, HostOffset(4 * kMiB), 0}, waiter);
    return waiter.wait();
  };
  fail_each([] {}, grow,
            [&](const Result<void>& result) {
              const Refcounts& refcounts = metadata_->refcounts;
              const std::uint64_t block = 4 * kMiB / 512 / 64;
              EXPECT_EQ(refcounts.has_block(block), result.has_value());
              ASSERT_TRUE(result.has_value() || grow().has_value());
              ASSERT_TRUE(refcounts.has_block(block));
              ASSERT_EQ(be64_at(offsetof(RawHeader, refcount_table_offset)),
                        refcounts.table_offset().value());
              for (std::uint64_t i = 0; i < refcounts.table().size(); ++i) {
                ASSERT_EQ(be64_at(refcounts.table_offset().value() + i * 8), refcounts.table()[i]);
              }
              EXPECT_TRUE(claim(1).has_value());
              EXPECT_TRUE(flush().has_value());
            });
}

TEST_F(MetaMemoryTest, ATableIsMade) {
  open(small());
  keep();
  const auto prepare = [&] { return prepare_table(GuestOffset(0)); };
  const auto fill_places = [&] {
    // Until one more cluster takes twice the slots.
    TablePlaces& places = metadata_->guard.places();
    for (std::uint64_t i = 0; places.size() < 64; ++i) {
      ASSERT_TRUE(places.reserve(1).has_value());
      places.add(HostCluster(100'000 + i), TablePlaces::Kind::l2);
    }
  };
  fail_each(fill_places, prepare, [&](const Result<void>& result) {
    EXPECT_EQ(metadata_->l1.entry(0).is_allocated(), result.has_value());
    ASSERT_TRUE(prepare().has_value());
    const HostCluster table = metadata_->geometry.cluster_of(metadata_->l1.entry(0).offset());
    EXPECT_EQ(metadata_->guard.places().find(table), TablePlaces::Kind::l2);
    EXPECT_EQ(count_of(table.value()), 1u);
  });
}

// While drops are held back, releasing one more may take memory.
TEST_F(MetaMemoryTest, ASharedTableIsCopied) {
  open(small());
  ASSERT_TRUE(prepare_table(GuestOffset(0)).has_value());
  ASSERT_TRUE(flush().has_value());
  const HostOffset shared = metadata_->l1.entry(0).offset();
  keep();
  const auto copy = [&] { return prepare_table(GuestOffset(0)); };
  const auto fill_drops = [&] {
    metadata_->l1.set(0, L1Entry::table(shared, false));
    std::uint64_t elsewhere = 100'000;
    while (metadata_->store.has_room_for_drops(1).has_value()) {
      metadata_->store.release({HostCluster(elsewhere += 2), 1});
    }
    metadata_->store.hold_drops();
  };
  fail_each(fill_drops, copy, [&](const Result<void>& result) {
    EXPECT_EQ(metadata_->l1.entry(0).offset() == shared, !result.has_value());
    ASSERT_TRUE(copy().has_value());
    EXPECT_NE(metadata_->l1.entry(0).offset(), shared);
    metadata_->store.let_drops_go();
    ASSERT_TRUE(settle_drops().has_value());
    EXPECT_EQ(count_of(metadata_->geometry.cluster_of(shared).value()), 0u);
  });
}

// What a drop could not remember stays counted: a leak.
TEST_F(MetaMemoryTest, ATreeIsDropped) {
  open(small());
  const Geometry& geometry = metadata_->geometry;
  const HostCluster data = claim(1)->run.first;
  const HostCluster table = claim(1)->run.first;
  ASSERT_TRUE(flush().has_value());
  put_be64(geometry.offset_of(table).value(),
           L2Entry::standard(geometry.offset_of(data), false).raw());
  const std::vector<std::uint64_t> l1{L1Entry::table(geometry.offset_of(table), false).raw()};
  keep();
  std::uint64_t era = 0;
  const auto fill_drops = [&] {
    era = metadata_->eras.enter();
    std::uint64_t elsewhere = 100'000;
    for (int i = 0; i < 4096; ++i) {
      ASSERT_TRUE(metadata_->store.has_room_for_durable_drop().has_value());
      metadata_->store.release_durable({HostCluster(elsewhere += 2), 1});
    }
  };
  const auto drop = [&]() -> Result<void> {
    TreeWalk walk(*metadata_);
    TreeWalk::Plan plan;
    plan.change = TreeWalk::Change::drop;
    plan.l1 = &l1;
    BlockingWaiter waiter(*engine_);
    walk.start(plan, waiter);
    return waiter.wait();
  };
  fail_each(fill_drops, drop, [&](const Result<void>& result) {
    metadata_->leave_era(era);
    ASSERT_TRUE(settle_drops().has_value());
    EXPECT_EQ(count_of(data.value()), result.has_value() ? 0u : 1u);
    EXPECT_LE(count_of(table.value()), result.has_value() ? 0u : 1u);
    EXPECT_TRUE(claim(1).has_value());
  });
}

}  // namespace
}  // namespace varve::test
