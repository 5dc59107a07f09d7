// Goal: whatever stands behind the end of a disk, and whatever fails while it is made larger, the
// guest finds zeros there and its own bytes before it, at the old size or the new. Method: images
// whose size in the header is made smaller than what they map, as other programs' images with a
// machine state are; then each request of a growth fails in turn.
#include <cstddef>

#include <varve/snapshot.h>

#include "format/snapshot_table.h"
#include "image/simulated_disks.h"

namespace varve::test {
namespace {

class Growth : public SimulatedDisks {
 protected:
  // The disk ends earlier; what it maps, and its L1, stay.
  void cut_disk(std::uint64_t bytes) {
    put<std::uint64_t>(offsetof(RawHeader, virtual_size), bytes);
  }
  // Of 512 bytes: one table maps 32 KiB.
  static CreateOptions tiny_clusters(std::uint64_t disk_bytes) {
    CreateOptions options;
    options.cluster_bytes = 512;
    options.size_bytes = disk_bytes;
    return options;
  }
};

// Clusters that follow each other on the disk and not in the file are remembered one by one; there
// are more of them than are remembered without a flush in between.
TEST_F(Growth, DropsHoweverManyClustersBehindTheEnd) {
  constexpr std::uint64_t kClusters = 4'300;
  make(tiny_clusters(kClusters * 512));
  {
    const auto image = open_image();
    for (std::uint64_t i = kClusters; i-- > 0;) {
      VARVE_ASSERT_OK(image->write(i * 512, filled(512, 7)));
    }
    VARVE_EXPECT_OK(image->close());
  }
  cut_disk(512);
  const auto image = open_image();
  VARVE_EXPECT_OK(image->grow(kClusters * 512));
  expect_bytes(*image, 0, 512, 7);
  expect_bytes(*image, 512, (kClusters - 1) * 512, 0);
  VARVE_EXPECT_OK(image->close());
  expect_sound();
}

// Their tables are copied before they are changed: for that there must be room.
TEST_F(Growth, DropsWhatASnapshotSharesBehindTheEnd) {
  make(tiny_clusters(128 * 1024));
  {
    const auto image = open_image();
    VARVE_EXPECT_OK(image->write(0, filled(128 * 1024, 7)));
    VARVE_ASSERT_OK(create_snapshot(*image, {}));
    VARVE_EXPECT_OK(image->close());
  }
  const sim::SparseBytes made = disks_["/disk"].content.clone();
  for (const bool has_room : {false, true}) {
    SCOPED_TRACE(has_room);
    disks_["/disk"].content = made.clone();
    cut_disk(512);
    disks_["/disk"].capabilities.fixed_size = !has_room;
    const auto image = open_image(options_without_memory());
    const Result<void> grown = image->grow(128 * 1024);
    if (has_room) {
      VARVE_EXPECT_OK(grown);
      expect_bytes(*image, 512, 127 * 1024, 0);
    } else {
      expect_error(grown, ErrorCode::no_space);
      EXPECT_EQ(image->size(), 512u);
    }
    expect_bytes(*image, 0, 512, 7);
    VARVE_EXPECT_OK(image->close());
    const auto again = open_image(options(false));
    const auto snapshot = open_snapshot(*again, 0);
    VARVE_ASSERT_OK(snapshot);
    expect_bytes(**snapshot, 0, 128 * 1024, 7);
    VARVE_EXPECT_OK((*snapshot)->close());
    VARVE_EXPECT_OK(again->close());
    expect_sound();
  }
}

// A cluster of which no part is in use is behind the end as well, and is given back.
TEST_F(Growth, DropsAClusterWithoutAnySubcluster) {
  CreateOptions extended = small();
  extended.cluster_bytes = 16384;
  extended.extended_l2 = true;
  make(extended);
  {
    const auto image = open_image();
    VARVE_EXPECT_OK(image->write(0, filled(4 * 16384, 7)));
    VARVE_EXPECT_OK(image->close());
  }
  put<std::uint64_t>(entry_place(0, 2, 16) + 8, 0);
  cut_disk(16384);
  const auto image = open_image();
  VARVE_EXPECT_OK(image->grow(kDiskBytes));
  expect_bytes(*image, 0, 16384, 7);
  expect_bytes(*image, 16384, kDiskBytes - 16384, 0);
  VARVE_EXPECT_OK(image->close());
  for (std::uint64_t index = 1; index < 4; ++index) {
    EXPECT_EQ(get(entry_place(0, index, 16)), 0u) << index;
  }
  expect_sound();
}

// The L1 moves, tables of the new range are there already and are read more than once, and the new
// clusters are mapped.
TEST_F(Growth, WhereAnyRequestFailsEndsAtTheOldSizeOrTheNew) {
  constexpr std::uint64_t kOld = 40 * 1024;
  constexpr std::uint64_t kNew = 384 * 1024;
  CreateOptions wide = tiny_clusters(8 * 32 * 1024);
  wide.refcount_bits = 64;  // 64 clusters to a block: more tables to read and to make.
  make(wide);
  {
    const auto image = open_image();
    VARVE_EXPECT_OK(image->write(0, filled(kOld, 7)));
    for (std::uint64_t slot = 2; slot < 8; ++slot) {
      VARVE_EXPECT_OK(image->write(slot * 32 * 1024, filled(512, 8)));
    }
    VARVE_EXPECT_OK(image->close());
  }
  cut_disk(kOld);
  const sim::SparseBytes made = disks_["/disk"].content.clone();
  unsigned refused = 0;
  bool is_hit = true;
  for (std::uint64_t index = 0; is_hit; index += index < 60 ? 1 : 7) {
    SCOPED_TRACE(index);
    disks_["/disk"].content = made.clone();
    const auto image = open_image(options_without_memory());
    plan_ = sim::FaultPlan();
    plan_.fail_index(index, EIO);
    const Result<void> grown = image->grow(kNew, Preallocation::metadata);
    plan_.lift();
    is_hit = plan_.hits() != 0;
    EXPECT_EQ(image->size(), grown ? kNew : kOld);
    refused += grown ? 0 : 1;
    if (!grown) {
      expect_error(grown, ErrorCode::io);
    }
    // Once the image is poisoned, tables that are changed stay in the way of others.
    const Result<void> flushed = image->flush();
    if (flushed) {
      expect_bytes(*image, 0, kOld, 7);
      expect_bytes(*image, kOld, image->size() - kOld, 0);
    }
    EXPECT_EQ(image->close().has_value(), flushed.has_value());
    const auto again = open_image();
    ASSERT_NE(again, nullptr);
    // A header that was written and not confirmed may count.
    ASSERT_TRUE(again->size() == kOld || again->size() == kNew);
    expect_bytes(*again, 0, kOld, 7);
    VARVE_EXPECT_OK(again->grow(kNew));
    expect_bytes(*again, kOld, kNew - kOld, 0);
    VARVE_EXPECT_OK(again->close());
    expect_sound(true);
  }
  EXPECT_GT(refused, 30u);
}

// A full device: the last clusters would have done for the data, and not for a table as well.
TEST_F(Growth, WithoutRoomForATableGivesBackWhatItWouldHaveMapped) {
  for (const bool in_data_file : {false, true}) {
    SCOPED_TRACE(in_data_file);
    CreateOptions options = small();
    options.data_file_name = in_data_file ? "data" : "";
    disks_["/disk"].capabilities.fixed_size = false;
    make(options);
    disks_["/disk"].capabilities.fixed_size = true;
    const std::uint64_t used = disks_["/disk"].content.size();
    unsigned refused = 0;
    for (std::uint64_t spare = 0;; ++spare) {
      SCOPED_TRACE(spare);
      disks_["/disk"].content.resize(used + spare * 4096);
      const auto image = open_image();
      const Result<void> grown = image->grow(kDiskBytes + 8 * 4096, Preallocation::metadata);
      VARVE_EXPECT_OK(image->close());
      expect_sound();
      if (grown) {
        break;
      }
      expect_error(grown, ErrorCode::no_space);
      EXPECT_EQ(image->size(), kDiskBytes);
      ++refused;
    }
    EXPECT_EQ(refused, in_data_file ? 1u : 9u);
  }
}

// What was claimed for the larger L1 is free again where it could not be claimed whole.
TEST_F(Growth, GivesBackThePartOfAnL1ThatItHas) {
  CreateOptions wide = tiny_clusters(64 * 1024);
  wide.refcount_bits = 64;
  make(wide);
  const sim::SparseBytes made = disks_["/disk"].content.clone();
  unsigned refused = 0;
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    disks_["/disk"].content = made.clone();
    const auto image = open_image(options_without_memory());
    sim::FaultRule rule;
    rule.tag = IoTag::refcount_block;
    rule.operation = StorageOperation::read;
    rule.nth = nth;
    plan_ = sim::FaultPlan();
    plan_.add(rule);
    const Result<void> grown = image->grow(std::uint64_t{1} << 30);  // An L1 of 512 clusters.
    plan_.lift();
    EXPECT_EQ(grown.has_value(), plan_.hits() == 0);
    VARVE_EXPECT_OK(image->close());
    expect_sound();
    if (grown) {
      break;
    }
    ++refused;
  }
  EXPECT_GT(refused, 2u);
}

// Guest and host offsets are the same in a data file: a device that ends is the end of the disk.
TEST_F(Growth, EndsWhereTheDevicesDataFileEnds) {
  CreateOptions with_data = small();
  with_data.data_file_name = "data";
  make(with_data);
  disks_["/data"].capabilities.fixed_size = true;
  const auto image = open_image();
  const Result<void> grown = image->grow(2 * kDiskBytes);
  expect_error(grown, ErrorCode::no_space);
  EXPECT_EQ(grown.error().limit, kDiskBytes);
  EXPECT_EQ(image->size(), kDiskBytes);
  VARVE_EXPECT_OK(image->grow(kDiskBytes));
  disks_["/data"].content.resize(2 * kDiskBytes);
  VARVE_EXPECT_OK(image->grow(2 * kDiskBytes));
  VARVE_EXPECT_OK(image->write(2 * kDiskBytes - 4096, filled(4096, 5)));
  expect_bytes(*image, 2 * kDiskBytes - 4096, 4096, 5);
  expect_error(image->grow(2 * kDiskBytes + 512), ErrorCode::no_space);
  VARVE_EXPECT_OK(image->close());
}

// Snapshots of old programs do not say how large their disk is: it is as large as the disk now.
TEST_F(Growth, ByNothingIsNoneUnderASnapshotWithoutASize) {
  make(small());
  {
    const auto image = open_image();
    VARVE_ASSERT_OK(create_snapshot(*image, {}));
    VARVE_EXPECT_OK(image->close());
  }
  const std::uint64_t entry = get(offsetof(RawHeader, snapshot_table_offset));
  constexpr std::uint64_t kExtraBytesPlace = offsetof(RawSnapshotEntry, extra_bytes);
  constexpr std::uint64_t kExtraPlace = sizeof(RawSnapshotEntry);
  std::byte extra[4];
  disks_["/disk"].content.read(entry + kExtraBytesPlace, Bytes(extra));
  const auto extra_bytes = load_be<std::uint32_t>(ConstBytes(extra), 0);
  ByteVector names(16);
  disks_["/disk"].content.read(entry + kExtraPlace + extra_bytes, names);
  put<std::uint32_t>(entry + kExtraBytesPlace, 8);
  disks_["/disk"].content.write(entry + kExtraPlace + 8, names);
  const auto image = open_image();
  VARVE_EXPECT_OK(image->grow(kDiskBytes));
  expect_error(image->grow(2 * kDiskBytes), ErrorCode::unsupported);
  EXPECT_EQ(image->size(), kDiskBytes);
  VARVE_EXPECT_OK(image->close());
}

}  // namespace
}  // namespace varve::test
