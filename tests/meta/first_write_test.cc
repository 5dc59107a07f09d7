#include "meta/first_write.h"

#include "meta/bitmap_bytes.h"
#include "meta/meta_fixture.h"

namespace varve::test {
namespace {

class FirstWriteTest : public MetaTest {
 protected:
  static constexpr std::uint64_t kPlace = kMiB;

  // The first write of a session over an image with these snapshots.
  Result<void> prepare(const SnapshotTable& snapshots) {
    FirstWrite first_write({&metadata_->header, metadata_->file, &metadata_->header_writer,
                            &metadata_->commit, &metadata_->counters, &snapshots,
                            &metadata_->guard.places()});
    trace_.clear();
    BlockingWaiter waiter(*engine_);
    first_write.prepare(waiter);
    const Result<void> prepared = waiter.wait();
    EXPECT_EQ(first_write.is_done(), prepared.has_value());
    return prepared;
  }
  static SnapshotEntry snapshot(std::uint64_t l1_offset, std::uint32_t l1_entries) {
    SnapshotEntry entry;
    entry.l1_offset = HostOffset(l1_offset);
    entry.l1_entries = l1_entries;
    return entry;
  }
  // Names table number `cluster` in a snapshot's L1.
  void lead(std::uint64_t l1_offset, std::uint64_t index, std::uint64_t cluster) {
    put_be64(l1_offset + index * 8, cluster * metadata_->geometry.cluster_bytes());
  }
  [[nodiscard]] bool is_guarded(std::uint64_t cluster) const {
    return metadata_->guard.places().find(HostCluster(cluster)) == TablePlaces::Kind::l2;
  }
  [[nodiscard]] std::uint64_t bytes_read() const {
    std::uint64_t bytes = 0;
    for (const sim::TraceEntry& entry : trace_.entries()) {
      bytes += entry.operation == StorageOperation::read ? entry.length : 0;
    }
    return bytes;
  }
};

TEST_F(FirstWriteTest, TablesThatLieOverEachOtherAreReadOnce) {
  open(small(4096, 16));
  disk_.content.resize(2 * kMiB);
  SnapshotTable snapshots;
  snapshots.entries = {snapshot(kPlace + 2048, 600), snapshot(kPlace, 600),
                       snapshot(kPlace + 512, 8)};
  lead(kPlace, 0, 1000);
  lead(kPlace, 300, 1001);  // Of both.
  lead(kPlace + 2048, 599, 1002);
  ASSERT_TRUE(prepare(snapshots).has_value());
  EXPECT_EQ(bytes_read(), 2048u + 600 * 8);
  EXPECT_TRUE(is_guarded(1000) && is_guarded(1001) && is_guarded(1002));
  EXPECT_EQ(metadata_->guard.places().find(HostCluster(kPlace / 4096)), TablePlaces::Kind::l1);
}

TEST_F(FirstWriteTest, ATableLongerThanOneReadIsKnownToItsEnd) {
  open(small(4096, 16));
  constexpr std::uint32_t kEntries = 40'000;
  disk_.content.resize(kPlace + kEntries * 8);
  SnapshotTable snapshots;
  snapshots.entries = {snapshot(kPlace, kEntries)};
  for (std::uint64_t i = 0; i < kEntries; ++i) {
    lead(kPlace, i, 1'000'000 + i);
  }
  ASSERT_TRUE(prepare(snapshots).has_value());
  EXPECT_EQ(bytes_read(), kEntries * 8u);
  EXPECT_GT(trace_.count(StorageOperation::read), 1u);
  for (std::uint64_t i = 0; i < kEntries; ++i) {
    ASSERT_TRUE(is_guarded(1'000'000 + i)) << i;
  }
}

TEST_F(FirstWriteTest, ASessionIsBusyUntilItsFirstWriteIsPrepared) {
  open(small(4096, 16));
  constexpr std::uint64_t kUnknown = std::uint64_t{1} << 40;
  put_be64(offsetof(RawHeader, autoclear_features), kUnknown);
  load();
  FirstWrite& first_write = metadata_->first_write;
  ASSERT_FALSE(first_write.is_done());
  EXPECT_FALSE(first_write.is_running());
  BlockingWaiter waiter(*engine_);
  first_write.prepare(waiter);
  EXPECT_TRUE(first_write.is_running());
  EXPECT_FALSE(metadata_->is_idle());
  ASSERT_TRUE(waiter.wait().has_value());
  EXPECT_TRUE(first_write.is_done());
  EXPECT_FALSE(first_write.is_running());
  EXPECT_TRUE(metadata_->is_idle());
  EXPECT_EQ(be64_at(offsetof(RawHeader, autoclear_features)), 0u);
}

TEST_F(FirstWriteTest, EveryEnabledBitmapIsMarked) {
  open(small(4096, 16));
  add_bitmaps(disk_.content, 3, kPlace);
  load();
  BlockingWaiter waiter(*engine_);
  metadata_->first_write.prepare(waiter);
  ASSERT_TRUE(waiter.wait().has_value());
  for (unsigned i = 0; i < 3; ++i) {
    const std::uint64_t flags = kPlace + i * kBitmapBytes + offsetof(RawBitmapEntry, flags);
    EXPECT_EQ(be64_at(flags) >> 32, BitmapEntry::kAuto | BitmapEntry::kInUse) << i;
  }
  EXPECT_EQ(be64_at(offsetof(RawHeader, autoclear_features)), kAutoclearBitmaps);
}

}  // namespace
}  // namespace varve::test
