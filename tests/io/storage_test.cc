// Every storage keeps the same promises: one suite, run over memory, io_uring and threads, cached
// and direct, with 512-byte and with 4 KiB device blocks, and over a loop device where root has
// one.
#include <algorithm>
#include <array>
#include <cstdio>
#include <random>

#include "base/buffer.h"
#include "base/bytes.h"
#include "io/file_storage.h"
#include "io/io_fixture.h"
#include "io/loop_device.h"

namespace varve::test {
namespace {

struct Kind {
  const char* name;
  AioBackend backend;
  bool memory = false;
  bool direct = false;
  std::uint32_t block = 1;
  bool loop = false;
  unsigned depth = 256;
};

constexpr std::uint64_t kLoopBytes = 8 << 20;

class StorageSuite : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    const Kind& kind = GetParam();
    engine = make_engine(kind.backend, kind.depth);
    if (engine == nullptr) {
      VARVE_MACHINE_LACKS("io_uring is refused here");
    }
    if (kind.memory) {
      storage = std::move(*make_memory_storage(*engine, 0));
      return;
    }
    FileOptions options;
    options.writable = true;
    options.direct = kind.direct;
    std::string path = folder.file("disk");
    if (kind.loop) {
      if (!device.attach(folder.file("backing"), kLoopBytes, kind.block)) {
        VARVE_MACHINE_LACKS("no loop device");
      }
      path = device.path();
    } else {
      options.create = true;
    }
    Result<std::unique_ptr<Storage>> opened =
        open_file_with_blocks(*engine, path, options, kind.direct && !kind.loop ? kind.block : 1);
    if (!opened && opened.error().code == ErrorCode::unsupported) {
      VARVE_MACHINE_LACKS(describe(opened.error()));
    }
    ASSERT_TRUE(opened.has_value()) << describe(opened.error());
    storage = std::move(*opened);
  }
  // The size told is the file's own.
  void TearDown() override {
    std::error_code error;
    const std::uintmax_t size = std::filesystem::file_size(folder.file("disk"), error);
    if (storage != nullptr && !error) {
      EXPECT_EQ(storage->size(), size);
    }
  }
  [[nodiscard]] bool is_device() const { return GetParam().loop; }
  [[nodiscard]] std::uint64_t end_of(std::uint64_t size) const {
    return is_device() ? kLoopBytes : size;
  }

  Folder folder;
  LoopDevice device;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Storage> storage;
};

TEST_P(StorageSuite, ReadsBackWhatWasWritten) {
  const ByteVector bytes = pattern(100'000, 1);
  VARVE_ASSERT_OK(write(*storage, 0, bytes));
  EXPECT_EQ(read(*storage, 0, bytes.size()), bytes);
  EXPECT_EQ(storage->size(), end_of(bytes.size()));
}

TEST_P(StorageSuite, ReadsZerosPastTheEnd) {
  const ByteVector bytes = pattern(1000, 2);
  VARVE_ASSERT_OK(write(*storage, 0, bytes));
  ByteVector expected = bytes;
  expected.resize(10'000);
  EXPECT_EQ(read(*storage, 0, 10'000), expected);
  EXPECT_EQ(read(*storage, end_of(1000) + 5000, 3000), ByteVector(3000));
  EXPECT_EQ(storage->size(), end_of(1000));
}

TEST_P(StorageSuite, MovesVectorsOfEverySize) {
  // Zero-sized, odd and large vectors in one request, at an odd place.
  const std::array<std::size_t, 7> sizes = {0, 1, 511, 4096, 0, 70'000, 13};
  std::vector<ByteVector> parts;
  std::vector<IoVector> vectors;
  ByteVector expected;
  for (const std::size_t size : sizes) {
    parts.push_back(pattern(size, static_cast<unsigned>(size)));
    expected.insert(expected.end(), parts.back().begin(), parts.back().end());
  }
  for (ByteVector& part : parts) {
    vectors.push_back({part.data(), part.size()});
  }
  Io io;
  io.operation = StorageOperation::write;
  io.offset = 12'345;
  io.vectors = vectors.data();
  io.vector_count = static_cast<std::uint32_t>(vectors.size());
  VARVE_ASSERT_OK(run(*storage, io));
  EXPECT_EQ(read(*storage, 12'345, expected.size()), expected);
  for (ByteVector& part : parts) {
    std::fill(part.begin(), part.end(), std::byte{0});
  }
  io.operation = StorageOperation::read;
  VARVE_ASSERT_OK(run(*storage, io));
  ByteVector found;
  for (const ByteVector& part : parts) {
    found.insert(found.end(), part.begin(), part.end());
  }
  EXPECT_EQ(found, expected);
}

TEST_P(StorageSuite, TakesMoreVectorsThanOneCallCan) {
  const std::size_t count = 3000;
  ByteVector bytes = pattern(count * 8, 3);
  std::vector<IoVector> vectors;
  for (std::size_t i = 0; i < count; ++i) {
    vectors.push_back({bytes.data() + i * 8, 8});
  }
  Io io;
  io.operation = StorageOperation::write;
  io.vectors = vectors.data();
  io.vector_count = count;
  VARVE_ASSERT_OK(run(*storage, io));
  EXPECT_EQ(read(*storage, 0, bytes.size()), bytes);
}

TEST_P(StorageSuite, BouncesLongUnalignedRequestsInPieces) {
  const ByteVector bytes = pattern(3'500'001, 4);
  VARVE_ASSERT_OK(write(*storage, 777, bytes));
  EXPECT_EQ(read(*storage, 777, bytes.size()), bytes);
  EXPECT_EQ(read(*storage, 0, 777), ByteVector(777));
  EXPECT_EQ(storage->size(), end_of(bytes.size() + 777));
}

TEST_P(StorageSuite, AcceptsEmptyRequests) {
  VARVE_EXPECT_OK(write(*storage, 100, {}));
  EXPECT_TRUE(read(*storage, 100, 0).empty());
  VARVE_EXPECT_OK(run(*storage, StorageOperation::write_zeroes, 5000, 0));
  VARVE_EXPECT_OK(run(*storage, StorageOperation::discard, 5000, 0));
  VARVE_EXPECT_OK(run(*storage, StorageOperation::allocate, 5000, 0));
  EXPECT_EQ(storage->size(), end_of(0));
}

TEST_P(StorageSuite, FlushesWhatWasWritten) {
  VARVE_ASSERT_OK(write(*storage, 0, pattern(5000, 5)));
  VARVE_EXPECT_OK(run(*storage, StorageOperation::flush, 0));
}

TEST_P(StorageSuite, WritesZerosAnywhereAndExtends) {
  const ByteVector bytes = pattern(30'000, 6);
  VARVE_ASSERT_OK(write(*storage, 0, bytes));
  VARVE_ASSERT_OK(run(*storage, StorageOperation::write_zeroes, 4096, 8192));
  VARVE_ASSERT_OK(run(*storage, StorageOperation::write_zeroes, 20'001, 777));
  ByteVector expected = bytes;
  std::fill_n(expected.begin() + 4096, 8192, std::byte{0});
  std::fill_n(expected.begin() + 20'001, 777, std::byte{0});
  EXPECT_EQ(read(*storage, 0, bytes.size()), expected);
  VARVE_ASSERT_OK(run(*storage, StorageOperation::write_zeroes, 29'999, 300'000));
  expected.resize(329'999);
  expected[29'999] = std::byte{0};
  EXPECT_EQ(read(*storage, 0, expected.size()), expected);
  EXPECT_EQ(storage->size(), end_of(329'999));
}

TEST_P(StorageSuite, ResizesAndNewBytesAreZero) {
  VARVE_ASSERT_OK(write(*storage, 0, pattern(10'000, 7)));
  const Result<void> shrunk = run(*storage, StorageOperation::resize, 5001);
  if (is_device()) {
    ASSERT_FALSE(shrunk.has_value());
    EXPECT_EQ(shrunk.error().code, ErrorCode::unsupported);
    return;
  }
  VARVE_ASSERT_OK(shrunk);
  EXPECT_EQ(storage->size(), 5001U);
  VARVE_ASSERT_OK(run(*storage, StorageOperation::resize, 20'000));
  EXPECT_EQ(storage->size(), 20'000U);
  ByteVector expected = pattern(10'000, 7);
  expected.resize(5001);
  expected.resize(20'000);
  EXPECT_EQ(read(*storage, 0, 20'000), expected);
}

// History: cloud-hypervisor e737d61a0.
TEST_P(StorageSuite, DiscardsKeepTheSizeAndReadAsZerosWherePromised) {
  const ByteVector bytes = pattern(200'000, 8);
  VARVE_ASSERT_OK(write(*storage, 0, bytes));
  const Result<void> discarded = run(*storage, StorageOperation::discard, 4096, 131'072);
  if (!discarded) {
    EXPECT_EQ(discarded.error().code, ErrorCode::unsupported);
    return;
  }
  ByteVector expected = bytes;
  if (storage->capabilities().discard_zeroes) {
    std::fill_n(expected.begin() + 4096, 131'072, std::byte{0});
    EXPECT_EQ(read(*storage, 0, bytes.size()), expected);
  }
  EXPECT_EQ(read(*storage, 0, 4096), ByteVector(bytes.begin(), bytes.begin() + 4096));
  EXPECT_EQ(storage->size(), end_of(200'000));
}

TEST_P(StorageSuite, AllocatesWithoutChangingContentOrSize) {
  const ByteVector bytes = pattern(10'000, 9);
  VARVE_ASSERT_OK(write(*storage, 0, bytes));
  VARVE_ASSERT_OK(run(*storage, StorageOperation::allocate, 0, 1'000'000));
  EXPECT_EQ(read(*storage, 0, bytes.size()), bytes);
  EXPECT_EQ(storage->size(), end_of(10'000));
}

TEST_P(StorageSuite, DevicesRefuseToGrow) {
  if (!is_device()) {
    GTEST_SKIP() << "grows";
  }
  EXPECT_TRUE(storage->capabilities().fixed_size);
  for (const std::uint64_t offset : {kLoopBytes, kLoopBytes - 512}) {
    const Result<void> result = write(*storage, offset, pattern(1024, 1));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, ErrorCode::out_of_range);
    EXPECT_EQ(result.error().offset, offset);
  }
  const Result<void> zeroed =
      run(*storage, StorageOperation::write_zeroes, kLoopBytes - 4096, 8192);
  ASSERT_FALSE(zeroed.has_value());
  EXPECT_EQ(zeroed.error().code, ErrorCode::out_of_range);
}

TEST_P(StorageSuite, RefusesOffsetsBeyondTheLargestFile) {
  for (const std::uint64_t offset :
       {~std::uint64_t{0}, std::uint64_t{1} << 63, (std::uint64_t{1} << 63) - 100}) {
    ByteVector bytes(4096);
    const Result<void> result =
        transfer(*storage, StorageOperation::read, offset, bytes.data(), bytes.size());
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, ErrorCode::out_of_range);
  }
}

// History: cloud-hypervisor 477223595.
TEST_P(StorageSuite, NeighboursInOneBlockDoNotLoseEachOther) {
  // Small writes to the same device blocks, all in flight together, some crossing blocks.
  constexpr std::size_t kPiece = 100;
  constexpr std::size_t kCount = 300;
  ByteVector bytes = pattern(kPiece * kCount, 10);
  std::vector<std::unique_ptr<Io>> requests;
  std::vector<IoVector> vectors(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    const std::size_t place = (i * 7) % kCount;  // Every place once.
    vectors[i] = {bytes.data() + place * kPiece, kPiece};
    auto io = std::make_unique<Io>();
    io->operation = StorageOperation::write;
    io->offset = place * kPiece;
    io->vectors = &vectors[i];
    io->vector_count = 1;
    io->start(*storage);
    requests.push_back(std::move(io));
  }
  for (const auto& io : requests) {
    while (!io->result.has_value()) {
      engine->wait();
    }
    VARVE_EXPECT_OK(*io->result);
  }
  EXPECT_EQ(read(*storage, 0, bytes.size()), bytes);
  EXPECT_EQ(storage->size(), end_of(bytes.size()));
}

TEST_P(StorageSuite, ASmallWriteDoesNotUndoALargeOneAroundIt) {
  // Both in flight: only the bytes of the small one may come from either.
  constexpr std::size_t kBlocks = 32;
  constexpr std::size_t kBytes = kBlocks * 4096;
  Buffer large = std::move(*Buffer::allocate(kBytes));
  const ByteVector before = pattern(kBytes, 12);
  const ByteVector after = pattern(kBytes, 13);
  ByteVector small(64, std::byte{0x5a});
  for (int round = 0; round < 10; ++round) {
    VARVE_ASSERT_OK(write(*storage, 0, before));
    copy_bytes(large.bytes(), after);
    std::vector<Io> requests(2 * kBlocks);
    std::vector<IoVector> vectors(2 * kBlocks);
    for (std::size_t i = 0; i < 2 * kBlocks; ++i) {
      const std::size_t block = i / 2;
      const bool is_small = (i + static_cast<std::size_t>(round)) % 2 == 0;
      vectors[i] = is_small ? IoVector{small.data(), small.size()}
                            : IoVector{large.data() + block * 4096, 4096};
      requests[i].operation = StorageOperation::write;
      requests[i].offset = block * 4096 + (is_small ? 1000 : 0);
      requests[i].vectors = &vectors[i];
      requests[i].vector_count = 1;
      requests[i].start(*storage);
    }
    for (Io& io : requests) {
      while (!io.result.has_value()) {
        engine->wait();
      }
      VARVE_EXPECT_OK(*io.result);
    }
    const ByteVector found = read(*storage, 0, kBytes);
    for (std::size_t at = 0; at < kBytes; ++at) {
      const bool in_small = at % 4096 >= 1000 && at % 4096 < 1064;
      ASSERT_TRUE(found[at] == after[at] || (in_small && found[at] == small[0])) << at;
    }
  }
}

// What a storage should hold: a plain run of bytes.
class Model {
 public:
  explicit Model(std::size_t size) : bytes_(size) {}
  void grow(std::size_t end) {
    if (end > bytes_.size()) {
      bytes_.resize(end);
    }
  }
  ByteVector bytes_;
};

TEST_P(StorageSuite, AgreesWithAModelUnderRandomRequests) {
  std::mt19937_64 random(test_seed());
  constexpr std::size_t kSpace = 100'000;
  Model model(is_device() ? kLoopBytes : 0);
  if (is_device()) {
    VARVE_ASSERT_OK(run(*storage, StorageOperation::write_zeroes, 0, kLoopBytes));
  }
  const auto below = [&](std::uint64_t limit) { return random() % limit; };
  for (int round = 0; round < 150; ++round) {
    std::uint64_t offset = below(kSpace);
    std::uint64_t length = 1 + below(20'000);
    if (below(3) == 0) {
      offset &= ~std::uint64_t{4095};
      length = (length | 4095) + 1;
    }
    const std::uint64_t end = offset + length;
    switch (below(6)) {
      case 0:
      case 1:
      case 2: {
        const ByteVector bytes = pattern(length, static_cast<unsigned>(round));
        VARVE_ASSERT_OK(write(*storage, offset, bytes));
        model.grow(end);
        std::copy(bytes.begin(), bytes.end(),
                  model.bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
        break;
      }
      case 3:
        VARVE_ASSERT_OK(run(*storage, StorageOperation::write_zeroes, offset, length));
        model.grow(end);
        std::fill_n(model.bytes_.begin() + static_cast<std::ptrdiff_t>(offset), length,
                    std::byte{0});
        break;
      case 4:
        if (!is_device()) {
          VARVE_ASSERT_OK(run(*storage, StorageOperation::resize, offset));
          model.bytes_.resize(offset);
        }
        break;
      default:
        if (storage->capabilities().discard_zeroes) {
          VARVE_ASSERT_OK(run(*storage, StorageOperation::discard, offset, length));
          for (std::uint64_t at = offset; at < std::min<std::uint64_t>(end, model.bytes_.size());
               ++at) {
            model.bytes_[at] = std::byte{0};
          }
        }
        break;
    }
    ASSERT_EQ(storage->size(), model.bytes_.size());
    ByteVector expected(length + 1000);
    for (std::uint64_t i = 0; i < expected.size() && offset + i < model.bytes_.size(); ++i) {
      expected[i] = model.bytes_[offset + i];
    }
    ASSERT_EQ(read(*storage, offset, expected.size()), expected);
  }
}

// History: 292d06b925.
TEST_P(StorageSuite, ManyUnorderedExtendingWritesLeaveTheExactSize) {
  // Unaligned ends past the end of the file, together with aligned growth further out.
  if (is_device()) {
    GTEST_SKIP() << "does not grow";
  }
  constexpr std::size_t kCount = 64;
  constexpr std::size_t kStride = 10'000;
  std::vector<ByteVector> contents;
  std::vector<IoVector> vectors(kCount);
  std::vector<std::unique_ptr<Io>> requests;
  for (std::size_t i = 0; i < kCount; ++i) {
    contents.push_back(pattern(1 + (i * 911) % 9000, static_cast<unsigned>(i)));
  }
  for (std::size_t n = 0; n < kCount; ++n) {
    const std::size_t i = (n * 37) % kCount;
    vectors[i] = {contents[i].data(), contents[i].size()};
    auto io = std::make_unique<Io>();
    io->operation = StorageOperation::write;
    io->offset = i * kStride;
    io->vectors = &vectors[i];
    io->vector_count = 1;
    io->start(*storage);
    requests.push_back(std::move(io));
  }
  for (const auto& io : requests) {
    while (!io->result.has_value()) {
      engine->wait();
    }
    VARVE_EXPECT_OK(*io->result);
  }
  for (std::size_t i = 0; i < kCount; ++i) {
    ByteVector expected = contents[i];
    expected.resize(kStride);
    EXPECT_EQ(read(*storage, i * kStride, kStride), expected) << i;
  }
  EXPECT_EQ(storage->size(), (kCount - 1) * kStride + contents[kCount - 1].size());
}

TEST_P(StorageSuite, GrowthFromWithinABlockKeepsApartFromWritesIntoIt) {
  // The kernel zeroes the rest of a cut block through its page cache. Where that meets a direct
  // write into the same page, the next flush fails.
  if (is_device()) {
    GTEST_SKIP() << "does not grow";
  }
  constexpr std::size_t kSector = 512;
  constexpr std::size_t kWriters = 4;
  Buffer bytes = std::move(*Buffer::allocate(kSector));
  IoVector vector = {bytes.bytes().data(), kSector};
  for (std::uint64_t round = 0; round < 25; ++round) {
    const std::uint64_t block = round * 8192;
    const std::uint64_t end = block + kWriters * kSector;
    VARVE_ASSERT_OK(run(*storage, StorageOperation::resize, end));
    std::vector<Io> requests(kWriters + 1);
    requests[kWriters / 2].operation = StorageOperation::resize;
    requests[kWriters / 2].offset = block + 8192;
    for (std::size_t i = 0; i < kWriters; ++i) {
      Io& io = requests[i < kWriters / 2 ? i : i + 1];
      io.operation = StorageOperation::write;
      io.offset = block + i * kSector;
      io.vectors = &vector;
      io.vector_count = 1;
    }
    for (Io& io : requests) {
      io.start(*storage);
    }
    for (Io& io : requests) {
      while (!io.result.has_value()) {
        engine->wait();
      }
      VARVE_EXPECT_OK(*io.result);
    }
    VARVE_ASSERT_OK(run(*storage, StorageOperation::flush, 0));
  }
}

TEST_P(StorageSuite, ACallbackMaySubmitAgainAndDestroyItsRequest) {
  struct Chain : StorageRequest {
    Storage* storage = nullptr;
    int* left = nullptr;
    IoVector vector;
    ByteVector bytes = pattern(512, 11);
    static void begin(Storage& target, int& count) {
      auto chain = std::make_unique<Chain>();
      chain->storage = &target;
      chain->left = &count;
      chain->operation = StorageOperation::write;
      chain->vector = {chain->bytes.data(), chain->bytes.size()};
      chain->vectors = &chain->vector;
      chain->vector_count = 1;
      chain->offset = static_cast<std::uint64_t>(count) * 512;
      chain->complete = [](StorageRequest& request, const Result<void>& result) {
        VARVE_EXPECT_OK(result);
        const std::unique_ptr<Chain> self(&static_cast<Chain&>(request));
        if (--*self->left > 0) {
          begin(*self->storage, *self->left);
        }
      };
      StorageRequest& request = *chain.release();
      target.submit(request);
    }
  };
  int left = 50;
  Chain::begin(*storage, left);
  while (left > 0) {
    engine->wait();
  }
  EXPECT_EQ(read(*storage, 512, 512), pattern(512, 11));
}

// History: 38c4d0aea3.
TEST_P(StorageSuite, TellsHolesFromDataWhereItCan) {
  constexpr std::uint64_t kMegabyte = 1 << 20;
  VARVE_ASSERT_OK(write(*storage, 2 * kMegabyte, pattern(kMegabyte, 14)));
  if (!is_device()) {
    VARVE_ASSERT_OK(run(*storage, StorageOperation::resize, 6 * kMegabyte));
  }
  // Data is never called a hole; every byte is told of by going on from extent to extent.
  std::uint64_t hole_bytes = 0;
  for (std::uint64_t at = 0; at < 6 * kMegabyte;) {
    const StorageExtent extent = storage->extent_at(at, 6 * kMegabyte - at);
    ASSERT_GT(extent.length, 0U);
    ASSERT_LE(extent.length, 6 * kMegabyte - at);
    if (!extent.is_data) {
      hole_bytes += extent.length;
      EXPECT_EQ(read(*storage, at, extent.length), ByteVector(extent.length));
    }
    at += extent.length;
  }
  EXPECT_EQ(hole_bytes, is_device() ? 0 : 5 * kMegabyte);
}

TEST_P(StorageSuite, IsTheSameFileOnlyAsItself) {
  EXPECT_TRUE(storage->is_same_file(*storage));
  const std::unique_ptr<Storage> other = std::move(*make_memory_storage(*engine, 0));
  EXPECT_FALSE(storage->is_same_file(*other));
}

INSTANTIATE_TEST_SUITE_P(
    All, StorageSuite,
    ::testing::Values(
        Kind{.name = "memory", .backend = AioBackend::automatic, .memory = true},
        Kind{.name = "uring", .backend = AioBackend::io_uring},
        Kind{.name = "uring_narrow", .backend = AioBackend::io_uring, .depth = 2},
        Kind{.name = "uring_direct", .backend = AioBackend::io_uring, .direct = true},
        Kind{.name = "uring_direct_4k",
             .backend = AioBackend::io_uring,
             .direct = true,
             .block = 4096},
        Kind{.name = "threads", .backend = AioBackend::threads},
        Kind{.name = "threads_direct", .backend = AioBackend::threads, .direct = true},
        Kind{.name = "threads_direct_4k",
             .backend = AioBackend::threads,
             .direct = true,
             .block = 4096},
        Kind{.name = "uring_loop", .backend = AioBackend::io_uring, .block = 512, .loop = true},
        Kind{.name = "uring_direct_loop_4k",
             .backend = AioBackend::io_uring,
             .direct = true,
             .block = 4096,
             .loop = true},
        Kind{.name = "threads_direct_loop",
             .backend = AioBackend::threads,
             .direct = true,
             .block = 512,
             .loop = true}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace varve::test
