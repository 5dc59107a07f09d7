// Repair where compressed data or other programs' bitmaps share space with something else.
#include <gtest/gtest.h>
#include <varve/bitmap.h>

#include "format/bitmap_directory.h"
#include "maintenance/repair_fixture.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;

class RepairOverlap : public RepairTest {
 protected:
  std::vector<std::byte> read_cluster(std::uint64_t index) {
    const auto image = open(false);
    std::vector<std::byte> bytes(cluster_);
    EXPECT_TRUE(image->read(index * cluster_, bytes).has_value()) << index;
    EXPECT_TRUE(image->close().has_value());
    return bytes;
  }
  // An image with a compressed cluster, the 20th.
  void make_with_compressed() {
    make_with_snapshot(small());
    const auto image = open(true);
    std::vector<std::byte> bytes(cluster_, std::byte{7});
    bytes[100] = std::byte{8};
    ASSERT_TRUE(image->write_compressed(20 * cluster_, bytes).has_value());
    ASSERT_TRUE(image->close().has_value());
    ASSERT_NE(get(l2(20)) & kCompressed, 0u);
  }
  // The same, and the cluster that holds it is the 6th of the disk as well.
  void make_with_shared_cluster() {
    make_with_compressed();
    const std::uint64_t place = get(l2(20)) & ~kCompressed & (kOffset | 0x1ff);
    put(l2(6), (place / cluster_ * cluster_) | kCopied);
  }
};

// A cluster that is written in place and holds compressed data too: the next write would destroy
// it. Afterwards both are there, and writing the one leaves the other alone.
TEST_F(RepairOverlap, CompressedDataLeavesAClusterThatIsWrittenInPlace) {
  make_with_shared_cluster();
  const auto before = content();
  const auto compressed = read_cluster(20);
  const RepairReport report = run_repair(Repair::all);
  EXPECT_FALSE(report.left.has_value()) << describe(*report.left);
  EXPECT_EQ(report.overlaps_separated, 1u);
  expect_clean(report.after);
  expect_repaired();
  EXPECT_EQ(content(), before);
  EXPECT_NE(get(l2(20)) & kCompressed, 0u);
  const auto image = open(true);
  write(*image, 6, 1);
  EXPECT_TRUE(image->close().has_value());
  EXPECT_EQ(read_cluster(20), compressed);
  expect_repaired();
  const RepairReport again = run_repair(Repair::all);
  EXPECT_EQ(again.overlaps_separated, 0u);
}

// An entry of a table names the table itself as data; what is read there stays, though another
// entry of the same table changes.
TEST_F(RepairOverlap, ATableNamedByItsOwnEntryIsCopiedBeforeItChanges) {
  make_with_compressed();
  put(l2(6), refcount_table());
  put(l2(40), get(l1()) & kOffset);
  const auto before = content();
  const auto table = read_cluster(40);
  const RepairReport report = run_repair(Repair::all);
  EXPECT_FALSE(report.left.has_value()) << describe(*report.left);
  expect_clean(report.after);
  expect_repaired();
  EXPECT_EQ(read_cluster(40), table);
  EXPECT_EQ(content(), before);
}

// What lies over a table was no data: the disk reads an error there as before, and nothing else
// changes. Sectors in two clusters are kept together.
TEST_F(RepairOverlap, CompressedDataOverATableGetsAPlaceOfItsOwn) {
  const auto places = [this]() -> std::vector<std::uint64_t> {
    return {get(offsetof(RawHeader, l1_offset)), get(l1()) & kOffset,
            get(offsetof(RawHeader, snapshot_table_offset))};
  };
  for (std::size_t i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    make_with_compressed();
    const auto before = content();
    const auto compressed = read_cluster(20);
    // Ends in the table's first sector, or stands inside it.
    const bool reaches_in = i % 2 == 0;
    const std::uint64_t start = reaches_in ? places()[i] - 600 : places()[i] + 100;
    const std::uint64_t sectors = reaches_in ? 2 : 0;
    put(l2(40), kCompressed | (sectors << 58) | start);
    const RepairReport report = run_repair(Repair::all);
    EXPECT_FALSE(report.left.has_value()) << describe(*report.left);
    EXPECT_EQ(report.overlaps_separated, 1u);
    expect_clean(report.after);
    expect_repaired();
    EXPECT_EQ(content(), before);
    EXPECT_EQ(read_cluster(20), compressed);
  }
}

TEST_F(RepairOverlap, APowerCutWhileCompressedDataMovesLeavesNothingWorse) {
  make_with_shared_cluster();
  const auto before = content();
  const auto compressed = read_cluster(20);
  OpenOptions options;
  options.writable = true;
  options.allow_corrupt = true;
  expect_every_cut_finished(options, before, [&](Image& image, const RepairReport&) {
    std::vector<std::byte> bytes(cluster_);
    EXPECT_TRUE(image.read(20 * cluster_, bytes).has_value());
    EXPECT_EQ(bytes, compressed);
  });
}

class RepairBitmaps : public RepairOverlap {
 protected:
  // An image of QEMU's with two bitmaps that are not enabled, so that writing leaves them alone.
  void make_with_bitmaps() {
    ASSERT_TRUE(
        folder_.run("rm -f disk.qcow2; qemu-img create -q -f qcow2 -o cluster_size=4k disk.qcow2 "
                    "16M && qemu-img bitmap --add disk.qcow2 one && qemu-img bitmap --add -g 4k "
                    "disk.qcow2 two && qemu-io -c 'write -P 5 0 48k' disk.qcow2 >said && qemu-img "
                    "bitmap --disable disk.qcow2 one && qemu-img bitmap --disable disk.qcow2 two"));
    cluster_ = 4096;
    add_snapshot("old");
    const auto image = open(false);
    ASSERT_EQ(list_bitmaps(*image).value().size(), 2u);
    ASSERT_TRUE(image->close().has_value());
  }
  // The bitmaps extension's fields, of the header.
  [[nodiscard]] std::uint64_t directory() const {
    for (std::uint64_t at = get(100, 4); get(at, 4) != 0; at += 8 + round_up(get(at + 4, 4), 8)) {
      if (get(at, 4) == 0x23852875) {
        return get(at + 8 + offsetof(RawBitmapsExtension, directory_offset));
      }
    }
    ADD_FAILURE() << "no bitmaps";
    return 0;
  }
  // Told before anything is written, the names are `names`; the disk and its snapshot stay.
  void expect_given_up(const std::vector<std::string>& names) {
    const auto before = content();
    const auto bytes = read_bytes(path_, 0, std::filesystem::file_size(path_));
    OpenOptions options;
    options.writable = true;
    options.allow_corrupt = true;
    auto image = Image::open(*engine_, path_, options);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    std::vector<std::string> told;
    CheckOptions check_options;
    check_options.about_to_lose = [&](const Loss& loss) {
      EXPECT_EQ(loss.kind, Loss::Kind::bitmap);
      told.push_back(loss.name);
      EXPECT_EQ(read_bytes(path_, 0, bytes.size()), bytes);
    };
    const auto report = repair(**image, Repair::all, check_options);
    ASSERT_TRUE(report.has_value()) << describe(report.error());
    EXPECT_EQ(told, names);
    EXPECT_EQ(report->lost.size(), names.size());
    expect_clean(report->after);
    EXPECT_TRUE(list_bitmaps(**image).value().empty());
    EXPECT_TRUE((*image)->close().has_value());
    expect_repaired();
    EXPECT_EQ(content(), before);
  }
};

TEST_F(RepairBitmaps, ThatShareSpaceWithAnythingAreGivenUpByName) {
  VARVE_NEED_QEMU_IMG();
  make_with_bitmaps();
  const std::uint64_t table = get(directory());
  const std::uint64_t data = get(table) & kOffset;
  ASSERT_NE(data, 0u);
  // Data of the disk over the bitmap's, its table and the directory; a bitmap over another's table.
  for (const std::uint64_t place : {data, table, directory()}) {
    make_with_bitmaps();
    put(l2(40), place | kCopied);
    expect_given_up({"one", "two"});
  }
  make_with_bitmaps();
  put(get(directory()), get(l1()) & kOffset);
  expect_given_up({"one", "two"});
}

TEST_F(RepairBitmaps, OfWhichATableIsBrokenAreGivenUp) {
  VARVE_NEED_QEMU_IMG();
  make_with_bitmaps();
  put(get(directory()), get(get(directory())) | 2);
  expect_given_up({"one", "two"});
}

TEST_F(RepairBitmaps, WhoseDirectoryIsBrokenAreCountedOnly) {
  VARVE_NEED_QEMU_IMG();
  make_with_bitmaps();
  put(directory() + offsetof(RawBitmapEntry, granularity_bits), 99, 1);
  expect_given_up({""});
}

TEST_F(RepairBitmaps, SoundOnesOutliveARepair) {
  VARVE_NEED_QEMU_IMG();
  make_with_bitmaps();
  put(count_of(host(0)), 9, 2);
  const RepairReport report = run_repair(Repair::all);
  EXPECT_TRUE(report.lost.empty());
  expect_clean(report.after);
  const auto image = open(false);
  EXPECT_EQ(list_bitmaps(*image).value().size(), 2u);
  EXPECT_TRUE(image->close().has_value());
  expect_repaired();
}

}  // namespace
}  // namespace varve::test
