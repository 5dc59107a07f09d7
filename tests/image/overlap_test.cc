// Goal: whatever table of the image a damaged L2 entry leads to, no write of the guest lands on it:
// the write is refused by name, the image is marked and not opened for writing again, and goes on
// being read. Method: an image with a snapshot and its entry bent onto each table in turn; writes,
// zeroes, discards and compressed writes, with COPIED and without.
#include <cstddef>

#include <varve/check.h>
#include <varve/snapshot.h>

#include "base/endian.h"
#include "format/header.h"
#include "format/l2_entry.h"
#include "image/ground.h"
#include "sim/faulty_storage.h"
#include "sim/sim_disk.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kOverlapCluster = 4096;
constexpr std::uint64_t kOffset = L2Entry::kOffsetMask;
// The guest cluster whose entry is bent.
constexpr std::uint64_t kBent = 3;

class OverlapTest : public ::testing::Test {
 protected:
  OverlapTest() {
    CreateOptions options;
    options.size_bytes = 16 * kMiB;
    options.cluster_bytes = kOverlapCluster;
    sim::SimStorage storage(*engine_, disk_);
    VARVE_EXPECT_OK(create_image_in(storage, nullptr, options));
    auto image = open(true);
    VARVE_EXPECT_OK(image->write(0, pattern(8 * kOverlapCluster, 1)));
    // A second table, which the active disk and the snapshot go on to share.
    VARVE_EXPECT_OK(image->write(4 * kMiB, pattern(kOverlapCluster, 2)));
    SnapshotCreateOptions snapshot;
    snapshot.name = "kept";
    VARVE_EXPECT_OK(create_snapshot(*image, snapshot));
    VARVE_EXPECT_OK(image->write(0, pattern(8 * kOverlapCluster, 3)));
    VARVE_EXPECT_OK(image->close());
  }

  Result<std::unique_ptr<Image>> try_open(bool writable) {
    OpenOptions options;
    options.writable = writable;
    return Image::open(std::make_unique<sim::SimStorage>(*engine_, disk_), "/", options);
  }
  std::unique_ptr<Image> open(bool writable) {
    auto image = try_open(writable);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    return std::move(*image);
  }
  [[nodiscard]] std::uint64_t get(std::uint64_t offset) const {
    std::byte bytes[8];
    disk_.content.read(offset, Bytes(bytes));
    return load_be<std::uint64_t>(ConstBytes(bytes), 0);
  }
  void put(std::uint64_t offset, std::uint64_t value) {
    std::byte bytes[8];
    store_be(Bytes(bytes), 0, value);
    disk_.content.write(offset, ConstBytes(bytes));
  }

  // Where each of the image's tables stands.
  struct Table {
    std::string name;
    std::uint64_t offset = 0;
  };
  [[nodiscard]] std::vector<Table> tables() const {
    const std::uint64_t l1 = get(offsetof(RawHeader, l1_offset));
    const std::uint64_t refcounts = get(offsetof(RawHeader, refcount_table_offset));
    const std::uint64_t snapshots = get(offsetof(RawHeader, snapshot_table_offset));
    const std::uint64_t old_l1 = get(snapshots);
    return {{"header", 0},
            {"l1", l1},
            {"l2", get(l1) & kOffset},
            {"shared l2", get(l1 + 16) & kOffset},
            {"refcount table", refcounts},
            {"refcount block", get(refcounts)},
            {"snapshot table", snapshots},
            {"l1 of the snapshot", old_l1},
            {"l2 of the snapshot", get(old_l1) & kOffset}};
  }

  enum class Deed { write, write_part, write_zeroes, discard, compressed };
  static constexpr Deed kDeeds[] = {Deed::write, Deed::write_part, Deed::write_zeroes,
                                    Deed::discard, Deed::compressed};
  static Result<void> commit(Image& image, Deed deed,
                             std::uint64_t offset = kBent * kOverlapCluster) {
    Result<void> done;
    switch (deed) {
      case Deed::write:
        done = image.write(offset, pattern(kOverlapCluster, 9));
        break;
      case Deed::write_part:
        done = image.write(offset + 1000, pattern(10, 9));
        break;
      case Deed::write_zeroes:
        done = image.write_zeroes(offset, kOverlapCluster, true);
        break;
      case Deed::discard:
        done = image.discard(offset, kOverlapCluster);
        break;
      case Deed::compressed:
        done = image.write_compressed(offset, pattern(kOverlapCluster, 9));
        break;
    }
    return done ? image.flush() : done;
  }

  std::unique_ptr<Engine> engine_ = make_engine(AioBackend::threads, 256, 0);
  sim::SimDisk disk_;
};

// History: cloud-hypervisor 8358.
TEST_F(OverlapTest, NoWriteLandsOnATableWhateverAnEntrySays) {
  const std::uint64_t entry =
      (get(get(offsetof(RawHeader, l1_offset))) & kOffset) + kBent * sizeof(std::uint64_t);
  const sim::SparseBytes sound = std::move(disk_.content);
  disk_.content = sim::SparseBytes(&sound);
  for (const Table& table : tables()) {
    if (table.offset == 0) {
      continue;  // Offset 0 in an entry is no cluster: see the next test.
    }
    for (const std::uint64_t copied : {L2Entry::kCopied, std::uint64_t{0}}) {
      for (const Deed deed : kDeeds) {
        SCOPED_TRACE(table.name + (copied != 0 ? ", exclusive" : ", shared") + ", deed " +
                     std::to_string(static_cast<int>(deed)));
        disk_.content = sim::SparseBytes(&sound);
        put(entry, table.offset | copied);
        std::vector<std::byte> before(kOverlapCluster);
        disk_.content.read(table.offset, before);
        {
          const auto image = open(true);
          const Result<void> refused = commit(*image, deed);
          ASSERT_FALSE(refused.has_value());
          EXPECT_EQ(refused.error().corruption, Corruption::cluster_overlaps_metadata)
              << describe(refused.error());
          const Result<void> later = image->write(6 * kOverlapCluster, pattern(kOverlapCluster, 4));
          ASSERT_FALSE(later.has_value());
          EXPECT_EQ(later.error().code, ErrorCode::poisoned);
          ByteVector found(kOverlapCluster);
          VARVE_EXPECT_OK(image->read(kOverlapCluster, found));
          const ByteVector written = pattern(8 * kOverlapCluster, 3);
          EXPECT_TRUE(std::equal(found.begin(), found.end(), written.begin() + kOverlapCluster));
          EXPECT_FALSE(image->close().has_value());
        }
        std::vector<std::byte> after(kOverlapCluster);
        disk_.content.read(table.offset, after);
        EXPECT_TRUE(before == after) << "the table was overwritten";
        EXPECT_EQ(get(offsetof(RawHeader, incompatible_features)), kIncompatibleCorrupt);
        const auto again = try_open(true);
        ASSERT_FALSE(again.has_value());
        EXPECT_EQ(again.error().corruption, Corruption::corrupt_bit_set);
        const auto reader = open(false);
        ByteVector found(kOverlapCluster);
        VARVE_EXPECT_OK(reader->read(0, found));
        VARVE_EXPECT_OK(reader->close());
      }
    }
  }
}

// Writing there would make the file as long as the entry says.
TEST_F(OverlapTest, NoWriteGoesWhereNothingIsCounted) {
  const std::uint64_t entry =
      (get(get(offsetof(RawHeader, l1_offset))) & kOffset) + kBent * sizeof(std::uint64_t);
  const sim::SparseBytes sound = std::move(disk_.content);
  constexpr std::uint64_t kFar = std::uint64_t{1} << 49;
  for (const std::uint64_t raw : {kFar, kFar | L2Entry::kCopied, kFar | L2Entry::kCompressed}) {
    for (const Deed deed : kDeeds) {
      SCOPED_TRACE(std::to_string(raw) + ", deed " + std::to_string(static_cast<int>(deed)));
      disk_.content = sim::SparseBytes(&sound);
      put(entry, raw);
      const auto image = open(true);
      const Result<void> refused = commit(*image, deed);
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().corruption, Corruption::refcount_missing_block)
          << describe(refused.error());
      EXPECT_EQ(refused.error().offset, entry);
      VARVE_EXPECT_OK(image->write(6 * kOverlapCluster, pattern(kOverlapCluster, 4)));
      VARVE_EXPECT_OK(image->close());
      EXPECT_LT(disk_.content.size(), kMiB);
    }
  }
}

// Sectors of compressed data may begin anywhere, and go on into a table.
TEST_F(OverlapTest, CompressedDataInATableIsNotGivenBack) {
  const std::uint64_t l1 = get(offsetof(RawHeader, l1_offset));
  const std::uint64_t entry = (get(l1) & kOffset) + kBent * sizeof(std::uint64_t);
  const sim::SparseBytes sound = std::move(disk_.content);
  disk_.content = sim::SparseBytes(&sound);
  for (const Deed deed : kDeeds) {
    if (deed == Deed::write_part) {
      continue;  // What is there is no compressed data, and cannot be completed.
    }
    SCOPED_TRACE(static_cast<int>(deed));
    disk_.content = sim::SparseBytes(&sound);
    put(entry, L2Entry::kCompressed | (l1 + 512));
    const auto image = open(true);
    const Result<void> refused = commit(*image, deed);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().corruption, Corruption::cluster_overlaps_metadata)
        << describe(refused.error());
    EXPECT_FALSE(image->close().has_value());
    EXPECT_EQ(get(offsetof(RawHeader, incompatible_features)), kIncompatibleCorrupt);
  }
}

// A cluster that is counted 0 may be made a table at any moment; then it is one.
TEST_F(OverlapTest, AFreeClusterThatBecomesATableIsOne) {
  const std::uint64_t l1 = get(offsetof(RawHeader, l1_offset));
  const std::uint64_t entry = (get(l1) & kOffset) + kBent * sizeof(std::uint64_t);
  const sim::SparseBytes sound = std::move(disk_.content);
  std::uint64_t table = 0;
  for (const bool is_bent : {false, true}) {
    disk_.content = sim::SparseBytes(&sound);
    if (is_bent) {
      put(entry, table | L2Entry::kCopied);
    }
    const auto image = open(true);
    VARVE_EXPECT_OK(image->write(8 * kMiB, pattern(512, 5)));
    VARVE_EXPECT_OK(image->flush());
    const std::uint64_t taken = get(l1 + 8 / 2 * sizeof(std::uint64_t)) & kOffset;
    ASSERT_NE(taken, 0u);
    if (is_bent) {
      ASSERT_EQ(taken, table) << "the same space is taken as before";
      const Result<void> refused =
          image->write(kBent * kOverlapCluster, pattern(kOverlapCluster, 9));
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().corruption, Corruption::cluster_overlaps_metadata);
    }
    table = taken;
    EXPECT_EQ(image->close().has_value(), !is_bent);
  }
}

// The same where the table is made for the very write that is to replace the entry.
TEST_F(OverlapTest, AFreeClusterThatBecomesTheEntrysOwnTableIsOne) {
  constexpr std::uint64_t kShared = 4 * kMiB;
  const std::uint64_t slot = get(offsetof(RawHeader, l1_offset)) + 16;
  const std::uint64_t entry = get(slot) & kOffset;
  const sim::SparseBytes sound = std::move(disk_.content);
  for (const Deed deed : kDeeds) {
    SCOPED_TRACE(static_cast<int>(deed));
    disk_.content = sim::SparseBytes(&sound);
    {
      const auto image = open(true);
      VARVE_EXPECT_OK(commit(*image, deed, kShared));
      VARVE_EXPECT_OK(image->close());
    }
    const std::uint64_t table = get(slot) & kOffset;
    ASSERT_NE(table, entry) << "the table was not copied";
    disk_.content = sim::SparseBytes(&sound);
    put(entry, table);
    const auto image = open(true);
    const Result<void> refused = commit(*image, deed, kShared);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().corruption, Corruption::cluster_overlaps_metadata)
        << describe(refused.error());
    EXPECT_FALSE(image->close().has_value());
    EXPECT_EQ(get(offsetof(RawHeader, incompatible_features)), kIncompatibleCorrupt);
    EXPECT_FALSE(try_open(true).has_value());
  }
}

// The count of one for two tables is the other one's when the first goes.
TEST_F(OverlapTest, DeletingASnapshotFreesNothingWhereASecondTableStands) {
  const std::uint64_t refcounts = get(offsetof(RawHeader, refcount_table_offset));
  const std::uint64_t snapshots = get(offsetof(RawHeader, snapshot_table_offset));
  put(refcounts + 4 * sizeof(std::uint64_t), snapshots);  // A block for what is far behind the end.
  std::vector<std::byte> before(kOverlapCluster);
  disk_.content.read(snapshots, before);
  const auto image = open(true);
  VARVE_EXPECT_OK(delete_snapshot(*image, 0));
  VARVE_EXPECT_OK(image->flush());
  VARVE_EXPECT_OK(image->write(12 * kMiB, pattern(32 * kOverlapCluster, 5)));
  VARVE_EXPECT_OK(image->close());
  EXPECT_NE(get(offsetof(RawHeader, snapshot_table_offset)), snapshots);
  std::vector<std::byte> after(kOverlapCluster);
  disk_.content.read(snapshots, after);
  EXPECT_TRUE(before == after) << "the table was overwritten";
  EXPECT_EQ(get(get(refcounts) + snapshots / kOverlapCluster * 2) >> 48, 1u);
}

// Deleting the snapshot gives its tree back: not what an entry of it shares with a table.
TEST_F(OverlapTest, DeletingASnapshotFreesNoTable) {
  const std::uint64_t old_l1 = get(get(offsetof(RawHeader, snapshot_table_offset)));
  const std::uint64_t entry = (get(old_l1) & kOffset) + kBent * sizeof(std::uint64_t);
  const std::uint64_t l1 = get(offsetof(RawHeader, l1_offset));
  put(entry, l1);
  {
    const auto image = open(true);
    const Result<void> deleted = delete_snapshot(*image, 0);
    EXPECT_FALSE(deleted.has_value() && image->flush().has_value());
    static_cast<void>(image->close());
  }
  EXPECT_EQ(get(offsetof(RawHeader, incompatible_features)) & kIncompatibleCorrupt,
            kIncompatibleCorrupt);
  const std::uint64_t block = get(get(offsetof(RawHeader, refcount_table_offset)));
  std::byte count[2];
  disk_.content.read(block + l1 / kOverlapCluster * 2, Bytes(count));
  EXPECT_NE(load_be<std::uint16_t>(ConstBytes(count), 0), 0u);
}

// The disk and the snapshot have one table, which is counted once.
TEST_F(OverlapTest, DeletingASnapshotFreesNoTableOfTheDiskThatIsCountedTooLow) {
  const std::uint64_t l1 = get(offsetof(RawHeader, l1_offset));
  const std::uint64_t shared = get(l1 + 16) & kOffset;
  const std::uint64_t block = get(get(offsetof(RawHeader, refcount_table_offset)));
  std::byte count[2] = {std::byte{0}, std::byte{1}};
  disk_.content.write(block + shared / kOverlapCluster * 2, ConstBytes(count));
  {
    const auto image = open(true);
    const Result<void> deleted = delete_snapshot(*image, 0);
    EXPECT_FALSE(deleted.has_value() && image->flush().has_value());
    static_cast<void>(image->close());
  }
  EXPECT_EQ(get(offsetof(RawHeader, incompatible_features)) & kIncompatibleCorrupt,
            kIncompatibleCorrupt);
  disk_.content.read(block + shared / kOverlapCluster * 2, Bytes(count));
  EXPECT_NE(load_be<std::uint16_t>(ConstBytes(count), 0), 0u);
}

// Tables come and go; nothing that was a table once is taken for one for ever.
TEST_F(OverlapTest, AnImageWithoutDamageIsWrittenWithAllItsSnapshots) {
  auto image = open(true);
  for (std::uint64_t i = 0; i < 40; ++i) {
    SnapshotCreateOptions snapshot;
    snapshot.name = "s" + std::to_string(i);
    VARVE_EXPECT_OK(create_snapshot(*image, snapshot));
    VARVE_EXPECT_OK(image->write((i % 9) * kOverlapCluster, pattern(kOverlapCluster, 5)));
  }
  VARVE_EXPECT_OK(image->close());
  image = open(true);
  VARVE_EXPECT_OK(image->write(0, pattern(9 * kOverlapCluster, 6)));
  for (std::uint64_t i = 0; i < 40; i += 2) {
    VARVE_EXPECT_OK(delete_snapshot(*image, 1));
    VARVE_EXPECT_OK(image->write((i % 9) * kMiB, pattern(kOverlapCluster, 7)));
  }
  VARVE_EXPECT_OK(image->close());
  image = open(false);
  const auto report = check(*image);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->corruptions + report->leaks, 0u);
}

// A sector of an old snapshot's L1 that nobody can read must not stop the guest.
TEST_F(OverlapTest, AnUnreadableTableOfASnapshotDoesNotKeepGuestsFromWriting) {
  sim::FaultPlan plan;
  OpenOptions options;
  options.writable = true;
  auto image = Image::open(std::make_unique<sim::FaultyStorage>(
                               std::make_unique<sim::SimStorage>(*engine_, disk_), plan),
                           "/", options);
  ASSERT_TRUE(image.has_value());
  sim::FaultRule rule;
  rule.tag = IoTag::l1;
  rule.operation = StorageOperation::read;
  rule.from_then_on = true;
  plan.add(rule);
  VARVE_EXPECT_OK((*image)->write(0, pattern(kOverlapCluster, 5)));
  EXPECT_GT(plan.hits(), 0u);
  VARVE_EXPECT_OK((*image)->close());
}

}  // namespace
}  // namespace varve::test
