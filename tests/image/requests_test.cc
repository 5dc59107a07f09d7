// Guest requests of every shape, on every kind of ground: what is read is what was written.
#include <algorithm>
#include <numeric>

#include "image/ground.h"
#include "sim/random.h"

namespace varve::test {
namespace {

class Requests : public ::testing::TestWithParam<GroundKind> {
 protected:
  static void run(const std::function<void(Ground&)>& body) { run_on(GetParam(), body); }
};
INSTANTIATE_TEST_SUITE_P(Grounds, Requests, kEveryGround, kNameGround);

// A request that remembers its result.
struct Guest : BlockRequest {
  Guest(BlockOperation what, std::uint64_t at, std::vector<IoVector> pieces)
      : vectors_(std::move(pieces)) {
    operation = what;
    offset = at;
    vectors = vectors_.data();
    vector_count = static_cast<std::uint32_t>(vectors_.size());
    for (const IoVector& vector : vectors_) {
      length += vector.size;
    }
    complete = [](BlockRequest& request, const Result<void>& result) {
      static_cast<Guest&>(request).result_ = result;
    };
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  Result<void> wait(Image& image) {
    while (!result_.has_value()) {
      image.engine().wait();
    }
    return *result_;
  }
  Result<void> run(Image& image) {
    image.submit(*this);
    EXPECT_FALSE(result_.has_value()) << "completed inside submit";
    return wait(image);
  }

 private:
  std::vector<IoVector> vectors_;
  std::optional<Result<void>> result_;
};

// `bytes` cut into `count` pieces of odd sizes, some of them empty.
std::vector<IoVector> cut(std::span<std::byte> bytes, std::size_t count, sim::Random& random) {
  std::vector<std::size_t> ends(count - 1);
  for (std::size_t& end : ends) {
    end = random.below(bytes.size() + 1);
  }
  std::ranges::sort(ends);
  ends.push_back(bytes.size());
  std::vector<IoVector> vectors;
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    vectors.push_back({bytes.data() + begin, end - begin});
    begin = end;
  }
  return vectors;
}

CreateOptions small_disk(std::uint32_t cluster_bytes, bool extended = false) {
  CreateOptions options;
  options.size_bytes = (3u << 20) + 512;
  options.cluster_bytes = cluster_bytes;
  options.extended_l2 = extended;
  return options;
}

void take_random_step(Image& image, sim::Random& random, ByteVector& expected, unsigned round) {
  const std::uint64_t offset = random.below(expected.size());
  const std::uint64_t length = std::min<std::uint64_t>(
      random.below(random.chance(80) ? 9'000 : 300'000), expected.size() - offset);
  const auto place = expected.begin() + static_cast<std::ptrdiff_t>(offset);
  if (random.chance(50)) {
    const ByteVector bytes = pattern(length, round);
    VARVE_EXPECT_OK(image.write(offset, bytes));
    std::ranges::copy(bytes, place);
  } else if (random.chance(40)) {
    VARVE_EXPECT_OK(image.write_zeroes(offset, length, random.chance(50)));
    std::fill_n(place, length, std::byte{0});
  } else if (random.chance(10)) {
    VARVE_EXPECT_OK(image.flush());
  } else {
    ByteVector bytes(length);
    VARVE_EXPECT_OK(image.read(offset, bytes));
    ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), place)) << offset << "+" << length;
  }
}

TEST_P(Requests, OfAnyOffsetAndLength) {
  const std::uint64_t seed = test_seed();
  run([seed](Ground& ground) {
    for (const auto& [cluster, extended] :
         {std::pair{512u, false}, {4096u, false}, {65536u, true}, {2u << 20, false}}) {
      SCOPED_TRACE(cluster);
      sim::Random random(seed);
      ground.create(small_disk(cluster, extended));
      ByteVector expected(small_disk(cluster).size_bytes);
      std::unique_ptr<Image> image = ground.open(true);
      ASSERT_NE(image, nullptr);
      for (unsigned round = 0; round < 120; ++round) {
        take_random_step(*image, random, expected, round);
      }
      EXPECT_TRUE(read_all(*image) == expected);
      VARVE_EXPECT_OK(image->close());
      image = ground.open(false);
      ASSERT_NE(image, nullptr);
      EXPECT_TRUE(read_all(*image) == expected) << "after reopening";
      VARVE_EXPECT_OK(image->close());
      expect_qemu_clean(ground.path());
    }
  });
}

TEST_P(Requests, OfManyVectors) {
  const std::uint64_t seed = test_seed();
  run([seed](Ground& ground) {
    sim::Random random(seed);
    ground.create(small_disk(65536));
    const std::unique_ptr<Image> image = ground.open(true);
    ASSERT_NE(image, nullptr);
    for (std::size_t count = 1; count <= 100; count += count < 8 ? 1 : 23) {
      ByteVector bytes = pattern(200'000 + 7 * count, static_cast<unsigned>(count));
      const std::uint64_t offset = 1'000 * count + count;
      VARVE_EXPECT_OK(Guest(BlockOperation::write, offset, cut(bytes, count, random)).run(*image));
      ByteVector found(bytes.size());
      VARVE_EXPECT_OK(
          Guest(BlockOperation::read, offset, cut(found, 101 - count, random)).run(*image));
      EXPECT_TRUE(found == bytes) << count << " vectors";
    }
    VARVE_EXPECT_OK(image->close());
  });
}

TEST_P(Requests, BeyondEveryChunkLimit) {
  run([](Ground& ground) {
    CreateOptions options;
    options.size_bytes = 20u << 20;
    for (const std::uint32_t cluster : {4096u, 2u << 20}) {
      options.cluster_bytes = cluster;
      ground.create(options);
      const std::unique_ptr<Image> image = ground.open(true);
      ASSERT_NE(image, nullptr);
      const ByteVector bytes = pattern(options.size_bytes - 1001, cluster);
      VARVE_EXPECT_OK(image->write(777, bytes));
      ByteVector found(bytes.size());
      VARVE_EXPECT_OK(image->read(777, found));
      EXPECT_TRUE(found == bytes);
      VARVE_EXPECT_OK(image->write_zeroes(1, options.size_bytes - 2, true));
      const ByteVector zeros(options.size_bytes);
      EXPECT_TRUE(read_all(*image) == zeros);
      VARVE_EXPECT_OK(image->close());
    }
  });
}

// History: f214978a42.
TEST_P(Requests, InFlightTogetherInOneCluster) {
  run([](Ground& ground) {
    ground.create(small_disk(65536));
    const std::unique_ptr<Image> image = ground.open(true);
    ASSERT_NE(image, nullptr);
    constexpr std::size_t kPieces = 150;  // More than are carried out at once.
    constexpr std::size_t kPieceBytes = 3'001;
    ByteVector bytes = pattern(kPieces * kPieceBytes, 3);
    std::vector<std::unique_ptr<Guest>> guests;
    for (std::size_t i = 0; i < kPieces; ++i) {
      const std::size_t place = (i * 37 % kPieces) * kPieceBytes;
      guests.push_back(
          std::make_unique<Guest>(BlockOperation::write, place,
                                  std::vector<IoVector>{{bytes.data() + place, kPieceBytes}}));
      image->submit(*guests.back());
    }
    for (const std::unique_ptr<Guest>& guest : guests) {
      VARVE_EXPECT_OK(guest->wait(*image));
    }
    ByteVector found(bytes.size());
    VARVE_EXPECT_OK(image->read(0, found));
    EXPECT_TRUE(found == bytes);
    VARVE_EXPECT_OK(image->close());
    expect_qemu_clean(ground.path());
  });
}

TEST_P(Requests, OutsideTheDiskAreRefused) {
  run([](Ground& ground) {
    ground.create(small_disk(65536));
    const std::unique_ptr<Image> image = ground.open(true);
    ASSERT_NE(image, nullptr);
    const std::uint64_t size = image->size();
    ByteVector bytes(4096);
    for (const std::uint64_t offset : {size, size - 4095, size + 1, ~std::uint64_t{0},
                                       ~std::uint64_t{0} - 4095, std::uint64_t{1} << 63}) {
      expect_error(image->read(offset, bytes), ErrorCode::out_of_range);
      expect_error(image->write(offset, bytes), ErrorCode::out_of_range);
      expect_error(image->write_zeroes(offset, 4096), ErrorCode::out_of_range);
      expect_error(image->discard(offset, 4096), ErrorCode::out_of_range);
    }
    expect_error(image->discard(0, ~std::uint64_t{0}), ErrorCode::out_of_range);
    Guest mismatch(BlockOperation::write, 0, {{bytes.data(), 100}});
    mismatch.length = 4096;
    expect_error(mismatch.run(*image), ErrorCode::invalid_argument);
    // Nothing to do at the very end is not outside.
    VARVE_EXPECT_OK(image->read(size, {}));
    VARVE_EXPECT_OK(image->write(size, {}));
    VARVE_EXPECT_OK(image->write_zeroes(size, 0));
    VARVE_EXPECT_OK(image->close());
  });
}

TEST_P(Requests, ThatChangeAreRefusedReadOnly) {
  run([](Ground& ground) {
    ground.create(small_disk(65536));
    const std::unique_ptr<Image> image = ground.open(false);
    ASSERT_NE(image, nullptr);
    const ByteVector bytes(65536);
    expect_error(image->write(0, bytes), ErrorCode::read_only);
    expect_error(image->write_zeroes(0, 4096), ErrorCode::read_only);
    expect_error(image->discard(0, 65536), ErrorCode::read_only);
    expect_error(image->write_compressed(0, bytes), ErrorCode::read_only);
    expect_error(image->grow(64u << 20), ErrorCode::read_only);
    VARVE_EXPECT_OK(image->flush());
    VARVE_EXPECT_OK(image->close());
  });
}

TEST_P(Requests, CompressedThenPartlyOverwritten) {
  run([](Ground& ground) {
    for (const Compression compression : {Compression::zlib, Compression::zstd}) {
      CreateOptions options = small_disk(65536);
      options.compression = compression;
      ground.create(options);
      const std::unique_ptr<Image> image = ground.open(true);
      ASSERT_NE(image, nullptr);
      ByteVector expected(image->size());
      for (unsigned i = 0; i < 8; ++i) {
        const ByteVector cluster = pattern(65536, i);
        VARVE_EXPECT_OK(image->write_compressed(i * 65536u, cluster));
        std::ranges::copy(cluster, expected.begin() + i * 65536);
      }
      EXPECT_TRUE(read_all(*image) == expected);
      for (const unsigned place : {1u, 65'536u, 3 * 65'536u + 100, 5 * 65'536u - 700}) {
        const ByteVector bytes = pattern(1400, place);
        VARVE_EXPECT_OK(image->write(place, bytes));
        std::ranges::copy(bytes, expected.begin() + place);
      }
      EXPECT_TRUE(read_all(*image) == expected);
      VARVE_EXPECT_OK(image->close());
      expect_qemu_clean(ground.path());
    }
  });
}

// History: ab5ccbd65d.
TEST(CompressedRequests, MustBeWholeClusters) {
  Ground ground(GroundKind::uring);
  ground.create(small_disk(65536));
  const std::unique_ptr<Image> image = ground.open(true);
  ASSERT_NE(image, nullptr);
  const ByteVector bytes = pattern(65536, 1);
  const std::span<const std::byte> all(bytes);
  expect_error(image->write_compressed(512, all), ErrorCode::invalid_argument);
  expect_error(image->write_compressed(0, all.first(65536 - 512)), ErrorCode::invalid_argument);
  // The disk's last cluster is shorter.
  VARVE_EXPECT_OK(image->write_compressed(3u << 20, all.first(512)));
  VARVE_EXPECT_OK(image->close());
  expect_qemu_clean(ground.path());
}

}  // namespace
}  // namespace varve::test
