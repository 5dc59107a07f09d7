// inspect: what it says of each layer is what the file's own counts say when the layer goes. Every
// snapshot of every image is deleted from a copy, and the counted clusters before and after are
// compared with what was foretold.
#include <filesystem>
#include <iostream>

#include <varve/convert.h>
#include <varve/inspect.h>

#include "format/refcount.h"
#include "maintenance/check_fixture.h"
#include "sim/random.h"

namespace varve::test {
namespace {

class InspectTest : public CheckTest {
 protected:
  InspectTest() { std::cout << "VARVE_SEED=" << sim::seed_from_environment() << "\n"; }

  InspectReport look(const std::string& path, const InspectOptions& options = {}) {
    OpenOptions open;
    auto image = Image::open(*engine_, path, open);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    if (!image) {
      return {};
    }
    Result<InspectReport> report = inspect(**image, options);
    EXPECT_TRUE(report.has_value()) << describe(report.error());
    EXPECT_TRUE((*image)->close().has_value());
    return report ? std::move(*report) : InspectReport();
  }

  // Bytes of all clusters with a count, read from the file's own refcount blocks; without those, of
  // which deleting a snapshot may need one more.
  std::uint64_t counted_bytes(const std::string& path) const {
    const auto file = static_cast<std::size_t>(std::filesystem::file_size(path));
    const std::vector<std::byte> bytes = read_bytes(path, 0, file);
    const Header header = std::move(*Header::parse(ConstBytes(bytes).first(cluster_)));
    const Geometry& geometry = header.geometry;
    std::uint64_t clusters = 0;
    const std::uint64_t entries = header.refcount_table_clusters * cluster_ / 8;
    for (std::uint64_t i = 0; i < entries; ++i) {
      const auto block =
          load_be<std::uint64_t>(bytes, header.refcount_table_offset.value() + i * 8);
      clusters -= block != 0 ? 1 : 0;  // Counts itself.
      for (std::uint64_t k = 0; block != 0 && k < geometry.refcounts_per_block(); ++k) {
        clusters +=
            load_refcount(geometry, ConstBytes(bytes).subspan(block, cluster_), k) != 0 ? 1 : 0;
      }
    }
    return clusters * cluster_;
  }

  void expect_foretold() {
    const InspectReport report = look(path_);
    ASSERT_FALSE(report.layers.empty());
    ASSERT_TRUE(report.layers.back().active);
    const std::uint64_t before = counted_bytes(path_);
    EXPECT_LE(report.data_bytes + report.table_bytes, before);
    for (std::size_t i = 0; i + 1 < report.layers.size(); ++i) {
      SCOPED_TRACE("snapshot " + std::to_string(i));
      EXPECT_EQ(report.layers[i].referenced_bytes,
                report.layers[i].unique_bytes + report.layers[i].shared_bytes);
      const std::string copy = folder_.file("copy.qcow2");
      std::filesystem::copy_file(path_, copy, std::filesystem::copy_options::overwrite_existing);
      OpenOptions open;
      open.writable = true;
      auto image = Image::open(*engine_, copy, open);
      ASSERT_TRUE(image.has_value()) << describe(image.error());
      const Result<void> deleted = delete_snapshot(**image, i);
      ASSERT_TRUE(deleted.has_value()) << describe(deleted.error());
      ASSERT_TRUE((*image)->close().has_value());
      EXPECT_EQ(before - counted_bytes(copy), report.layers[i].freed_by_delete_bytes);
    }
    expect_same_in_passes(report);
  }

  // As little memory as is taken means several passes, and the same answer.
  void expect_same_in_passes(const InspectReport& whole) {
    InspectOptions frugal;
    frugal.memory_bytes = 0;
    const InspectReport passes = look(path_, frugal);
    ASSERT_EQ(passes.layers.size(), whole.layers.size());
    EXPECT_EQ(passes.data_bytes, whole.data_bytes);
    EXPECT_EQ(passes.table_bytes, whole.table_bytes);
    for (std::size_t i = 0; i < whole.layers.size(); ++i) {
      EXPECT_EQ(passes.layers[i].referenced_bytes, whole.layers[i].referenced_bytes);
      EXPECT_EQ(passes.layers[i].unique_bytes, whole.layers[i].unique_bytes);
      EXPECT_EQ(passes.layers[i].table_bytes, whole.layers[i].table_bytes);
      EXPECT_EQ(passes.layers[i].zero_bytes, whole.layers[i].zero_bytes);
      EXPECT_EQ(passes.layers[i].runs, whole.layers[i].runs);
      EXPECT_EQ(passes.layers[i].compressed_bytes, whole.layers[i].compressed_bytes);
    }
  }

  // Changes of every kind, and snapshots between them.
  void live(const CreateOptions& options, unsigned snapshots) {
    ASSERT_TRUE(create_image(*engine_, path_, options).has_value());
    cluster_ = options.cluster_bytes;
    const auto image = open(true);
    const std::uint64_t clusters = options.size_bytes / cluster_;
    for (unsigned round = 0; round <= snapshots; ++round) {
      for (int change = 0; change < 30; ++change) {
        const std::uint64_t first = random_.below(clusters - 8);
        const std::uint64_t count = random_.between(1, 8);
        std::vector<std::byte> bytes(count * cluster_);
        for (std::size_t i = 0; i < bytes.size(); ++i) {
          bytes[i] = static_cast<std::byte>(i / 64 + static_cast<std::size_t>(change));
        }
        Result<void> done;
        switch (random_.below(5)) {
          case 0:
            done = image->write_zeroes(first * cluster_, bytes.size(), random_.chance(50));
            break;
          case 1:
            done = image->discard(first * cluster_, bytes.size());
            break;
          case 2:
            done = image->write_compressed(first * cluster_, bytes);
            break;
          default:
            done = image->write(first * cluster_, bytes);
            break;
        }
        ASSERT_TRUE(done.has_value()) << describe(done.error());
      }
      if (round < snapshots) {
        SnapshotCreateOptions create;
        create.name = "round " + std::to_string(round);
        ASSERT_TRUE(create_snapshot(*image, create).has_value());
      }
    }
    ASSERT_TRUE(image->close().has_value());
  }

  sim::Random random_{sim::seed_from_environment()};
};

TEST_F(InspectTest, TellsWhatDeletingEachSnapshotGivesBack) {
  for (const std::uint32_t cluster : {512u, 4096u, 65536u}) {
    for (const unsigned snapshots : {1u, 4u}) {
      SCOPED_TRACE(std::to_string(cluster) + " " + std::to_string(snapshots));
      CreateOptions options;
      options.cluster_bytes = cluster;
      options.size_bytes = 1500 * std::uint64_t{cluster};
      live(options, snapshots);
      expect_foretold();
    }
  }
}

TEST_F(InspectTest, TellsItOfExtendedL2AndOtherWidths) {
  CreateOptions options;
  options.cluster_bytes = 16384;
  options.extended_l2 = true;
  options.size_bytes = 300 * std::uint64_t{16384};
  live(options, 3);
  expect_foretold();
  options = CreateOptions();
  options.cluster_bytes = 512;
  options.refcount_bits = 64;
  options.size_bytes = 3000 * 512;
  live(options, 3);
  expect_foretold();
}

TEST_F(InspectTest, CountsEachKindOnce) {
  CreateOptions options = small(65536);
  make(options);  // Clusters 0 to 5 and 8.
  add_snapshot("one");
  {
    const auto image = open(true);
    write(*image, 0, 1);
    ASSERT_TRUE(image->write_zeroes(10 * cluster_, 2 * cluster_).has_value());
    const std::vector<std::byte> bytes(4 * cluster_, std::byte{3});
    ASSERT_TRUE(image->write_compressed(20 * cluster_, bytes).has_value());
    ASSERT_TRUE(image->close().has_value());
  }
  const InspectReport report = look(path_);
  ASSERT_EQ(report.layers.size(), 2u);
  const LayerReport& snapshot = report.layers[0];
  const LayerReport& active = report.layers[1];
  // Seven clusters of data, an L1 and an L2 table.
  EXPECT_EQ(snapshot.referenced_bytes, 9 * cluster_);
  EXPECT_EQ(snapshot.table_bytes, 2 * cluster_);
  EXPECT_EQ(snapshot.unique_bytes, 3 * cluster_);
  EXPECT_EQ(snapshot.shared_bytes, 6 * cluster_);
  EXPECT_EQ(snapshot.runs, 2u);
  // Four streams of some bytes share one cluster of the file.
  EXPECT_EQ(active.compressed_bytes, 4 * cluster_);
  EXPECT_EQ(active.referenced_bytes, 10 * cluster_);
  EXPECT_EQ(active.zero_bytes, 2 * cluster_);
  EXPECT_EQ(report.data_bytes, 9 * cluster_);
  EXPECT_EQ(report.table_bytes, 4 * cluster_);
}

TEST_F(InspectTest, AnImageBeingWrittenIsToldAsItIs) {
  make(small());
  add_snapshot("one");
  const auto image = open(true);
  write(*image, 0, 1);  // In memory only, so far.
  const Result<InspectReport> report = inspect(*image);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  EXPECT_EQ(report->layers[0].unique_bytes, 3 * cluster_);
  write(*image, 1, 1);  // Requests go on.
  ASSERT_TRUE(image->close().has_value());
}

TEST_F(InspectTest, DamageIsNamed) {
  make(small());
  put(l2(3), get(l2(3)) | 0x200);
  const auto image = open(false);
  const Result<InspectReport> report = inspect(*image);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, ErrorCode::corrupt);
  EXPECT_EQ(report.error().corruption, Corruption::cluster_offset_unaligned);
  EXPECT_EQ(report.error().offset, l2(3));
  EXPECT_TRUE(image->close().has_value());
}

TEST_F(InspectTest, CancelledBetweenTables) {
  make(small());
  const std::atomic<bool> cancel{true};
  InspectOptions options;
  options.cancel = &cancel;
  const auto image = open(false);
  const Result<InspectReport> report = inspect(*image, options);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, ErrorCode::cancelled);
  EXPECT_TRUE(image->close().has_value());
}

}  // namespace
}  // namespace varve::test
