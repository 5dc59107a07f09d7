// Diffs by pointer comparison, and disks carried as streams.
#include <algorithm>

#include <gtest/gtest.h>
#include <varve/diff.h>

#include "sim/random.h"
#include "snapshot/snapshot_ground.h"

namespace varve::test {
namespace {

class MemorySink final : public StreamSink {
 public:
  Result<void> write(std::span<const std::byte> piece) override {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
    return {};
  }
  ByteVector bytes;
};

class MemorySource final : public StreamSource {
 public:
  explicit MemorySource(const ByteVector& bytes) : bytes_(bytes) {}
  Result<std::size_t> read(std::span<std::byte> target) override {
    const std::size_t length = std::min({target.size(), bytes_.size() - at_, std::size_t{999}});
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(at_), length, target.begin());
    at_ += length;
    return length;
  }

 private:
  const ByteVector& bytes_;
  std::size_t at_ = 0;
};

class DiffTest : public SnapshotGround {
 protected:
  std::vector<DiffRange> diff(const std::string& from, const std::string& to) {
    auto ranges = diff_snapshots(*image_, side(from), side(to));
    EXPECT_TRUE(ranges.has_value()) << describe(ranges.error());
    return ranges ? *ranges : std::vector<DiffRange>();
  }
  DiffSide side(const std::string& name) {
    return name.empty() ? DiffSide() : DiffSide{find(name)};
  }
  ByteVector content(const std::string& name) {
    if (name.empty()) {
      return content_of(*image_);
    }
    auto snapshot = open_snapshot(*image_, find(name));
    EXPECT_TRUE(snapshot.has_value());
    ByteVector bytes = content_of(**snapshot);
    EXPECT_TRUE((*snapshot)->close().has_value());
    return bytes;
  }
  static ByteVector content_of(Image& image) {
    ByteVector bytes(image.size());
    EXPECT_TRUE(image.read(0, bytes).has_value());
    return bytes;
  }
  // A second image, as empty as new.
  std::unique_ptr<Image> make_other(sim::SimDisk& disk, const CreateOptions& options) {
    {
      sim::SimStorage storage(*engine_, disk);
      EXPECT_TRUE(create_image_in(storage, nullptr, options).has_value());
    }
    OpenOptions open;
    open.writable = true;
    auto opened = Image::open(std::make_unique<sim::SimStorage>(*engine_, disk), "", open);
    EXPECT_TRUE(opened.has_value());
    return std::move(*opened);
  }
};

TEST_F(DiffTest, NamesTheClustersThatChanged) {
  make(options_of(8 * kMiB));
  VARVE_MUST(image_->write(0, pattern(kMiB, 1)));
  take("a");
  EXPECT_TRUE(diff("a", "").empty());
  VARVE_MUST(image_->write(70'000, pattern(10, 2)));
  VARVE_MUST(image_->write(65536 * 3 - 5, pattern(10, 2)));
  VARVE_MUST(image_->discard(65536 * 8, 65536));
  VARVE_MUST(image_->write_zeroes(6 * kMiB, kMiB));  // Zeros already: nothing changes.
  take("b");
  const std::vector<DiffRange> expected = {{65536, 3 * 65536}, {65536 * 8, 65536}};
  EXPECT_EQ(diff("a", "b"), expected);
  EXPECT_EQ(diff("b", "a"), expected);
  EXPECT_EQ(diff("a", ""), expected);
  EXPECT_TRUE(diff("b", "").empty());
  reopen();
  EXPECT_EQ(diff("a", "b"), expected);
  EXPECT_EQ(diff_snapshots(*image_, DiffSide{7}, DiffSide{}).error().code, ErrorCode::not_found);
}

// History: 35d7ace74b.
TEST_F(DiffTest, DisksMayDifferInSize) {
  make(options_of(kMiB + 512));
  VARVE_MUST(image_->write(0, pattern(kMiB + 512, 1)));
  take("small");
  VARVE_MUST(image_->grow(4 * kMiB));
  const std::vector<DiffRange> cut = {{kMiB, 65536}};
  EXPECT_EQ(diff("small", ""), cut);  // The last cluster was cut; behind it there are only zeros.
  VARVE_MUST(image_->write(3 * kMiB, pattern(10, 1)));
  take("large");
  const std::vector<DiffRange> grown = {{kMiB, 65536}, {3 * kMiB, 65536}};
  EXPECT_EQ(diff("small", "large"), grown);
  const std::vector<DiffRange> shrunk = {{kMiB, 512}};
  EXPECT_EQ(diff("large", "small"), shrunk);
}

// The cost follows the change: two tables for each L1 slot that differs, whatever the disk's size.
TEST_F(DiffTest, ReadsOnlyTablesThatDiffer) {
  make(options_of(64 * kMiB, 4096));  // 2 MiB per table: 32 tables.
  for (std::uint64_t at = 0; at < 64 * kMiB; at += 2 * kMiB) {
    VARVE_MUST(image_->write(at, pattern(4096, 1)));
  }
  take("a");
  VARVE_MUST(image_->write(10 * kMiB, pattern(4096, 2)));
  VARVE_MUST(image_->write(40 * kMiB, pattern(4096, 2)));
  take("b");
  reopen();
  const auto& reads = image_->counters().reads[static_cast<std::size_t>(IoTag::l2)];
  const std::uint64_t before = reads;
  EXPECT_EQ(diff("a", "b").size(), 2u);
  EXPECT_EQ(reads - before, 4u);
}

// Goal: outside the ranges told, two disks are equal. Method: random changes between snapshots, of
// every geometry; bytes compared.
TEST_F(DiffTest, LeavesNothingOut) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  for (const bool extended : {false, true}) {
    CreateOptions options = options_of(2 * kMiB, extended ? 16384 : 4096);
    options.extended_l2 = extended;
    make(options);
    std::vector<std::string> names = {""};
    for (int round = 0; round < 5; ++round) {
      for (int i = 0; i < 8; ++i) {
        const std::uint64_t at = random.below(image_->size() - 60'000);
        const std::uint64_t length = random.between(1, 60'000);
        if (random.chance(60)) {
          VARVE_MUST(image_->write(at, pattern(length, unsigned(random.below(200)))));
        } else if (random.chance(50)) {
          VARVE_MUST(image_->discard(at, length));
        } else {
          VARVE_MUST(image_->write_zeroes(at, length, random.chance(50)));
        }
      }
      names.push_back("s" + std::to_string(round));
      take(names.back());
    }
    VARVE_MUST(image_->write(0, pattern(5000, 250)));
    for (const std::string& from : names) {
      for (const std::string& to : names) {
        const ByteVector was = content(from);
        ByteVector is = content(to);
        for (const DiffRange& range : diff(from, to)) {
          ASSERT_LE(range.start + range.length, is.size());
          std::copy_n(was.begin() + static_cast<std::ptrdiff_t>(range.start), range.length,
                      is.begin() + static_cast<std::ptrdiff_t>(range.start));
        }
        EXPECT_EQ(was, is) << from << " to " << to;
      }
    }
  }
}

TEST_F(DiffTest, StreamsCarryDisksAndDifferences) {
  make(options_of(3 * kMiB));
  VARVE_MUST(image_->write(100'000, pattern(kMiB, 1)));
  const Uuid a = take("a").uuid;
  VARVE_MUST(image_->write(200'000, pattern(50'000, 2)));
  VARVE_MUST(image_->write_zeroes(600'000, 200'000));
  VARVE_MUST(image_->grow(5 * kMiB));
  VARVE_MUST(image_->write(4 * kMiB, pattern(70'000, 3)));
  const Uuid b = take("b").uuid;
  VARVE_MUST(image_->write(0, pattern(70'000, 4)));
  MemorySink whole;
  MemorySink change;
  MemorySink rest;
  VARVE_MUST(export_disk(*image_, side("a"), whole));
  const auto exported = export_diff(*image_, side("a"), side("b"), change);
  VARVE_MUST(exported);
  EXPECT_LT(exported->data_bytes, 600'000u);
  VARVE_MUST(export_diff(*image_, side("b"), DiffSide(), rest));
  sim::SimDisk disk;
  const auto other = make_other(disk, options_of(kMiB, 4096));
  VARVE_MUST(other->write(0, pattern(kMiB, 99)));  // Dirt: a whole disk replaces it.
  MemorySource whole_source(whole.bytes);
  VARVE_MUST(import_stream(*other, whole_source));
  EXPECT_EQ(content_of(*other), content("a"));
  MemorySource change_source(change.bytes);
  const auto imported = import_stream(*other, change_source, [&](const StreamInfo& info) {
    EXPECT_TRUE(info.is_diff);
    EXPECT_EQ(info.base, a);
    EXPECT_EQ(info.uuid, b);
    EXPECT_EQ(info.base_size, 3 * kMiB);
    return Result<void>();
  });
  VARVE_MUST(imported);
  EXPECT_EQ(imported->data_bytes, exported->data_bytes);
  EXPECT_EQ(content_of(*other), content("b"));
  MemorySource rest_source(rest.bytes);
  VARVE_MUST(import_stream(*other, rest_source));
  EXPECT_EQ(content_of(*other), content(""));
  VARVE_MUST(other->close());
}

// One flipped bit, one byte missing or a record left out anywhere: refused, and no chunk behind it
// is written.
TEST_F(DiffTest, DamagedStreamsAreRefused) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  make(options_of(kMiB));
  VARVE_MUST(image_->write(0, pattern(kMiB, 1)));
  MemorySink sink;
  VARVE_MUST(export_disk(*image_, DiffSide(), sink));
  const ByteVector expected = content("");
  const std::size_t record = 40 + 256 * 1024;
  for (int round = 0; round < 60; ++round) {
    ByteVector bytes = sink.bytes;
    if (round % 3 == 0) {
      bytes.resize(static_cast<std::size_t>(random.below(bytes.size())));
    } else if (round % 3 == 1) {
      bytes[static_cast<std::size_t>(random.below(round % 2 == 0 ? 120 : bytes.size()))] ^=
          static_cast<std::byte>(1u << random.below(8));
    } else {
      const auto at = static_cast<std::ptrdiff_t>(80 + record * random.below(4));
      bytes.erase(bytes.begin() + at, bytes.begin() + at + static_cast<std::ptrdiff_t>(record));
    }
    sim::SimDisk disk;
    const auto other = make_other(disk, options_of(kMiB));
    MemorySource source(bytes);
    const auto imported = import_stream(*other, source);
    ASSERT_FALSE(imported.has_value());
    EXPECT_EQ(imported.error().code, ErrorCode::corrupt) << describe(imported.error());
    const ByteVector found = content_of(*other);
    for (std::size_t at = 0; at < found.size(); at += 256 * 1024) {
      const auto piece = std::span(found).subspan(at, 256 * 1024);
      EXPECT_TRUE(is_all_zero(piece) ||
                  equal_bytes(piece, std::span(expected).subspan(at, 256 * 1024)));
    }
    VARVE_MUST(other->close());
  }
}

}  // namespace
}  // namespace varve::test
