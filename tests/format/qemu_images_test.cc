// Images made by QEMU: parsed, written again, and compared byte for byte.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "format/bitmap_directory.h"
#include "format/header.h"
#include "format/header_builder.h"
#include "format/l1_entry.h"
#include "format/l2_entry.h"
#include "format/qemu_img.h"
#include "format/refcount.h"
#include "format/snapshot_table.h"

namespace varve {
namespace {

using test::Memory;
using test::read_bytes;
using test::TemporaryFolder;

Memory header_cluster(const std::string& path) {
  const Result<std::uint64_t> needed = Header::bytes_needed(read_bytes(path, 0, 104));
  EXPECT_TRUE(needed);
  return read_bytes(path, 0, needed ? *needed : 512);
}

Header header_of(const std::string& path) {
  Result<Header> header = Header::parse(header_cluster(path));
  EXPECT_TRUE(header) << describe(header.error());
  return header ? *header : Header();
}

// Every number of the image that the L1 table, its L2 tables and the refcounts hold obeys the
// rules.
void expect_valid_tables(const std::string& path, const Header& header) {
  const Geometry& geometry = header.geometry;
  const Memory l1 = read_bytes(path, header.l1_offset.value(), header.l1_entries * 8);
  for (std::uint32_t i = 0; i < header.l1_entries; ++i) {
    const HostOffset where = header.l1_offset + i * 8;
    const L1Entry table(load_be<std::uint64_t>(l1, i * 8));
    ASSERT_TRUE(table.validate(geometry, where));
    if (!table.is_allocated()) {
      continue;
    }
    const Memory l2 = read_bytes(path, table.offset().value(), geometry.cluster_bytes());
    for (std::uint64_t j = 0; j < geometry.l2_entries(); ++j) {
      const L2Entry entry = L2Entry::load(geometry, l2, j);
      const Result<void> outcome =
          entry.validate(geometry, header.version, header.has_data_file(), table.offset());
      ASSERT_TRUE(outcome) << describe(outcome.error());
    }
  }
  const Memory table = read_bytes(path, header.refcount_table_offset.value(), 8);
  const Memory block = read_bytes(path, load_be<std::uint64_t>(table, 0), geometry.cluster_bytes());
  EXPECT_EQ(load_refcount(geometry, block, 0), 1u) << "the header's own cluster";
}

TEST(QemuImages, HeadersAreWrittenAsQemuWritesThem) {
  VARVE_NEED_QEMU_IMG();
  const TemporaryFolder folder;
  ASSERT_TRUE(folder.run("qemu-img create -f qcow2 base.qcow2 64M"));
  const std::vector<std::string> options = {
      "-o compat=0.10",
      "-o compat=1.1",
      "-o cluster_size=512",
      "-o cluster_size=2M",
      "-o cluster_size=16k,extended_l2=on",
      "-o refcount_bits=1",
      "-o refcount_bits=64,lazy_refcounts=on",
      "-o compression_type=zstd",
      "-o preallocation=metadata",
      "-o preallocation=metadata,extended_l2=on",
      "-o data_file=one.raw",
      "-o data_file=two.raw,data_file_raw=on,preallocation=metadata",
      "-o data_file=three.raw,compression_type=zstd",
      "-b base.qcow2 -F qcow2",
      "-b base.qcow2 -F qcow2 -o compat=0.10",
      "-b base.qcow2 -F qcow2 -o data_file=four.raw,extended_l2=on",
      "-b base.qcow2 -F qcow2 -o cluster_size=512,compat=0.10",
  };
  for (const std::string& option : options) {
    for (const std::string size : {"0", "1000k", "64M"}) {
      SCOPED_TRACE(option + " " + size);
      ASSERT_TRUE(
          folder.run("rm -f *.raw image; qemu-img create -f qcow2 " + option + " image " + size));
      const std::string path = folder.file("image");
      const Memory cluster = header_cluster(path);
      const Header header = header_of(path);
      EXPECT_EQ(test::serialised(header), cluster);
      EXPECT_EQ(header.backing_name, option[1] == 'b' ? "base.qcow2" : "");
      EXPECT_EQ(header.backing_format().value_or(""), option[1] == 'b' ? "qcow2" : "");
      EXPECT_EQ(header.data_file_name().has_value(), header.has_data_file());
      EXPECT_EQ(header.version < 3, option.find("0.10") != std::string::npos);
      expect_valid_tables(path, header);
      if (!header.feature_names().empty()) {
        EXPECT_EQ(header.feature_names().size(), Header::known_feature_names().data.size() / 48);
      }
    }
  }
}

TEST(QemuImages, FeatureNamesAreTheOnesQemuWrites) {
  VARVE_NEED_QEMU_IMG();
  const TemporaryFolder folder;
  ASSERT_TRUE(folder.run("qemu-img create -f qcow2 image 1M"));
  const Header header = header_of(folder.file("image"));
  ASSERT_EQ(header.extensions.size(), 1u);
  EXPECT_EQ(header.extensions[0].type, kExtensionFeatureNames);
  EXPECT_EQ(header.extensions[0].data, Header::known_feature_names().data);
}

TEST(QemuImages, QemuReadsHeadersThatWereWrittenAgain) {
  VARVE_NEED_QEMU_IMG();
  const TemporaryFolder folder;
  ASSERT_TRUE(folder.run("qemu-img create -f qcow2 base 1M"));
  ASSERT_TRUE(folder.run("qemu-img create -f qcow2 -b base -F qcow2 image"));
  const std::string path = folder.file("image");
  Header header = header_of(path);
  header.extensions.push_back({0x76617276, test::to_memory("unknown to QEMU")});
  header.unknown_header_fields = Memory(16);
  header.header_bytes = 128;
  test::patch_bytes(path, 0, test::serialised(header));
  EXPECT_TRUE(folder.run("qemu-img info image | grep -q 'backing file: base'"));
  EXPECT_TRUE(folder.run("qemu-img check image"));
  EXPECT_TRUE(folder.run("qemu-io -c 'write 0 64k' image"));
  EXPECT_EQ(header_cluster(path), test::serialised(header));
}

TEST(QemuImages, SnapshotTablesAreWrittenAsQemuWritesThem) {
  VARVE_NEED_QEMU_IMG();
  for (const std::string compat : {"0.10", "1.1"}) {
    const TemporaryFolder folder;
    ASSERT_TRUE(folder.run("qemu-img create -f qcow2 -o compat=" + compat + " image 100M"));
    const std::string path = folder.file("image");
    for (const std::string name : {"one", "with eight", "x"}) {
      ASSERT_TRUE(folder.run("qemu-io -c 'write 0 1M' image"));
      ASSERT_TRUE(folder.run("qemu-img snapshot -c '" + name + "' image"));
    }
    const Header header = header_of(path);
    ASSERT_EQ(header.snapshot_count, 3u);
    const Memory bytes = read_bytes(path, header.snapshot_table_offset.value(), 65536);
    std::uint64_t used = 0;
    const Result<SnapshotTable> table =
        SnapshotTable::parse(bytes, 3, header.version, header.geometry,
                             header.snapshot_table_offset, header.virtual_size, &used);
    ASSERT_TRUE(table) << describe(table.error());
    EXPECT_EQ(table->entries[1].name, "with eight");
    EXPECT_EQ(table->entries[1].id, "2");
    EXPECT_EQ(table->entries[1].disk_size, 100 * kMiB);
    EXPECT_EQ(table->entries[1].l1_entries, 1u);
    EXPECT_EQ(table->next_id(), "4");
    EXPECT_EQ(table->serialised_bytes(), used);
    Memory again(bytes.size());
    ASSERT_TRUE(table->serialise(again));
    EXPECT_EQ(Memory(again.begin(), again.begin() + static_cast<std::ptrdiff_t>(used)),
              Memory(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(used)));
    expect_valid_tables(path, header);
  }
}

TEST(QemuImages, BitmapDirectoriesAreRead) {
  VARVE_NEED_QEMU_IMG();
  const TemporaryFolder folder;
  ASSERT_TRUE(folder.run("qemu-img create -f qcow2 image 100M"));
  ASSERT_TRUE(folder.run("qemu-img bitmap --add image first"));
  ASSERT_TRUE(folder.run("qemu-img bitmap --add -g 4096 --disable image second"));
  const std::string path = folder.file("image");
  const Header header = header_of(path);
  const std::optional<BitmapsExtension> extension = header.bitmaps();
  ASSERT_TRUE(extension);
  ASSERT_EQ(extension->count, 2u);
  const auto bitmaps = parse_bitmap_directory(
      read_bytes(path, extension->directory_offset.value(), extension->directory_bytes), *extension,
      header.geometry);
  ASSERT_TRUE(bitmaps) << describe(bitmaps.error());
  const BitmapEntry& first = bitmaps->at(bitmaps->at(0).name == "first" ? 0 : 1);
  const BitmapEntry& second = bitmaps->at(bitmaps->at(0).name == "first" ? 1 : 0);
  EXPECT_EQ(first.flags, BitmapEntry::kAuto);
  EXPECT_EQ(second.name, "second");
  EXPECT_EQ(second.flags, 0u);
  EXPECT_EQ(second.granularity_bits, 12);
  EXPECT_EQ(test::serialised(header), header_cluster(path));
}

}  // namespace
}  // namespace varve
