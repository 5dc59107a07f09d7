// Goal: everything that can be read of a broken image is copied, nothing else is, and the map names
// exactly the rest. Method: a sound image with known content is damaged place by place; the copy is
// compared with the content, zeros standing where the map says so.
#include <filesystem>

#include <varve/rescue.h>

#include "maintenance/check_fixture.h"
#include "sim/faulty_storage.h"
#include "sim/random.h"
#include "sim/sim_disk.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kGuestBytes = 4 * kMiB;

class RescueTest : public CheckTest {
 protected:
  // Data in the first table and the second, zeros, compressed clusters, and a snapshot.
  void make_source(std::uint32_t cluster_bytes = 4096, bool extended_l2 = false,
                   Compression compression = Compression::zlib) {
    CreateOptions options;
    options.size_bytes = kGuestBytes;
    options.cluster_bytes = cluster_bytes;
    options.extended_l2 = extended_l2;
    options.compression = compression;
    ASSERT_TRUE(create_image(*engine_, path_, options).has_value());
    cluster_ = cluster_bytes;
    const auto image = open(true);
    sim::Random random(7);
    std::vector<std::byte> bytes(20 * cluster_);
    for (std::byte& byte : bytes) {
      byte = static_cast<std::byte>(random.below(4));
    }
    ASSERT_TRUE(image->write(0, std::span(bytes).first(9 * cluster_ + 700)).has_value());
    ASSERT_TRUE(
        image->write_compressed(12 * cluster_, std::span(bytes).first(2 * cluster_)).has_value());
    ASSERT_TRUE(image->write_zeroes(3 * cluster_, cluster_).has_value());
    ASSERT_TRUE(image->write(kGuestBytes / 2 + 512, std::span(bytes).first(3000)).has_value());
    ASSERT_TRUE(image->write(kGuestBytes - 512, std::span(bytes).first(512)).has_value());
    content_.assign(kGuestBytes, std::byte{0});
    ASSERT_TRUE(image->read(0, content_).has_value());
    ASSERT_TRUE(image->close().has_value());
  }

  Result<RescueReport> rescue(const RescueOptions& options = {}, sim::FaultPlan* plan = nullptr) {
    std::unique_ptr<Storage> source = std::move(*open_file(*engine_, path_, FileOptions()));
    if (plan != nullptr) {
      source = std::make_unique<sim::FaultyStorage>(std::move(source), *plan);
    }
    notes_.clear();
    auto opened = Rescue::open(std::move(source), options);
    if (!opened) {
      return opened.error();
    }
    notes_ = opened->notes();
    size_ = opened->size();
    auto target = Image::open(std::move(*make_memory_storage(*engine_, opened->size())), "/",
                              raw_for_writing());
    EXPECT_TRUE(target.has_value());
    auto report = opened->copy_to(**target);
    copy_.assign(opened->size(), std::byte{0xee});
    EXPECT_TRUE((*target)->read(0, copy_).has_value());
    EXPECT_TRUE((*target)->close().has_value());
    return report;
  }
  static OpenOptions raw_for_writing() {
    OpenOptions options;
    options.format = Format::raw;
    options.writable = true;
    return options;
  }
  // The copy is the content, with zeros where the report says so and nowhere else.
  void expect_copy(const RescueReport& report) {
    std::vector<std::byte> expected = content_;
    expected.resize(copy_.size());
    std::uint64_t lost = 0;
    for (const LostRange& range : report.lost) {
      ASSERT_LE(range.offset + range.length, expected.size());
      std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                  std::byte{0});
      lost += range.length;
    }
    EXPECT_EQ(lost, report.lost_bytes);
    EXPECT_EQ(report.lost.size(), report.lost_ranges);
    EXPECT_TRUE(copy_ == expected);
  }
  void expect_lost(const RescueReport& report, std::uint64_t offset, std::uint64_t length,
                   Corruption reason) {
    ASSERT_EQ(report.lost.size(), 1u);
    EXPECT_EQ(report.lost[0].offset, offset);
    EXPECT_EQ(report.lost[0].length, length);
    EXPECT_EQ(report.lost[0].reason, reason) << corruption_name(report.lost[0].reason);
    expect_copy(report);
  }

  std::vector<std::byte> content_;
  std::vector<std::byte> copy_;
  std::vector<std::string> notes_;
  std::uint64_t size_ = 0;
};

TEST_F(RescueTest, ASoundImageIsCopiedWhole) {
  struct Case {
    std::uint32_t cluster_bytes;
    bool extended_l2;
    Compression compression;
  };
  for (const Case& tried :
       {Case{512, false, Compression::zlib}, Case{4096, false, Compression::zstd},
        Case{65536, false, Compression::zlib}, Case{16384, true, Compression::zstd}}) {
    SCOPED_TRACE(tried.cluster_bytes);
    make_source(tried.cluster_bytes, tried.extended_l2, tried.compression);
    const auto report = rescue();
    ASSERT_TRUE(report.has_value()) << describe(report.error());
    EXPECT_EQ(report->lost_bytes, 0u);
    EXPECT_TRUE(notes_.empty());
    EXPECT_EQ(size_, kGuestBytes);
    expect_copy(*report);
  }
}

TEST_F(RescueTest, RefcountsSnapshotsAndStrayBitsPlayNoPart) {
  make_source();
  add_snapshot("kept");
  put(offsetof(RawHeader, refcount_table_offset), 12345);
  put(offsetof(RawHeader, refcount_table_clusters), 0, 4);
  put(offsetof(RawHeader, snapshot_table_offset), ~std::uint64_t{0});
  put(offsetof(RawHeader, refcount_order), 99, 4);
  put(offsetof(RawHeader, incompatible_features), 0xff00'0000'0000'0003);
  put(l1(), get(l1()) | 6);
  put(l2(1), get(l2(1)) | 0x10);
  EXPECT_FALSE(Image::open(*engine_, path_, OpenOptions()).has_value());
  const auto report = rescue();
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_EQ(report->lost_bytes, 0u);
  expect_copy(*report);
}

TEST_F(RescueTest, EntriesThatLeadNowhereBecomeZerosAndAreNamed) {
  make_source();
  const std::uint64_t coverage = cluster_ / 8 * cluster_;
  const auto bytes = read_bytes(path_, 0, std::filesystem::file_size(path_));
  const auto try_place = [&](std::uint64_t place, std::uint64_t value, std::uint64_t offset,
                             std::uint64_t length, Corruption reason) {
    SCOPED_TRACE(corruption_name(reason));
    patch_bytes(path_, 0, bytes);
    put(place, value);
    const auto report = rescue();
    ASSERT_TRUE(report.has_value()) << describe(report.error());
    expect_lost(*report, offset, length, reason);
    EXPECT_EQ(report->lost[0].source_offset, place);
  };
  try_place(l1(), std::uint64_t{1} << 40, 0, coverage, Corruption::table_beyond_end_of_file);
  try_place(l1(1), get(l1(1)) | 512, coverage, coverage, Corruption::l2_table_unaligned);
  try_place(l2(2), std::uint64_t{1} << 40, 2 * cluster_, cluster_,
            Corruption::cluster_beyond_end_of_file);
  try_place(l2(2), host(2) | 512, 2 * cluster_, cluster_, Corruption::cluster_offset_unaligned);
  try_place(l2(12), (std::uint64_t{1} << 62) | (std::uint64_t{1} << 40), 12 * cluster_, cluster_,
            Corruption::compressed_beyond_end_of_file);
}

TEST_F(RescueTest, ABrokenCompressedClusterIsLostAlone) {
  make_source();
  const std::uint64_t packed = get(l2(12)) & 0xffff'ffff;
  put(packed, 0xffff'ffff'ffff'ffff);
  const auto report = rescue();
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  expect_lost(*report, 12 * cluster_, cluster_, Corruption::compressed_stream_invalid);
}

// Each read of each kind fails once: what is lost is what it would have brought, to the sector.
TEST_F(RescueTest, UnreadableSectorsAreLostAlone) {
  make_source();
  for (const IoTag tag : {IoTag::l1, IoTag::l2, IoTag::guest_data, IoTag::compressed_data}) {
    SCOPED_TRACE(io_tag_name(tag));
    sim::FaultPlan plan;
    sim::FaultRule whole;
    whole.tag = tag;
    plan.add(whole);
    sim::FaultRule sector;  // The second of those that are then read by themselves.
    sector.tag = tag;
    sector.nth = 1;
    plan.add(sector);
    const auto report = rescue({}, &plan);
    ASSERT_TRUE(report.has_value()) << describe(report.error());
    EXPECT_GT(report->lost_bytes, 0u);
    if (tag == IoTag::guest_data) {
      EXPECT_EQ(report->lost_bytes, 512u);
      EXPECT_EQ(report->lost[0].reason, Corruption::none);
    }
    expect_copy(*report);
  }
}

TEST_F(RescueTest, WhatTheHeaderHasLostCanBeGiven) {
  make_source();
  const std::uint64_t table = get(offsetof(RawHeader, l1_offset));
  patch_bytes(path_, 0, std::vector<std::byte>(4096, std::byte{0xa5}));
  const auto refused = rescue();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(std::string(refused.error().what).find("--cluster-size"), std::string::npos);
  RescueOptions options;
  options.cluster_bytes = 4096;
  const auto still = rescue(options);
  ASSERT_FALSE(still.has_value());
  EXPECT_NE(std::string(still.error().what).find("--l1-offset"), std::string::npos);
  options.l1_offset = table;
  options.l1_entries = 2;
  options.size_bytes = kGuestBytes;
  options.extended_l2 = false;
  const auto report = rescue(options);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_FALSE(notes_.empty());
  EXPECT_EQ(report->lost_bytes, 0u);
  expect_copy(*report);
}

TEST_F(RescueTest, ASnapshotIsRescuedByItsTable) {
  make_source();
  const std::vector<std::byte> before = content_;
  add_snapshot("old");
  const std::uint64_t table = get(offsetof(RawHeader, snapshot_table_offset));
  {
    const auto image = open(true);
    write(*image, 0, 6);
    ASSERT_TRUE(image->close().has_value());
  }
  RescueOptions options;
  options.l1_offset = get(table);
  options.l1_entries = static_cast<std::uint32_t>(get(table + 8, 4));
  const auto report = rescue(options);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_EQ(report->lost_bytes, 0u);
  expect_copy(*report);
}

TEST_F(RescueTest, ASizeThatNoTableMapsIsNotBelieved) {
  make_source();
  put(offsetof(RawHeader, virtual_size), ~std::uint64_t{0});
  const auto report = rescue();
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_EQ(notes_.size(), 1u);
  EXPECT_EQ(size_, kGuestBytes);
  expect_copy(*report);
}

TEST_F(RescueTest, ACutFileGivesWhatIsLeft) {
  make_source();
  const std::uint64_t end = host(5) + 1024;
  std::filesystem::resize_file(path_, end);
  const auto report = rescue();
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_GT(report->lost_bytes, 0u);
  // Of the cluster that is cut the rest reads as zeros, as in any image.
  std::fill_n(content_.begin() + static_cast<std::ptrdiff_t>(5 * cluster_ + 1024), cluster_ - 1024,
              std::byte{0});
  expect_copy(*report);
}

// Any header and any tables: it ends, and what is copied was in the file.
TEST_F(RescueTest, NoiseEndsInAResult) {
  make_source();
  const auto bytes = read_bytes(path_, 0, std::filesystem::file_size(path_));
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  for (int round = 0; round < 60; ++round) {
    patch_bytes(path_, 0, bytes);
    for (int i = 0; i < 6; ++i) {
      const std::uint64_t places[] = {random.below(112), l1(random.below(2)), l2(random.below(30))};
      put(places[random.below(3)], random.next() >> random.below(64));
    }
    RescueOptions options;
    options.cluster_bytes = 4096;
    options.size_bytes = kGuestBytes;
    const auto report = rescue(options);
    if (report) {
      EXPECT_LE(report->lost_bytes, kGuestBytes);
    } else {
      EXPECT_TRUE(report.error().code == ErrorCode::invalid_argument ||
                  report.error().code == ErrorCode::unsupported)
          << describe(report.error());
    }
  }
}

}  // namespace
}  // namespace varve::test
