// Both codecs: round trips of every kind of data, and streams that lie.
#include "codec/codec.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "base/units.h"
#include "format/header.h"
#include "format/l1_entry.h"
#include "format/l2_entry.h"
#include "format/qemu_img.h"
#include "sim/random.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VARVE_OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define VARVE_OWN_MALLOC 0
#endif
#endif
#ifndef VARVE_OWN_MALLOC
#define VARVE_OWN_MALLOC 1
#endif
#if VARVE_OWN_MALLOC
#include <malloc.h>
#else
#include <sanitizer/allocator_interface.h>
#endif

namespace varve {
namespace {

using Memory = std::vector<std::byte>;

Memory random_bytes(std::size_t size, sim::Random& random) {
  Memory bytes(size);
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(random.next());
  }
  return bytes;
}

// What the program has of malloc's memory.
std::size_t allocated_bytes() {
#if VARVE_OWN_MALLOC
  const struct mallinfo2 facts = mallinfo2();
  return facts.uordblks + facts.hblkhd;
#else
  return __sanitizer_get_current_allocated_bytes();
#endif
}

// Runs of few values: shrinks well, but not to nothing.
Memory soft_bytes(std::size_t size, sim::Random& random) {
  Memory bytes(size);
  std::size_t at = 0;
  while (at < size) {
    const std::size_t run = std::min<std::size_t>(size - at, 1 + random.below(40));
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), run,
                static_cast<std::byte>(random.below(7)));
    at += run;
  }
  return bytes;
}

class EachCodec : public ::testing::TestWithParam<std::tuple<Compression, std::size_t>> {
 protected:
  EachCodec() : seed_(sim::seed_from_environment()), random_(seed_) {
    RecordProperty("seed", std::to_string(seed_));
    Result<std::unique_ptr<Codec>> made = make_codec(std::get<0>(GetParam()));
    EXPECT_TRUE(made);
    codec_ = std::move(*made);
  }
  static std::size_t cluster_bytes() { return std::get<1>(GetParam()); }

  Memory compressed(const Memory& cluster) {
    Memory target(cluster.size() + cluster.size() / 8 + 1024);
    const Result<std::size_t> size = codec_->compress(cluster, target);
    EXPECT_TRUE(size);
    EXPECT_GT(*size, 0u);
    target.resize(*size);
    target.shrink_to_fit();  // Reads behind the stream become visible to the sanitizer.
    return target;
  }
  Corruption verdict(const Memory& stream, std::size_t size) {
    Memory cluster(size);
    cluster.shrink_to_fit();
    const Result<void> outcome = codec_->decompress(stream, cluster);
    if (outcome) {
      return Corruption::none;
    }
    EXPECT_EQ(outcome.error().code, ErrorCode::corrupt);
    EXPECT_EQ(outcome.error().tag, IoTag::compressed_data);
    return outcome.error().corruption;
  }

  std::uint64_t seed_;
  sim::Random random_;
  std::unique_ptr<Codec> codec_;
};

INSTANTIATE_TEST_SUITE_P(
    All, EachCodec,
    ::testing::Combine(::testing::Values(Compression::zlib, Compression::zstd),
                       ::testing::Values<std::size_t>(512, 4096, 65536, 2u << 20)),
    [](const auto& instance) {
      return std::string(std::get<0>(instance.param) == Compression::zlib ? "Zlib" : "Zstd") +
             std::to_string(std::get<1>(instance.param));
    });

// History: ab5ccbd65d.
TEST_P(EachCodec, RoundTripsEveryKindOfData) {
  const std::vector<Memory> clusters = {
      Memory(cluster_bytes()), Memory(cluster_bytes(), std::byte{0xff}),
      soft_bytes(cluster_bytes(), random_), random_bytes(cluster_bytes(), random_)};
  // Twice, and mixed with failures, so that state left in a stream would show.
  for (int round = 0; round < 2; ++round) {
    for (const Memory& cluster : clusters) {
      const Memory stream = compressed(cluster);
      Memory found(cluster_bytes());
      ASSERT_TRUE(codec_->decompress(stream, found));
      ASSERT_EQ(found, cluster);
      verdict(Memory(1), cluster_bytes());
    }
  }
}

TEST_P(EachCodec, AllocatesForTheFirstClusterItCompressesAndNoOther) {
  const Memory cluster = soft_bytes(cluster_bytes(), random_);
  const Memory stream = compressed(cluster);
  Memory found(cluster_bytes());
  Memory target(cluster_bytes() + 1024);
  const Result<std::unique_ptr<Codec>> codec = make_codec(std::get<0>(GetParam()));
  ASSERT_TRUE(codec);
  const std::size_t made = allocated_bytes();
  ASSERT_TRUE((*codec)->decompress(stream, found));
  EXPECT_EQ(allocated_bytes(), made);
  ASSERT_TRUE((*codec)->compress(cluster, target));
  const std::size_t compressing = allocated_bytes();
  EXPECT_GT(compressing, made + 16 * kKiB);
  ASSERT_TRUE((*codec)->compress(cluster, target));
  ASSERT_TRUE((*codec)->decompress(stream, found));
  EXPECT_EQ(allocated_bytes(), compressing);
}

// History: ab5ccbd65d.
TEST_P(EachCodec, SaysZeroWhenTheTargetIsTooSmall) {
  const Memory hard = random_bytes(cluster_bytes(), random_);
  Memory target(cluster_bytes() - 1);
  const Result<std::size_t> outcome = codec_->compress(hard, target);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, 0u);
  const Memory soft = soft_bytes(cluster_bytes(), random_);
  const Memory stream = compressed(soft);
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, stream.size() - 1}) {
    target.resize(room);
    EXPECT_EQ(*codec_->compress(soft, target), 0u) << room;
  }
  target.resize(stream.size() + 512);
  EXPECT_EQ(*codec_->compress(soft, target), stream.size());
}

TEST_P(EachCodec, IgnoresBytesBehindTheStream) {
  const Memory cluster = soft_bytes(cluster_bytes(), random_);
  Memory stream = compressed(cluster);
  const Memory tail = random_bytes(700, random_);
  stream.insert(stream.end(), tail.begin(), tail.end());
  Memory found(cluster_bytes());
  ASSERT_TRUE(codec_->decompress(stream, found));
  EXPECT_EQ(found, cluster);
}

TEST_P(EachCodec, RefusesEveryTruncation) {
  const Memory stream = compressed(soft_bytes(cluster_bytes(), random_));
  const std::size_t cuts = 200 / sim::environment_number("VARVE_CASE_SHARE", 1);
  const std::size_t step = std::max<std::size_t>(1, stream.size() / std::max<std::size_t>(cuts, 1));
  for (std::size_t size = 0; size + 8 < stream.size(); size += step) {
    Memory cut(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(size));
    cut.shrink_to_fit();
    const Corruption reason = verdict(cut, cluster_bytes());
    EXPECT_TRUE(reason == Corruption::compressed_stream_short ||
                reason == Corruption::compressed_stream_invalid)
        << size;
  }
}

TEST_P(EachCodec, RefusesAStreamOfASmallerCluster) {
  const Memory stream = compressed(soft_bytes(cluster_bytes(), random_));
  EXPECT_EQ(verdict(stream, cluster_bytes() + 1), Corruption::compressed_stream_short);
}

TEST_P(EachCodec, NeverWritesMoreThanOneCluster) {
  const Memory stream = compressed(soft_bytes(cluster_bytes(), random_));
  // The sanitizer watches the end of the smaller cluster; QEMU reads the first, refuses the second.
  const Corruption reason = verdict(stream, cluster_bytes() / 2);
  EXPECT_EQ(reason, std::get<0>(GetParam()) == Compression::zlib
                        ? Corruption::none
                        : Corruption::compressed_stream_invalid);
}

TEST_P(EachCodec, SurvivesGarbageAndFlippedBits) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed_));
  const Memory stream = compressed(soft_bytes(cluster_bytes(), random_));
  const int rounds = cluster_bytes() > 65536 ? 20 : 300;
  for (int round = 0; round < rounds; ++round) {
    Memory bad = stream;
    if (random_.chance(20)) {
      bad = random_bytes(1 + random_.below(stream.size()), random_);
    }
    for (std::uint64_t flips = random_.below(4); flips > 0; --flips) {
      bad[random_.below(bad.size())] ^= static_cast<std::byte>(1u << random_.below(8));
    }
    verdict(bad, cluster_bytes());
  }
  Memory found(cluster_bytes());
  EXPECT_TRUE(codec_->decompress(stream, found)) << "garbage left its mark on the codec";
}

// A compressed image made by QEMU, and where each guest cluster's L2 entry stands in it.
class QemuImage {
 public:
  QemuImage(const test::TemporaryFolder& folder, const Memory& disk, Compression compression,
            std::size_t cluster_bytes)
      : path_(folder.file("disk.qcow2")) {
    test::write_bytes(folder.file("disk.raw"), disk);
    const std::string type = compression == Compression::zstd ? ",compression_type=zstd" : "";
    EXPECT_TRUE(folder.run("qemu-img convert -c -f raw -O qcow2 -o cluster_size=" +
                           std::to_string(cluster_bytes) + type + " disk.raw disk.qcow2"));
    const Result<Header> header = Header::parse(test::read_bytes(path_, 0, cluster_bytes));
    EXPECT_TRUE(header);
    header_ = *header;
    EXPECT_EQ(header_.compression, compression);
    l1_ = test::read_bytes(path_, header_.l1_offset.value(), header_.l1_entries * 8);
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Geometry& geometry() const { return header_.geometry; }
  [[nodiscard]] HostOffset entry_offset(GuestOffset guest) const {
    const L1Entry table(load_be<std::uint64_t>(l1_, geometry().l1_index(guest) * 8));
    return table.offset() + geometry().l2_index(guest) * 8;
  }
  [[nodiscard]] L2Entry entry(GuestOffset guest) const {
    const HostOffset where = entry_offset(guest);
    const L2Entry entry(load_be<std::uint64_t>(test::read_bytes(path_, where.value(), 8), 0));
    EXPECT_TRUE(entry.validate(geometry(), header_.version, false, where));
    return entry;
  }

 private:
  std::string path_;
  Header header_;
  Memory l1_;
};

TEST_P(EachCodec, ReadsClustersThatQemuCompressed) {
  VARVE_NEED_QEMU_IMG();
  const test::TemporaryFolder folder;
  const Memory disk = soft_bytes(std::max<std::size_t>(8 * cluster_bytes(), 65536), random_);
  const QemuImage image(folder, disk, std::get<0>(GetParam()), cluster_bytes());
  std::size_t compressed_clusters = 0;
  for (std::uint64_t at = 0; at < disk.size(); at += cluster_bytes()) {
    const L2Entry entry = image.entry(GuestOffset(at));
    if (!entry.is_compressed()) {
      continue;
    }
    ++compressed_clusters;
    const CompressedExtent extent = entry.compressed_extent(image.geometry());
    const Memory stream = test::read_bytes(image.path(), extent.offset.value(), extent.length);
    Memory found(cluster_bytes());
    ASSERT_TRUE(codec_->decompress(stream, found)) << at;
    ASSERT_TRUE(equal_bytes(found, ConstBytes(disk).subspan(at, cluster_bytes()))) << at;
  }
  EXPECT_GT(compressed_clusters, 0u);
}

// Puts streams of our own into QEMU's image, at odd places, and has QEMU read the disk.
TEST_P(EachCodec, WritesClustersThatQemuReads) {
  VARVE_NEED_QEMU_IMG();
  const test::TemporaryFolder folder;
  const Memory disk = soft_bytes(std::max<std::size_t>(8 * cluster_bytes(), 65536), random_);
  const QemuImage image(folder, disk, std::get<0>(GetParam()), cluster_bytes());
  std::uint64_t end = 64 * kMiB + 1;
  for (std::uint64_t at = 0; at < disk.size(); at += cluster_bytes()) {
    const ConstBytes cluster = ConstBytes(disk).subspan(at, cluster_bytes());
    Memory stream = compressed(Memory(cluster.begin(), cluster.end()));
    if (stream.size() > cluster_bytes()) {
      continue;
    }
    const CompressedExtent extent{HostOffset(end), stream.size()};
    Memory raw_entry(8);
    store_be(raw_entry, 0, L2Entry::compressed(image.geometry(), extent).raw());
    test::patch_bytes(image.path(), image.entry_offset(GuestOffset(at)).value(), raw_entry);
    stream.resize(stream.size() + 600, std::byte{0x77});  // What QEMU must not mind.
    test::patch_bytes(image.path(), end, stream);
    end += extent.length;
  }
  ASSERT_GT(end, 64 * kMiB + 1);
  EXPECT_TRUE(folder.run("qemu-img compare -f raw -F qcow2 disk.raw disk.qcow2"));
}

}  // namespace
}  // namespace varve
