#include <atomic>

#include "maintenance/check_fixture.h"
#include "sim/random.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kFarAway = std::uint64_t{1} << 40;

Finding low(std::uint64_t where, std::uint64_t host, std::uint64_t stored, std::uint64_t meant) {
  return {Severity::corruption,
          Corruption::refcount_too_low,
          IoTag::refcount_block,
          where,
          host,
          stored,
          meant};
}
Finding leak(std::uint64_t where, std::uint64_t host, std::uint64_t stored, std::uint64_t meant) {
  return {Severity::leak, Corruption::refcount_too_high, IoTag::refcount_block, where, host, stored,
          meant};
}
Finding flag(IoTag table, std::uint64_t where, std::uint64_t host, std::uint64_t found) {
  return {Severity::mismatch,
          Corruption::copied_flag_wrong,
          table,
          where,
          host,
          found,
          found ^ (std::uint64_t{1} << 63)};
}
Finding broken(Corruption reason, IoTag table, std::uint64_t where, std::uint64_t host,
               std::uint64_t found, std::uint64_t expected) {
  return {Severity::corruption, reason, table, where, host, found, expected};
}

// --- clean images

TEST_F(CheckTest, EveryGeometryIsCleanAndCountsAsQemu) {
  std::uint64_t place = 0;
  for (const std::uint32_t cluster_bytes : {512u, 4096u, 65536u, 2097152u}) {
    for (const std::uint32_t refcount_bits : {1u, 2u, 4u, 8u, 16u, 32u, 64u}) {
      for (const bool extended : {false, true}) {
        if ((extended && cluster_bytes < 16384) || !sim::is_in_share(place++)) {
          continue;
        }
        SCOPED_TRACE(std::to_string(cluster_bytes) + " " + std::to_string(refcount_bits));
        CreateOptions options = small(cluster_bytes);
        options.refcount_bits = refcount_bits;
        options.extended_l2 = extended;
        options.size_bytes = 32 * kMiB;
        make(options);
        const CheckReport report = run();
        expect_clean(report);
        expect_as_qemu(report);
        EXPECT_EQ(report.allocated_clusters, 7u);
      }
    }
  }
}

TEST_F(CheckTest, Version2IsClean) {
  CreateOptions options = small();
  options.version = 2;
  make(options);
  const CheckReport report = run();
  expect_clean(report);
  expect_as_qemu(report);
}

TEST_F(CheckTest, SharedTablesAreReadOnce) {
  make(small());
  add_snapshot("first");
  add_snapshot("second");
  {
    const auto image = open(true);
    write(*image, 2, 2);
    ASSERT_TRUE(image->close().has_value());
  }
  const CheckReport report = run();
  expect_clean(report);
  expect_as_qemu(report);
  EXPECT_EQ(report.tables_read, 2u);
}

TEST_F(CheckTest, AWritableImageIsWrittenBackFirst) {
  make(small());
  const auto image = open(true);
  write(*image, 100, 20);
  ASSERT_TRUE(image->discard(0, 4 * cluster_).has_value());
  const Result<CheckReport> report = check(*image);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  expect_clean(*report);
  EXPECT_EQ(report->allocated_clusters, 23u);
  write(*image, 3, 1);  // The gate is open again.
  const Result<CheckReport> again = check(*image);
  ASSERT_TRUE(again.has_value());
  expect_clean(*again);
  ASSERT_TRUE(image->close().has_value());
}

TEST_F(CheckTest, RawImagesAreNotSupported) {
  CreateOptions options;
  options.format = Format::raw;
  options.size_bytes = kMiB;
  ASSERT_TRUE(create_image(*engine_, path_, options).has_value());
  OpenOptions how;
  how.format = Format::raw;
  const auto image = Image::open(*engine_, path_, how);
  ASSERT_TRUE(image.has_value());
  const Result<CheckReport> report = check(**image);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, ErrorCode::unsupported);
  ASSERT_TRUE((*image)->close().has_value());
}

TEST_F(CheckTest, CancelledBetweenTables) {
  make(small());
  const std::atomic<bool> cancel = true;
  CheckOptions options;
  options.cancel = &cancel;
  const auto image = open(true);
  const Result<CheckReport> report = check(*image, options);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, ErrorCode::cancelled);
  write(*image, 3, 1);
  ASSERT_TRUE(image->close().has_value());
}

TEST_F(CheckTest, ProgressEndsAtTheTotal) {
  make(small());
  CheckOptions options;
  std::uint64_t last_done = 0;
  std::uint64_t last_total = 1;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GE(done, last_done);
    last_done = done;
    last_total = total;
  };
  (void)run(options);
  EXPECT_EQ(last_done, last_total);
}

// --- images of QEMU's

class CheckQemuImages : public CheckTest {
 protected:
  void made_by(const std::string& command) {
    ASSERT_TRUE(folder_.run("rm -f disk.qcow2 data; " + command)) << command;
    const CheckReport report = run();
    expect_clean(report);
    expect_as_qemu(report);
  }
};

TEST_F(CheckQemuImages, AreCleanWithTheSameNumbers) {
  VARVE_NEED_QEMU_IMG();
  made_by(
      "qemu-img create -f qcow2 -o extended_l2=on disk.qcow2 64M && qemu-io -c 'write 0 100k' "
      "-c 'write 1M 4k' -c 'write -z 2M 64k' -c 'write 3M 300k' -c 'discard 3M 64k' disk.qcow2 && "
      "qemu-img snapshot -c x disk.qcow2 && qemu-io -c 'write 50k 100k' disk.qcow2");
  made_by(
      "qemu-img create -f qcow2 -o preallocation=metadata disk.qcow2 1G && qemu-io -c 'write -z 4k "
      "10M' -c 'write -z -u 100M 10M' disk.qcow2");
  made_by(
      "seq 1 900000 >raw && qemu-img convert -O qcow2 -c raw disk.qcow2 && qemu-img snapshot -c s "
      "disk.qcow2 && qemu-io -c 'write 1M 100k' disk.qcow2");
  made_by(
      "seq 1 900000 >raw && qemu-img convert -O qcow2 -o cluster_size=4k,compression_type=zstd -c "
      "raw disk.qcow2");
  made_by(
      "qemu-img create -f qcow2 -o compat=0.10,cluster_size=512 disk.qcow2 4M && qemu-io -c 'write "
      "100k 1M' disk.qcow2 && qemu-img snapshot -c x disk.qcow2 && qemu-img snapshot -c y "
      "disk.qcow2 && qemu-io -c 'write 300k 1M' disk.qcow2 && qemu-img snapshot -d x disk.qcow2");
  made_by(
      "qemu-img create -f qcow2 disk.qcow2 64M && qemu-img bitmap --add disk.qcow2 one && qemu-img "
      "bitmap --add -g 4k disk.qcow2 two && qemu-io -c 'write 100k 1M' disk.qcow2");
  made_by(
      "qemu-img create -f qcow2 -o data_file=data disk.qcow2 10M && qemu-io -c 'write 0 1M' -c "
      "'write 5M 64k' -c 'write -z 0 64k' -c 'discard 64k 64k' disk.qcow2");
  made_by(
      "qemu-img create -f qcow2 -o data_file=data,data_file_raw=on disk.qcow2 10M && qemu-io -c "
      "'write 0 1M' -c 'write -z 0 64k' -c 'write -z -u 64k 64k' disk.qcow2");
  made_by(
      "qemu-img create -f qcow2 -o cluster_size=512 disk.qcow2 256k && qemu-io -c 'write 32768 "
      "512' "
      "-c 'write 0 512' -c 'write 1024 512' -c 'write 512 512' -c 'write 33280 1k' disk.qcow2");
}

// --- counts

TEST_F(CheckTest, ALeak) {
  make(small());
  // Somewhere behind everything, inside the file.
  const std::uint64_t end = run().image_end_offset;
  std::filesystem::resize_file(path_, end + 4 * cluster_);
  put(count_of(end + 2 * cluster_), 3, 2);
  const CheckReport report = run();
  expect_findings(report, {leak(count_of(end + 2 * cluster_), end + 2 * cluster_, 3, 0)});
  EXPECT_EQ(report.leaks, 1u);
  expect_as_qemu(report);
}

TEST_F(CheckTest, CountsBeyondTheFileAreNobodys) {
  make(small());
  put(count_of(run().image_end_offset + 8 * cluster_), 1, 2);
  const CheckReport report = run();
  expect_clean(report);
  expect_as_qemu(report);
}

TEST_F(CheckTest, ACountOfZeroInUse) {
  make(small());
  const std::uint64_t at = count_of(host(3));
  put(at, 0, 2);
  const CheckReport report = run();
  expect_findings(report, {flag(IoTag::l2, l2(3), host(3), get(l2(3))), low(at, host(3), 0, 1)});
  EXPECT_EQ(report.corruptions, 2u);
  expect_as_qemu(report);
}

TEST_F(CheckTest, ACountOfTwoWithOneReference) {
  make(small());
  const std::uint64_t at = count_of(host(3));
  put(at, 2, 2);
  const CheckReport report = run();
  expect_findings(report, {flag(IoTag::l2, l2(3), host(3), get(l2(3))), leak(at, host(3), 2, 1)});
  expect_as_qemu(report);
}

TEST_F(CheckTest, TheHeadersOwnCount) {
  make(small());
  put(count_of(0), 0, 2);
  const CheckReport report = run();
  expect_findings(report, {low(count_of(0), 0, 0, 1)});
  expect_as_qemu(report);
}

TEST_F(CheckTest, AMissingRefcountBlock) {
  CreateOptions options = small(512);
  options.refcount_bits = 64;  // 64 counts per block.
  make(options);
  put(refcount_table(), 0);
  const CheckReport report = run();
  ASSERT_FALSE(report.findings.empty());
  bool is_found = false;
  for (const Finding& finding : report.findings) {
    is_found = is_found ||
               (finding.reason == Corruption::refcount_missing_block && finding.host_offset == 0 &&
                finding.offset == refcount_table() && finding.found == 0 && finding.expected == 1);
  }
  EXPECT_TRUE(is_found) << text(report);
  expect_as_qemu(report);
}

TEST_F(CheckTest, RefcountTableEntries) {
  make(small());
  const std::uint64_t where = refcount_table() + 8;
  put(where, 0x1200);
  expect_findings(run(), {broken(Corruption::refcount_block_unaligned, IoTag::refcount_table, where,
                                 0x1000, 0x1200, cluster_)});
  put(where, 0x2001);
  expect_findings(run(), {broken(Corruption::refcount_table_entry_reserved_bits,
                                 IoTag::refcount_table, where, 0x2000, 0x2001, 0x2000)});
  put(where, kFarAway);
  const std::uint64_t size = std::filesystem::file_size(path_);
  expect_findings(run(), {broken(Corruption::table_beyond_end_of_file, IoTag::refcount_block, where,
                                 kFarAway, kFarAway, size)});
  const std::uint64_t block = get(refcount_table());
  put(where, block);
  expect_findings(
      run(), {broken(Corruption::refcount_block_shared, IoTag::refcount_block, where, block, 2, 1),
              low(count_of(block), block, 1, 2)});
  put(where, refcount_table());
  expect_findings(run(), {broken(Corruption::cluster_overlaps_metadata, IoTag::refcount_block,
                                 where, refcount_table(), 2, 1),
                          low(count_of(refcount_table()), refcount_table(), 1, 2)});
}

TEST_F(CheckTest, AnUnreadableBlockHidesOnlyItsOwnCounts) {
  CreateOptions options = small(512);
  options.refcount_bits = 64;
  make(options);
  put(refcount_table(), get(refcount_table()) | 1);
  const CheckReport report = run();
  ASSERT_FALSE(report.findings.empty());
  EXPECT_EQ(report.findings[0].reason, Corruption::refcount_table_entry_reserved_bits);
  // The block's own cluster has lost its reference where another block counts it.
  EXPECT_LE(report.findings.size(), 2u) << text(report);
}

// --- flags

TEST_F(CheckTest, CopiedFlags) {
  make(small());
  put(l2(2), get(l2(2)) ^ kCopied);
  put(l1(), get(l1()) ^ kCopied);
  const CheckReport report = run();
  expect_findings(report, {flag(IoTag::l1, l1(), get(l1()) & kOffset, get(l1())),
                           flag(IoTag::l2, l2(2), host(2), get(l2(2)))});
  EXPECT_EQ(report.corruptions, 2u);
  expect_as_qemu(report);
}

TEST_F(CheckTest, StaleFlagsOfSnapshotsAreLegal) {
  make(small());
  add_snapshot("s");
  {
    const auto image = open(true);
    write(*image, 0, 1);
    ASSERT_TRUE(image->close().has_value());
  }
  // The first entry of the snapshot table is the place of its L1.
  const std::uint64_t snapshot_l1 = get(get(offsetof(RawHeader, snapshot_table_offset)));
  const std::uint64_t table = get(snapshot_l1) & kOffset;
  put(table, get(table) ^ kCopied);
  put(snapshot_l1, get(snapshot_l1) ^ kCopied);
  const CheckReport report = run();
  expect_clean(report);
  expect_as_qemu(report);
}

TEST_F(CheckTest, CopiedWithoutACluster) {
  make(small());
  put(l2(100), kCopied);
  expect_findings(run(),
                  {broken(Corruption::copied_without_cluster, IoTag::l2, l2(100), 0, kCopied, 0)});
  put(l2(100), 0);
  put(l1(1), kCopied);
  expect_findings(run(),
                  {broken(Corruption::copied_without_cluster, IoTag::l1, l1(1), 0, kCopied, 0)});
}

// --- entries

// History: 9631c7822e.
TEST_F(CheckTest, ReservedBits) {
  make(small());
  const std::uint64_t entry = get(l2(1));
  const std::uint64_t table = get(l1());
  for (const std::uint64_t bit : {1u, 8u, 56u, 61u}) {
    SCOPED_TRACE(bit);
    const std::uint64_t damaged = entry | std::uint64_t{1} << bit;
    put(l2(1), damaged);
    CheckReport report = run();
    expect_findings(report, {broken(Corruption::l2_entry_reserved_bits, IoTag::l2, l2(1),
                                    entry & kOffset, damaged, 0)});
    expect_as_qemu(report);
  }
  put(l2(1), entry);
  for (const std::uint64_t bit : {0u, 8u, 56u, 62u}) {
    SCOPED_TRACE(bit);
    const std::uint64_t damaged = table | std::uint64_t{1} << bit;
    put(l1(), damaged);
    CheckReport report = run();
    expect_findings(report, {broken(Corruption::l1_entry_reserved_bits, IoTag::l1, l1(),
                                    table & kOffset, damaged, 0)});
    expect_as_qemu(report);
  }
}

TEST_F(CheckTest, AZeroFlagInVersion2) {
  CreateOptions options = small();
  options.version = 2;
  make(options);
  put(l2(1), get(l2(1)) | 1);
  expect_findings(run(),
                  {broken(Corruption::zero_flag_in_v2, IoTag::l2, l2(1), host(1), get(l2(1)), 0)});
}

TEST_F(CheckTest, AClusterUsedTwice) {
  make(small());
  const std::uint64_t lost = host(1);
  put(l2(1), get(l2(0)));
  const CheckReport report = run();
  expect_findings(report,
                  {low(count_of(host(0)), host(0), 1, 2), leak(count_of(lost), lost, 1, 0)});
  expect_as_qemu(report);
}

TEST_F(CheckTest, DataOverTables) {
  make(small());
  const std::uint64_t table = get(l1()) & kOffset;
  for (const std::uint64_t victim : {std::uint64_t{0} + cluster_, table, l1()}) {
    SCOPED_TRACE(victim);
    put(l2(9), victim | kCopied);
    const CheckReport report = run();
    expect_findings(
        report, {broken(Corruption::cluster_overlaps_metadata, IoTag::l2, l2(9), victim, victim, 0),
                 low(count_of(victim), victim, 1, 2)});
  }
}

TEST_F(CheckTest, AnL2TableOverOtherTables) {
  make(small());
  const std::uint64_t victim = refcount_table();
  put(l1(1), victim | kCopied);
  const CheckReport report = run();
  ASSERT_FALSE(report.findings.empty());
  const Finding& first = report.findings[0];
  EXPECT_EQ(first.reason, Corruption::cluster_overlaps_metadata);
  EXPECT_EQ(first.offset, l1(1));
  EXPECT_EQ(first.host_offset, victim);
}

TEST_F(CheckTest, AnL2TableUsedTwice) {
  make(small());
  put(l1(1), get(l1()));
  const CheckReport report = run();
  ASSERT_FALSE(report.findings.empty());
  EXPECT_EQ(report.findings[0].reason, Corruption::l2_table_shared_in_active);
  EXPECT_EQ(report.findings[0].found, 2u);
  // The table's count and those of its seven clusters.
  EXPECT_EQ(report.corruptions, 9u) << text(report);
  EXPECT_EQ(report.tables_read, 1u);
}

TEST_F(CheckTest, OffsetsBeyondTheEnd) {
  make(small());
  const std::uint64_t size = std::filesystem::file_size(path_);
  put(l2(20), kFarAway | kCopied);
  expect_findings(run(), {broken(Corruption::cluster_beyond_end_of_file, IoTag::l2, l2(20),
                                 kFarAway, kFarAway, size)});
  put(l2(20), 0);
  put(l1(1), kFarAway | kCopied);
  expect_findings(run(), {broken(Corruption::table_beyond_end_of_file, IoTag::l1, l1(1), kFarAway,
                                 kFarAway, size)});
}

TEST_F(CheckTest, ATruncatedFile) {
  make(small());
  const std::uint64_t last = host(8);
  std::filesystem::resize_file(path_, last);
  const CheckReport report = run();
  expect_findings(
      report, {broken(Corruption::cluster_beyond_end_of_file, IoTag::l2, l2(8), last, last, last)});
  expect_as_qemu(report);
  // Half of the last cluster is enough.
  std::filesystem::resize_file(path_, last + 512);
  const CheckReport half = run();
  expect_clean(half);
  expect_as_qemu(half);
}

TEST_F(CheckTest, UnalignedOffsets) {
  make(small());
  const std::uint64_t at = host(8);
  put(l2(8), get(l2(8)) + 512);
  const CheckReport data = run();
  ASSERT_FALSE(data.findings.empty());
  EXPECT_EQ(data.findings[0].reason, Corruption::cluster_offset_unaligned);
  EXPECT_EQ(data.findings[0].offset, l2(8));
  EXPECT_EQ(data.findings[0].host_offset, at);
  put(l2(8), at | kCopied);
  put(l1(1), 512 | kCopied);
  expect_findings(run(),
                  {broken(Corruption::l2_table_unaligned, IoTag::l1, l1(1), 0, 512, cluster_)});
}

// History: c883db0df9.
TEST_F(CheckTest, CompressedDescriptors) {
  make(small());
  constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
  // Inside the cluster of entry 8, which is data.
  put(l2(30), kCompressed | (host(8) + 100));
  const CheckReport shared = run();
  expect_findings(shared,
                  {broken(Corruption::duplicate_reference, IoTag::l2, l2(30), host(8), host(8), 0),
                   low(count_of(host(8)), host(8), 1, 2)});
  EXPECT_EQ(shared.compressed_clusters, 1u);
  put(l2(30), kCompressed | kFarAway);
  const std::uint64_t size = std::filesystem::file_size(path_);
  const CheckReport beyond = run();
  expect_findings(beyond, {broken(Corruption::compressed_beyond_end_of_file, IoTag::l2, l2(30),
                                  kFarAway, kFarAway, size)});
  expect_as_qemu(beyond);
  put(l2(30), kCompressed | kCopied | kFarAway);
  const CheckReport copied = run();
  ASSERT_EQ(copied.findings.size(), 2u) << text(copied);
  EXPECT_EQ(copied.findings[0].reason, Corruption::compressed_entry_copied);
  expect_as_qemu(copied);
}

TEST_F(CheckTest, SubclusterBitmaps) {
  CreateOptions options = small(65536);
  options.extended_l2 = true;
  make(options);
  const std::uint64_t bitmap = l2(2, 16) + 8;
  const std::uint64_t good = get(bitmap);
  put(bitmap, good | good << 32);
  CheckReport report = run();
  ASSERT_EQ(report.findings.size(), 1u) << text(report);
  EXPECT_EQ(report.findings[0].reason, Corruption::subcluster_bits_conflict);
  EXPECT_EQ(report.findings[0].offset, l2(2, 16));
  put(bitmap, good);
  put(l2(40, 16) + 8, 1);
  report = run();
  ASSERT_EQ(report.findings.size(), 1u) << text(report);
  EXPECT_EQ(report.findings[0].reason, Corruption::subcluster_without_cluster);
  expect_as_qemu(report);
}

TEST_F(CheckTest, ARawDataFileKeepsGuestOffsets) {
  CreateOptions options = small();
  options.data_file_name = "data";
  options.data_file_raw = true;
  make(options);
  expect_clean(run());
  const std::uint64_t entry = get(l2(3));
  put(l2(3), entry + cluster_);
  expect_findings(run(), {broken(Corruption::data_file_offset_mismatch, IoTag::l2, l2(3),
                                 4 * cluster_, 4 * cluster_, 3 * cluster_)});
  put(l2(3), entry & ~kCopied);
  const CheckReport report = run();
  expect_findings(report, {flag(IoTag::l2, l2(3), 3 * cluster_, entry & ~kCopied)});
  expect_as_qemu(report);
}

// --- snapshots

// History: a8475d7573.
TEST_F(CheckTest, ASnapshotsL1BeyondTheEnd) {
  make(small());
  add_snapshot("s");
  const std::uint64_t where = get(offsetof(RawHeader, snapshot_table_offset));
  put(where, kFarAway);
  const CheckReport report = run();
  ASSERT_FALSE(report.findings.empty());
  EXPECT_EQ(report.findings[0].reason, Corruption::table_beyond_end_of_file);
  EXPECT_EQ(report.findings[0].host_offset, kFarAway);
}

TEST_F(CheckTest, ASnapshotWithoutItsExtraData) {
  make(small());
  add_snapshot("s");
  const std::uint64_t table = get(offsetof(RawHeader, snapshot_table_offset));
  // The entry's extra data becomes a part of its name.
  const std::uint64_t extra = get(table + 36, 4);
  put(table + 36, 0, 4);
  put(table + 14, get(table + 14, 2) + extra, 2);
  const CheckReport report = run();
  expect_findings(report, {broken(Corruption::snapshot_extra_missing, IoTag::snapshot_table, table,
                                  get(table), 0, 16)});
  expect_as_qemu(report);
}

// --- bounds

TEST_F(CheckTest, LittleMemoryMeansMorePassesAndTheSameAnswer) {
  CreateOptions options = small(512);
  options.size_bytes = 64 * kMiB;
  make(options);
  {
    const auto image = open(true);
    write(*image, 1000, 30000);
    ASSERT_TRUE(image->close().has_value());
  }
  add_snapshot("s");
  {
    const auto image = open(true);
    write(*image, 5000, 3000);
    ASSERT_TRUE(image->close().has_value());
  }
  put(l2(2), get(l2(2)) ^ kCopied);
  put(l2(3), get(l2(4)));
  const CheckReport one = run();
  expect_as_qemu(one);
  CheckOptions tight;
  tight.memory_bytes = 1;
  std::uint64_t total = 0;
  tight.progress = [&](std::uint64_t, std::uint64_t all) { total = all; };
  const CheckReport many = run(tight);
  EXPECT_GE(total, 5 * many.tables_read);
  EXPECT_EQ(one.tables_read, many.tables_read);
  EXPECT_EQ(one.findings.size(), many.findings.size());
  EXPECT_EQ(one.corruptions, many.corruptions);
  EXPECT_EQ(one.leaks, many.leaks);
  EXPECT_EQ(one.allocated_clusters, many.allocated_clusters);
  EXPECT_EQ(one.fragmented_clusters, many.fragmented_clusters);
  EXPECT_EQ(one.image_end_offset, many.image_end_offset);
}

// A sparse file may be as long as it likes: only where something is referred to or counted is
// there work.
TEST_F(CheckTest, AFileFarLongerThanItsContentCostsNoMorePasses) {
  make(small(512));
  {
    const auto image = open(true);
    write(*image, 0, 3);
    ASSERT_TRUE(image->close().has_value());
  }
  std::filesystem::resize_file(path_, std::uint64_t{1} << 40);
  const std::uint64_t far = (std::uint64_t{1} << 40) - 4096;
  put(l2(1), far | kCopied);
  CheckOptions options;
  options.memory_bytes = 1;
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  options.progress = [&](std::uint64_t now, std::uint64_t all) {
    done = now;
    total = all;
  };
  const CheckReport report = run(options);
  EXPECT_EQ(done, total);
  EXPECT_LE(done, 3 * report.tables_read);
  bool is_told = false;
  for (const Finding& finding : report.findings) {
    is_told = is_told ||
              (finding.reason == Corruption::refcount_missing_block && finding.host_offset == far);
  }
  EXPECT_TRUE(is_told) << text(report);
  EXPECT_EQ(report.leaks, 1u) << text(report);
  EXPECT_EQ(report.image_end_offset, far + 512);
}

TEST_F(CheckTest, FindingsBeyondTheLimitAreCounted) {
  make(small());
  for (std::uint64_t i = 0; i < 6; ++i) {
    put(l2(i), get(l2(i)) ^ kCopied);
  }
  CheckOptions options;
  options.findings_max = 2;
  const CheckReport report = run(options);
  EXPECT_EQ(report.findings.size(), 2u);
  EXPECT_EQ(report.corruptions, 6u);
}

// A cluster with more references than a small cell counts.
TEST_F(CheckTest, ThousandsOfReferencesToOneCluster) {
  CreateOptions options = small(65536);
  options.size_bytes = kGiB;
  options.refcount_bits = 16;
  make(options);
  const std::uint64_t shared = host(8);
  for (std::uint64_t i = 100; i < 5100; ++i) {
    put(l2(i), shared);
  }
  put(l2(8), shared);
  put(count_of(shared), 5001, 2);
  const CheckReport report = run();
  expect_clean(report);
  put(count_of(shared), 5000, 2);
  expect_findings(run(), {low(count_of(shared), shared, 5000, 5001)});
}

// Whatever a byte of the tables says: an answer, never a crash.
TEST_F(CheckTest, RandomDamageIsSurvived) {
  const char* text = std::getenv("VARVE_SEED");
  std::uint64_t seed = text == nullptr ? 7 : std::strtoull(text, nullptr, 0);
  std::printf("VARVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  const auto random = [&seed] {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
  };
  make(small(512));
  add_snapshot("s");
  const std::uint64_t size = std::filesystem::file_size(path_);
  for (int i = 0; i < 150; ++i) {
    const std::uint64_t at = random() % size;
    const std::vector<std::byte> before = read_bytes(path_, at, 1);
    patch_bytes(path_, at, {static_cast<std::byte>(random() & 0xff)});
    OpenOptions options;
    options.open_backing = false;
    auto image = Image::open(*engine_, path_, options);
    if (image) {
      CheckOptions tight;
      tight.memory_bytes = 4096;
      EXPECT_TRUE(check(**image, tight).has_value());
      EXPECT_TRUE((*image)->close().has_value());
    }
    patch_bytes(path_, at, before);
  }
}

}  // namespace
}  // namespace varve::test
