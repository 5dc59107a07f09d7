// The loop for short transfers, as pure logic: a pretend system moves as little as the test says,
// at every length, and answers EINTR and EAGAIN in between. Checked: every byte ends where it
// belongs, reads past the end are zeros, and calls keep to the device's blocks.
#include "io/transfer.h"

#include <algorithm>
#include <cerrno>
#include <random>

#include <gtest/gtest.h>

#include "io/io_fixture.h"

namespace varve::test {
namespace {

// Moves what a call asks for, up to `limit` bytes, to and from a run of bytes.
class PretendSystem {
 public:
  PretendSystem(std::uint64_t block, ByteVector content)
      : bytes(std::move(content)), block_(block) {}

  std::int64_t run(const SystemCall& call, std::uint64_t limit) {
    ++calls;
    EXPECT_EQ(call.offset % block_, 0U) << "a device refuses to begin inside a block";
    std::vector<IoVector> vectors(call.vectors, call.vectors + call.vector_count);
    if (call.vector_count == 0) {
      vectors.push_back(call.single);
    }
    EXPECT_LE(vectors.size(), kCallVectorsMax);
    std::uint64_t asked = 0;
    std::uint64_t moved = 0;
    for (const IoVector& vector : vectors) {
      asked += vector.size;
      for (std::size_t i = 0; i < vector.size && moved < limit; ++i, ++moved) {
        const std::uint64_t at = call.offset + moved;
        if (call.kind == SystemCall::Kind::write) {
          bytes.resize(std::max<std::size_t>(bytes.size(), at + 1));
          bytes[at] = vector.data[i];
        } else if (at < bytes.size()) {
          vector.data[i] = bytes[at];
        } else {
          return static_cast<std::int64_t>(moved);
        }
      }
    }
    EXPECT_EQ(asked % block_, 0U);
    EXPECT_GT(asked, 0U);
    return static_cast<std::int64_t>(moved);
  }

  ByteVector bytes;
  int calls = 0;

 private:
  const std::uint64_t block_;
};

struct Transfer {
  Transfer(StorageOperation operation, std::uint64_t offset, const std::vector<std::size_t>& sizes,
           unsigned seed) {
    for (const std::size_t size : sizes) {
      parts.push_back(operation == StorageOperation::read ? ByteVector(size, std::byte{0xee})
                                                          : pattern(size, seed++));
    }
    for (ByteVector& part : parts) {
      vectors.push_back({part.data(), part.size()});
    }
    request.operation = operation;
    request.offset = offset;
    request.vectors = vectors.data();
    request.vector_count = static_cast<std::uint32_t>(vectors.size());
  }
  [[nodiscard]] ByteVector joined() const {
    ByteVector all;
    for (const ByteVector& part : parts) {
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
  StorageRequest request;
  std::vector<ByteVector> parts;
  std::vector<IoVector> vectors;
};

// Runs the transfer to its end; `limit_of(call number)` is the most a call moves, or -errno.
template <class LimitOf>
TransferStep drive(PretendSystem& system, StorageRequest& request, std::uint64_t block,
                   LimitOf limit_of, std::uint64_t known_size = ~std::uint64_t{0}) {
  for (int call = 0; call < 10'000; ++call) {
    const std::int64_t limit = limit_of(call);
    const SystemCall next = next_transfer_call(request, block);
    const std::int64_t result =
        limit < 0 ? limit : system.run(next, static_cast<std::uint64_t>(limit));
    const TransferStep step = account_transfer(request, block, result, known_size);
    if (step != TransferStep::again) {
      return step;
    }
  }
  ADD_FAILURE() << "the transfer does not end";
  return TransferStep::failed;
}

constexpr std::int64_t kAll = 1 << 20;
const std::vector<std::vector<std::size_t>> kShapes = {
    {48}, {16, 16, 16}, {0, 8, 0, 32, 8, 0}, {8, 40}, {1, 2, 3, 42}};

bool is_blocked(const std::vector<std::size_t>& shape) {
  return std::all_of(shape.begin(), shape.end(), [](std::size_t size) { return size % 8 == 0; });
}

TEST(Transfer, WritesGoOnAfterEveryShortLength) {
  for (const std::uint64_t block : {1U, 8U}) {
    for (const auto& shape : kShapes) {
      if (block > 1 && !is_blocked(shape)) {
        continue;
      }
      for (std::int64_t first = 1; first <= 48; ++first) {
        for (std::int64_t second = 1; second <= 48; ++second) {
          PretendSystem system(block, {});
          Transfer write(StorageOperation::write, 16, shape, 1);
          const TransferStep step = drive(system, write.request, block, [&](int call) {
            return call == 0 ? first : call == 1 ? std::max<std::int64_t>(second, 8) : kAll;
          });
          ASSERT_EQ(step, TransferStep::complete);
          ByteVector expected(16);
          const ByteVector data = write.joined();
          expected.insert(expected.end(), data.begin(), data.end());
          ASSERT_EQ(system.bytes, expected) << first << " " << second;
        }
      }
    }
  }
}

// History: c06fc7ce14.
TEST(Transfer, ReadsGoOnAfterEveryShortLengthAndFillWithZeros) {
  for (const std::uint64_t block : {1U, 8U}) {
    for (const auto& shape : kShapes) {
      if (block > 1 && !is_blocked(shape)) {
        continue;
      }
      for (std::size_t size = 0; size <= 70; ++size) {
        for (std::int64_t first = 1; first <= 48; ++first) {
          for (const std::uint64_t known : {std::uint64_t{size}, ~std::uint64_t{0}}) {
            PretendSystem system(block, pattern(size, 2));
            Transfer read(StorageOperation::read, 16, shape, 0);
            const TransferStep step = drive(
                system, read.request, block, [&](int call) { return call == 0 ? first : kAll; },
                known);
            ASSERT_EQ(step, TransferStep::complete);
            ByteVector expected = system.bytes;
            expected.resize(64);
            expected.erase(expected.begin(), expected.begin() + 16);
            ASSERT_EQ(read.joined(), expected) << size << " " << first << " " << known;
          }
        }
      }
    }
  }
}

TEST(Transfer, RepeatsInterruptedCallsAtEveryPosition) {
  for (const std::int64_t transient : {-EINTR, -EAGAIN}) {
    for (std::int64_t first = 1; first < 48; ++first) {
      PretendSystem system(1, {});
      Transfer write(StorageOperation::write, 0, {20, 28}, 3);
      const TransferStep step = drive(system, write.request, 1, [&](int call) {
        return call % 2 == 0 ? transient : call == 1 ? first : kAll;
      });
      ASSERT_EQ(step, TransferStep::complete);
      ASSERT_EQ(system.bytes, write.joined());
    }
  }
}

TEST(Transfer, EndsWithTheFirstRealError) {
  for (std::int64_t first = 1; first < 48; ++first) {
    PretendSystem system(1, {});
    Transfer write(StorageOperation::write, 0, {48}, 4);
    EXPECT_EQ(drive(system, write.request, 1,
                    [&](int call) { return call == 0 ? first : std::int64_t{-EIO}; }),
              TransferStep::failed);
    EXPECT_EQ(write.request.internal.done_bytes, static_cast<std::uint64_t>(first));
  }
}

TEST(Transfer, AWriteThatMovesNothingFails) {
  PretendSystem system(1, {});
  Transfer write(StorageOperation::write, 0, {48}, 5);
  EXPECT_EQ(drive(system, write.request, 1, [](int) { return std::int64_t{0}; }),
            TransferStep::failed);
}

TEST(Transfer, AWriteThatAdvancesWithinOneBlockOnlyFailsInsteadOfLooping) {
  PretendSystem system(8, {});
  Transfer write(StorageOperation::write, 0, {48}, 6);
  EXPECT_EQ(drive(system, write.request, 8, [](int) { return std::int64_t{3}; }),
            TransferStep::failed);
}

TEST(Transfer, AShortReadAtTheKnownEndIsNotAskedAgain) {
  PretendSystem system(1, pattern(30, 7));
  Transfer read(StorageOperation::read, 0, {48}, 0);
  EXPECT_EQ(drive(
                system, read.request, 1, [](int) { return kAll; }, 30),
            TransferStep::complete);
  EXPECT_EQ(system.calls, 1);
}

TEST(Transfer, ZerosAreWrittenToTheEndAtEveryShortLength) {
  std::mt19937_64 random(test_seed());
  for (const std::uint64_t length : {1U, 511U, 65'536U, 65'537U, 200'000U}) {
    for (int round = 0; round < 20; ++round) {
      PretendSystem system(1, pattern(300'000, 8));
      StorageRequest request;
      request.operation = StorageOperation::write_zeroes;
      request.offset = 1000;
      request.length = length;
      const TransferStep step = drive(system, request, 1, [&](int) {
        return static_cast<std::int64_t>(1 + random() % 150'000);
      });
      ASSERT_EQ(step, TransferStep::complete);
      ByteVector expected = pattern(300'000, 8);
      std::fill_n(expected.begin() + 1000, length, std::byte{0});
      ASSERT_EQ(system.bytes, expected);
    }
  }
}

TEST(Transfer, HugeRequestsAreCutToWhatOneCallMoves) {
  // No memory of that size is touched: only the calls are planned.
  std::byte anchor{};
  const std::vector<IoVector> vectors = {{&anchor, std::size_t{5} << 30},
                                         {&anchor, std::size_t{1} << 30},
                                         {&anchor, std::size_t{1} << 30},
                                         {&anchor, std::size_t{1} << 30}};
  StorageRequest request;
  request.operation = StorageOperation::write;
  request.vectors = vectors.data();
  request.vector_count = 4;
  SystemCall call = next_transfer_call(request, 4096);
  EXPECT_EQ(call.vector_count, 0U);
  EXPECT_EQ(call.single.size, kCallBytesMax);
  request.internal.done_bytes = std::uint64_t{5} << 30;
  call = next_transfer_call(request, 4096);
  EXPECT_EQ(call.vector_count, 1U);
  EXPECT_EQ(call.vectors, &vectors[1]);
  request.internal.done_bytes = std::uint64_t{8} << 30;
  EXPECT_EQ(account_transfer(request, 4096, 0, 0), TransferStep::failed);
}

}  // namespace
}  // namespace varve::test
