// Goal: the model itself allows what a disk may do and nothing else; every other model test leans
// on that.
#include "model/disk_model.h"

#include <gtest/gtest.h>

#include "sim/random.h"

namespace varve::model {
namespace {

std::vector<std::byte> stamped(Stamp stamp, std::uint64_t offset, std::size_t size) {
  std::vector<std::byte> bytes(size);
  fill_stamp(bytes, stamp, offset);
  return bytes;
}

TEST(Stamp, TellsItselfAndItsPlace) {
  for (const Stamp stamp : {1u, 7u, 15u, 1000u, 99999u}) {
    for (const std::uint64_t offset : {0u, 3u, 8u, 512u, 1001u}) {
      const auto bytes = stamped(stamp, offset, 100);
      EXPECT_TRUE(matches_stamp(bytes, stamp, offset));
      EXPECT_EQ(describe_bytes(bytes, offset), "stamp " + std::to_string(stamp));
      EXPECT_FALSE(matches_stamp(bytes, stamp + 1, offset));
      EXPECT_EQ(
          describe_bytes(bytes, offset + 4096),
          "stamp " + std::to_string(stamp) + " of offset " + std::to_string((offset + 7) / 8 * 8));
    }
  }
}

TEST(Stamp, IdentifiesEverySector) {
  for (const Stamp stamp : {1u, 7u, 10u, 15u, 23u, 1001u, 1007u}) {
    for (std::uint64_t sector = 0; sector < 2000; ++sector) {
      const auto bytes = stamped(stamp, sector * 512, 512);
      ASSERT_EQ(identify_sector(bytes), identity_of(stamp, sector));
    }
    auto bytes = stamped(stamp, 512, 512);
    bytes[511] ^= std::byte{1};
    EXPECT_EQ(identify_sector(bytes), kUnknownSector);
  }
  EXPECT_EQ(identify_sector(stamped(0, 0, 512)), 0u);
}

TEST(DiskModel, AllowsOnlyTheLastOfWritesInSequence) {
  DiskModel model(4096);
  model.set(0, 2048, 1);
  model.set(512, 1024, 2);
  EXPECT_FALSE(model.judge(0, stamped(1, 0, 512)));
  EXPECT_FALSE(model.judge(512, stamped(2, 512, 1024)));
  EXPECT_TRUE(model.judge(512, stamped(1, 512, 512)));
  EXPECT_FALSE(model.judge(2048, stamped(0, 2048, 2048)));
}

TEST(DiskModel, OverlappingWritesLeaveEitherSectorBySector) {
  DiskModel model(4096);
  const auto one = model.begin_change(0, 1024, 1);
  const auto two = model.begin_change(0, 1024, 2);
  model.end_change(two, Certainty::certain);
  model.end_change(one, Certainty::certain);
  EXPECT_FALSE(model.judge(0, stamped(1, 0, 512)));
  EXPECT_FALSE(model.judge(512, stamped(2, 512, 512)));
  EXPECT_TRUE(model.judge(0, stamped(0, 0, 512)));
  auto mixed = stamped(1, 0, 512);
  fill_stamp(Bytes(mixed).subspan(256), 2, 256);
  EXPECT_TRUE(model.judge(0, mixed));
}

TEST(DiskModel, ReadInFlightMayFindOldOrNew) {
  DiskModel model(4096);
  model.set(0, 512, 1);
  for (const Stamp found : {1u, 2u}) {
    const auto read = model.begin_read(0, 512);
    const auto write = model.begin_change(0, 512, 2);
    model.end_change(write, Certainty::certain);
    EXPECT_FALSE(model.end_read(read, stamped(found, 0, 512)));
    model.set(0, 512, 1);
  }
  const auto late = model.begin_read(0, 512);
  EXPECT_TRUE(model.end_read(late, stamped(2, 0, 512)));
}

TEST(DiskModel, WriteAfterACompletedOneHidesItEvenBesideAThird) {
  DiskModel model(512);
  const auto slow = model.begin_change(0, 512, 1);
  model.set(0, 512, 2);
  model.set(0, 512, 3);
  EXPECT_TRUE(model.judge(0, stamped(2, 0, 512)));
  EXPECT_FALSE(model.judge(0, stamped(1, 0, 512)));
  EXPECT_FALSE(model.judge(0, stamped(3, 0, 512)));
  model.end_change(slow, Certainty::certain);
  EXPECT_FALSE(model.judge(0, stamped(1, 0, 512)));
  EXPECT_TRUE(model.judge(0, stamped(0, 0, 512)));
}

TEST(DiskModel, UncertainChangeKeepsTheOldValuePossible) {
  DiskModel model(1024);
  model.set(0, 1024, 1);
  model.end_change(model.begin_change(0, 1024, 2), Certainty::maybe);
  EXPECT_FALSE(model.judge(0, stamped(1, 0, 512)));
  EXPECT_FALSE(model.judge(512, stamped(2, 512, 512)));
  model.set(0, 1024, 3);
  EXPECT_TRUE(model.judge(0, stamped(1, 0, 512)));
}

TEST(DiskModel, UnalignedRangesAreExact) {
  DiskModel model(4096);
  model.set(0, 4096, 1);
  model.set(700, 5, 2);
  auto bytes = stamped(1, 0, 4096);
  EXPECT_TRUE(model.judge(0, bytes));
  fill_stamp(Bytes(bytes).subspan(700, 5), 2, 700);
  EXPECT_FALSE(model.judge(0, bytes));
}

TEST(DiskModel, FilesMayTearReadsBesideAChangeAndNothingElse) {
  const auto read_half_done = [](bool may_tear, bool beside_change) {
    DiskModel model(1024);
    if (may_tear) {
      model.allow_torn_reads();
    }
    model.set(0, 1024, 1);
    const auto read = model.begin_read(0, 512);
    if (beside_change) {
      model.end_change(model.begin_change(0, 512, 2), Certainty::certain);
    }
    std::vector<std::byte> bytes(512);
    fill_stamp(bytes, 1, 0);
    fill_stamp(Bytes(bytes).subspan(100), 2, 100);
    return model.end_read(read, bytes).has_value();
  };
  EXPECT_FALSE(read_half_done(true, true));
  EXPECT_TRUE(read_half_done(false, true));
  EXPECT_TRUE(read_half_done(true, false));
}

TEST(DiskModel, EqualsAnArrayForSequentialRandomChanges) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  DiskModel model(20000);
  std::vector<std::byte> flat(20000);
  for (Stamp stamp = 1; stamp < 500; ++stamp) {
    const std::uint64_t offset = random.below(flat.size());
    const std::uint64_t length = random.below(flat.size() - offset) / random.between(1, 20);
    const Stamp value = random.chance(20) ? kZeroStamp : stamp;
    model.set(offset, length, value);
    fill_stamp(
        Bytes(flat).subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length)),
        value, offset);
    ASSERT_EQ(model.judge(0, flat).value_or(""), "");
    flat[static_cast<std::size_t>(random.below(flat.size()))] ^= std::byte{0x55};
    ASSERT_TRUE(model.judge(0, flat));
    // Restore by judging piece by piece is not possible: rewrite everything.
    model.set(0, flat.size(), stamp);
    fill_stamp(flat, stamp, 0);
  }
}

}  // namespace
}  // namespace varve::model
