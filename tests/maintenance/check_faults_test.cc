// check on images whose tables cannot be read, are asked for again and again, or are more than
// there is room for: what is told, and how often the storage is asked.
#include <gtest/gtest.h>
#include <varve/check.h>
#include <varve/create.h>
#include <varve/snapshot.h>

#include "base/bytes.h"
#include "format/header.h"
#include "format/snapshot_table.h"
#include "io/io_fixture.h"
#include "sim/sim_disk.h"
#include "sim/trace_storage.h"
#include "sim/worn_storage.h"

namespace varve::test {
namespace {

class CheckFaults : public ::testing::Test {
 protected:
  // Clusters of 4 KiB; two L2 tables with data, and as many snapshots as asked for.
  void make(unsigned snapshots) {
    CreateOptions options;
    options.size_bytes = 16u << 20;
    options.cluster_bytes = kCluster;
    {
      sim::SimStorage storage(*engine_, disk_);
      VARVE_ASSERT_OK(create_image_in(storage, nullptr, options));
    }
    OpenOptions open;
    open.writable = true;
    auto image = Image::open(std::make_unique<sim::SimStorage>(*engine_, disk_), "", open);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    for (const std::uint64_t offset : {0u, 3u << 20}) {
      VARVE_ASSERT_OK((*image)->write(offset, pattern(10 * kCluster, 1)));
    }
    for (unsigned i = 0; i < snapshots; ++i) {
      SnapshotCreateOptions create;
      create.name = std::to_string(i);
      VARVE_ASSERT_OK(create_snapshot(**image, create));
    }
    VARVE_ASSERT_OK((*image)->close());
  }

  [[nodiscard]] std::uint64_t get(std::uint64_t offset) const {
    ByteVector bytes(8);
    disk_.content.read(offset, bytes);
    return load_be<std::uint64_t>(bytes, 0);
  }
  void put(std::uint64_t offset, std::uint64_t value) {
    ByteVector bytes(8);
    store_be<std::uint64_t>(bytes, 0, value);
    disk_.content.write(offset, bytes);
  }
  void wear(std::uint64_t offset, std::uint64_t bytes) { bad_.push_back({offset, offset + bytes}); }

  [[nodiscard]] Result<std::unique_ptr<Image>> open() {
    return Image::open(std::make_unique<sim::WornStorage>(
                           std::make_unique<sim::TraceStorage>(
                               std::make_unique<sim::SimStorage>(*engine_, disk_), trace_),
                           bad_),
                       "", {});
  }
  // What the check of the worn disk says; the image was opened while it was whole.
  CheckReport run(std::uint64_t offset, std::uint64_t bytes) {
    auto image = open();
    EXPECT_TRUE(image.has_value());
    wear(offset, bytes);
    const Result<CheckReport> report = check(**image);
    EXPECT_TRUE(report.has_value()) << describe(report.error());
    bad_.clear();
    VARVE_EXPECT_OK((*image)->close());
    return report ? *report : CheckReport();
  }
  // One failure, about this place, and nothing made up because of it.
  static void expect_failure(const CheckReport& report, Corruption reason, IoTag table,
                             std::uint64_t offset) {
    EXPECT_EQ(report.failures, 1u);
    EXPECT_EQ(report.corruptions, 0u);
    ASSERT_FALSE(report.findings.empty());
    const Finding& finding = report.findings[0];
    EXPECT_EQ(finding.severity, Severity::failure);
    EXPECT_STREQ(corruption_name(finding.reason), corruption_name(reason));
    EXPECT_EQ(finding.table, table);
    EXPECT_EQ(finding.offset, offset);
  }

  static constexpr std::uint64_t kCluster = 4096;
  static constexpr std::uint64_t kOffset = 0x00ff'ffff'ffff'fe00;
  std::unique_ptr<Engine> engine_ = make_engine(AioBackend::threads, 256, 0);
  sim::SimDisk disk_;
  sim::Trace trace_;
  std::vector<sim::WornStorage::Range> bad_;
};

TEST_F(CheckFaults, AnUnreadableL2TableIsNamedAndTheOthersAreChecked) {
  make(0);
  const std::uint64_t table = get(get(offsetof(RawHeader, l1_offset))) & kOffset;
  const CheckReport report = run(table + 512, 1);
  expect_failure(report, Corruption::l2_table_unreadable, IoTag::l2, table);
  EXPECT_EQ(report.tables_read, 1u);
  EXPECT_EQ(report.allocated_clusters, 10u);
  EXPECT_EQ(report.leaks, 10u) << "what only that table refers to";
}

TEST_F(CheckFaults, AnUnreadableRefcountBlockIsNamed) {
  make(1);
  const std::uint64_t block = get(get(offsetof(RawHeader, refcount_table_offset)));
  const CheckReport report = run(block, 1);
  expect_failure(report, Corruption::refcount_block_unreadable, IoTag::refcount_block, block);
  EXPECT_EQ(report.leaks, 0u);
  EXPECT_EQ(report.tables_read, 2u);
}

TEST_F(CheckFaults, AnUnreadableL1TableOfASnapshotIsNamed) {
  make(2);
  const std::uint64_t l1 = get(get(offsetof(RawHeader, snapshot_table_offset)));
  const CheckReport report = run(l1, 1);
  EXPECT_EQ(report.failures, 1u);
  ASSERT_FALSE(report.findings.empty());
  EXPECT_EQ(report.findings[0].severity, Severity::failure);
  EXPECT_EQ(report.findings[0].reason, Corruption::l1_table_unreadable);
  EXPECT_EQ(report.findings[0].table, IoTag::l1);
  EXPECT_EQ(report.findings[0].offset, l1);
}

// What is read when the image is opened: the error says which table, and where.
TEST_F(CheckFaults, OpeningNamesTheTableThatCannotBeRead) {
  make(1);
  const struct {
    IoTag tag;
    std::uint64_t offset;
  } tables[] = {
      {IoTag::header, 0},
      {IoTag::l1, get(offsetof(RawHeader, l1_offset))},
      {IoTag::refcount_table, get(offsetof(RawHeader, refcount_table_offset))},
      {IoTag::snapshot_table, get(offsetof(RawHeader, snapshot_table_offset))},
  };
  for (const auto& table : tables) {
    SCOPED_TRACE(io_tag_name(table.tag));
    wear(table.offset, 1);
    const auto image = open();
    bad_.clear();
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code, ErrorCode::io);
    EXPECT_EQ(image.error().os_errno, EIO);
    EXPECT_EQ(image.error().tag, table.tag);
    EXPECT_EQ(image.error().offset, table.offset);
    const std::string words = describe(image.error());
    EXPECT_NE(words.find(io_tag_name(table.tag)), std::string::npos) << words;
  }
}

TEST_F(CheckFaults, SnapshotsThatShareTheirTablesCostOneReadOfEach) {
  for (const unsigned snapshots : {0u, 1u, 10u}) {
    disk_.content = sim::SparseBytes();
    make(snapshots);
    auto image = open();
    ASSERT_TRUE(image.has_value());
    trace_.clear();
    const Result<CheckReport> report = check(**image);
    ASSERT_TRUE(report.has_value());
    EXPECT_TRUE(report->findings.empty());
    EXPECT_EQ(report->tables_read, 2u);
    EXPECT_EQ(trace_.count(StorageOperation::read, IoTag::l2), 2u);
    EXPECT_EQ(trace_.count(StorageOperation::read, IoTag::l1), snapshots);
    EXPECT_EQ(trace_.count(StorageOperation::write), 0u);
    VARVE_EXPECT_OK((*image)->close());
  }
}

// As many snapshots as the format allows, all with the same large L1 table: it is read once.
TEST_F(CheckFaults, SnapshotsWithOverlappingL1TablesCostNoMoreThanTheFile) {
  make(0);
  constexpr std::uint32_t kSnapshots = 65536;
  constexpr std::uint32_t kEntries = (32u << 20) / 8;
  const std::uint64_t l1 = round_up(disk_.content.size(), kCluster);
  SnapshotTable table;
  for (std::uint32_t i = 0; i < kSnapshots; ++i) {
    SnapshotEntry& entry = table.entries.emplace_back();
    // The same place, and places one cluster apart.
    entry.l1_offset = HostOffset(l1 + (i % 2) * kCluster);
    entry.l1_entries = kEntries;
    entry.id = std::to_string(i + 1);
    entry.disk_size = 16u << 20;
  }
  const std::uint64_t place = l1 + std::uint64_t{kEntries} * 8 + kCluster;
  ByteVector bytes(table.serialised_bytes());
  VARVE_ASSERT_OK(table.serialise(bytes));
  disk_.content.resize(place + round_up(bytes.size(), kCluster));
  disk_.content.write(place, bytes);
  put(offsetof(RawHeader, snapshot_table_offset), place);
  ByteVector count(4);
  store_be<std::uint32_t>(count, 0, kSnapshots);
  disk_.content.write(offsetof(RawHeader, snapshot_count), count);
  auto image = open();
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  trace_.clear();
  CheckOptions options;
  options.findings_max = 10;
  const Result<CheckReport> report = check(**image, options);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  std::uint64_t read_bytes = 0;
  for (const sim::TraceEntry& entry : trace_.entries()) {
    read_bytes += entry.operation == StorageOperation::read ? entry.length : 0;
  }
  EXPECT_LE(read_bytes, 2 * disk_.content.size());
  EXPECT_GE(report->corruptions, kSnapshots - 1);
  EXPECT_EQ(report->findings[0].reason, Corruption::cluster_overlaps_metadata);
  EXPECT_EQ(report->findings[0].table, IoTag::snapshot_table);
  VARVE_EXPECT_OK((*image)->close());
}

}  // namespace
}  // namespace varve::test
