// Goal: requests that want the same few things at once (copy buffers, tables in memory, clusters,
// room to remember what was dropped) wait for each other, end, and write what they were told.
// Method: more requests in flight than there is of each; some of them are kept back while others
// overtake them, and what a table says is changed meanwhile.
#include <deque>

#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>

#include "base/failure.h"
#include "image/simulated_disks.h"
#include "sim/held_storage.h"

namespace varve::test {
namespace {

// One table maps 32 KiB.
constexpr std::uint64_t kTiny = 512;
constexpr std::uint64_t kTinyTable = 32 * 1024;

class Contention : public SimulatedDisks {
 protected:
  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& file) override {
    auto storage = SimulatedDisks::open(engine, name, file);
    return std::unique_ptr<Storage>(std::make_unique<sim::HeldStorage>(std::move(*storage), held_));
  }
  static CreateOptions tiny_clusters() {
    CreateOptions options;
    options.cluster_bytes = kTiny;
    options.size_bytes = 16 * kTinyTable;
    return options;
  }
  void hold(IoTag tag, StorageOperation operation = StorageOperation::write) {
    held_.tag = tag;
    held_.operation = operation;
  }
  void run_until_held(std::size_t count) {
    for (unsigned i = 0; i < 10'000 && held_.size() < count; ++i) {
      engine_->poll();
    }
    ASSERT_EQ(held_.size(), count);
  }
  // So that no other table is in the two-table cache any more.
  static void read_other_tables(Image& image) {
    for (std::uint64_t slot = 8; slot < 12; ++slot) {
      ByteVector bytes(kTiny);
      VARVE_EXPECT_OK(image.read(slot * kTinyTable, bytes));
    }
  }

  sim::HeldRequests held_;
};

// Of the largest clusters there are four buffers for each purpose.
TEST_F(Contention, ForBuffersLetsEveryRequestHaveOne) {
  constexpr std::uint64_t kLarge = 2 << 20;
  constexpr std::uint64_t kRequests = 5;
  CreateOptions large;
  large.cluster_bytes = kLarge;
  large.size_bytes = 2 * kRequests * kLarge;
  make(large);
  {
    const auto image = open_image();
    std::deque<Asked> asked;
    for (std::uint64_t i = 0; i < kRequests; ++i) {
      asked.emplace_back(*image, BlockOperation::write_compressed, i * kLarge, kLarge,
                         static_cast<int>(i + 1));
    }
    for (Asked& one : asked) {
      VARVE_EXPECT_OK(one.wait());
    }
    // The bytes around each write come out of a compressed cluster.
    for (std::uint64_t i = 0; i < kRequests; ++i) {
      asked.emplace_back(*image, BlockOperation::write, i * kLarge + 4096, 512, 100);
    }
    for (Asked& one : asked) {
      VARVE_EXPECT_OK(one.wait());
    }
    for (std::uint64_t i = 0; i < kRequests; ++i) {
      asked.emplace_back(*image, BlockOperation::write_compressed, (kRequests + i) * kLarge, kLarge,
                         static_cast<int>(i + 1));
    }
    for (Asked& one : asked) {
      VARVE_EXPECT_OK(one.wait());
    }
    VARVE_EXPECT_OK(image->close());
  }
  const auto image = open_image(options(false));
  std::deque<Asked> asked;
  for (std::uint64_t i = 0; i < 2 * kRequests; ++i) {
    asked.emplace_back(*image, BlockOperation::read, i * kLarge, 8192);
  }
  for (std::uint64_t i = 0; i < 2 * kRequests; ++i) {
    VARVE_EXPECT_OK(asked[i].wait());
    ByteVector expected = filled(8192, static_cast<int>(i % kRequests + 1));
    std::fill_n(expected.begin() + 4096, i < kRequests ? 512 : 0, std::byte{100});
    EXPECT_TRUE(asked[i].memory == expected) << i;
  }
  VARVE_EXPECT_OK(image->close());
  expect_sound();
}

// Who waits for a buffer and fails meanwhile leaves it to the next.
TEST_F(Contention, ForABufferGoesOnWhenAReaderGivesUp) {
  constexpr std::uint64_t kLarge = 2 << 20;
  CreateOptions large;
  large.cluster_bytes = kLarge;
  large.size_bytes = 16 * kLarge;
  make(large);
  const auto image = open_image();
  // Each odd cluster is compressed, the even ones are data.
  for (std::uint64_t i = 0; i < 14; ++i) {
    const ByteVector bytes = filled(kLarge, static_cast<int>(i + 1));
    VARVE_ASSERT_OK(i % 2 == 0 ? image->write(i * kLarge, bytes)
                               : image->write_compressed(i * kLarge, bytes));
  }
  hold(IoTag::compressed_data, StorageOperation::read);
  std::deque<Asked> asked;
  for (std::uint64_t i = 0; i < 4; ++i) {
    asked.emplace_back(*image, BlockOperation::read, (2 * i + 1) * kLarge, kLarge);
  }
  run_until_held(4);
  // Both want a buffer for their second cluster; the first one's first cluster cannot be read.
  sim::FaultRule rule;
  rule.tag = IoTag::guest_data;
  rule.operation = StorageOperation::read;
  plan_.add(rule);
  asked.emplace_back(*image, BlockOperation::read, 8 * kLarge, 2 * kLarge);
  for (unsigned i = 0; i < 10; ++i) {
    engine_->poll();
  }
  asked.emplace_back(*image, BlockOperation::read, 10 * kLarge, 2 * kLarge);
  for (unsigned i = 0; i < 10; ++i) {
    engine_->poll();
  }
  EXPECT_EQ(held_.size(), 4u);
  held_.let_all_go();
  for (std::uint64_t i = 0; i < 4; ++i) {
    VARVE_EXPECT_OK(asked[i].wait());
    EXPECT_TRUE(asked[i].memory == filled(kLarge, static_cast<int>(2 * i + 2)));
  }
  expect_error(asked[4].wait(), ErrorCode::io);
  VARVE_EXPECT_OK(asked[5].wait());
  EXPECT_EQ(asked[5].memory.front(), std::byte{11});
  EXPECT_EQ(asked[5].memory.back(), std::byte{12});
  VARVE_EXPECT_OK(image->close());
}

// Writes wait for another one's clusters; the other fails, and the table has gone from memory.
// Meanwhile the file is damaged by whoever else can write it: that is told, not followed.
TEST_F(Contention, ForClustersLooksAgainAtATableThatWasPutAway) {
  for (const bool is_damaged : {false, true}) {
    SCOPED_TRACE(is_damaged);
    make(tiny_clusters());
    {
      const auto image = open_image();
      for (std::uint64_t slot = 0; slot < 16; ++slot) {
        VARVE_EXPECT_OK(image->write(slot * kTinyTable + 3 * kTiny, filled(kTiny, 1)));
      }
      VARVE_EXPECT_OK(image->close());
    }
    const auto image = open_image(options_without_memory());
    VARVE_EXPECT_OK(image->write(15 * kTinyTable, filled(kTiny, 1)));
    VARVE_EXPECT_OK(image->flush());
    hold(IoTag::guest_data);
    // New clusters for the first three, up to the one in use.
    Asked first(*image, BlockOperation::write, 0, 4 * kTiny, 2);
    run_until_held(1);
    Asked second(*image, BlockOperation::write, 3 * kTiny, 100, 3);
    Asked third(*image, BlockOperation::write, 0, kTiny, 4);
    read_other_tables(*image);
    EXPECT_EQ(held_.size(), 1u) << "the other writes did not wait";
    if (is_damaged) {
      put<std::uint64_t>(entry_place(0, 3), get(entry_place(0, 3)) | 0x10);
    }
    held_.let_go(failure(ErrorCode::io, "kept back for ever"));
    expect_error(first.wait(), ErrorCode::io);
    held_.tag = IoTag::none;
    if (is_damaged) {
      expect_error(second.wait(), ErrorCode::corrupt);
    } else {
      VARVE_EXPECT_OK(second.wait());
      VARVE_EXPECT_OK(third.wait());
      expect_bytes(*image, 0, kTiny, 4);
      expect_bytes(*image, kTiny, 2 * kTiny, 0);
      expect_bytes(*image, 3 * kTiny, 100, 3);
      expect_bytes(*image, 3 * kTiny + 100, kTiny - 100, 1);
    }
    static_cast<void>(image->close());
  }
}

// A raw data file holds the zeros itself, whoever waited for whom.
TEST_F(Contention, ForClustersOfARawDataFileZeroesItEachTime) {
  CreateOptions raw_data = small();
  raw_data.data_file_name = "data";
  raw_data.data_file_raw = true;
  make(raw_data);
  const auto image = open_image();
  VARVE_EXPECT_OK(image->write(0, filled(64 * 1024, 5)));
  VARVE_EXPECT_OK(image->flush());
  hold(IoTag::guest_data, StorageOperation::write_zeroes);
  Asked first(*image, BlockOperation::write_zeroes, 0, 32 * 1024);
  run_until_held(1);
  Asked second(*image, BlockOperation::write_zeroes, 16 * 1024, 32 * 1024);
  for (unsigned i = 0; i < 10; ++i) {
    engine_->poll();
  }
  EXPECT_EQ(held_.size(), 1u) << "the second one did not wait";
  held_.let_go();
  VARVE_EXPECT_OK(first.wait());
  run_until_held(1);
  held_.let_all_go();
  VARVE_EXPECT_OK(second.wait());
  VARVE_EXPECT_OK(image->close());
  ByteVector bytes(64 * 1024);
  disks_["/data"].content.read(0, bytes);
  ByteVector expected = filled(64 * 1024, 5);
  std::fill_n(expected.begin(), 48 * 1024, std::byte{0});
  EXPECT_TRUE(bytes == expected);
}

// So many clusters are dropped one by one that they must be durable before more are.
class Dropping : public Contention, public ::testing::WithParamInterface<BlockOperation> {
 protected:
  static constexpr std::uint64_t kClusters = 4'400;
  static void change(Image& image, BlockOperation how, std::uint64_t offset, std::uint64_t bytes) {
    Asked asked(image, how, offset, bytes, 9);
    VARVE_ASSERT_OK(asked.wait());
  }
};
INSTANTIATE_TEST_SUITE_P(Each, Dropping,
                         ::testing::Values(BlockOperation::write, BlockOperation::write_compressed,
                                           BlockOperation::discard));

TEST_P(Dropping, MoreClustersThanAreRememberedWaitsForAFlush) {
  CreateOptions options = tiny_clusters();
  options.size_bytes = kClusters * kTiny;
  make(options);
  const auto image = open_image();
  // Neighbours on the disk are none in the file, and each replaces one that is in use elsewhere.
  for (std::uint64_t i = kClusters; i-- > 0;) {
    VARVE_ASSERT_OK(image->write(i * kTiny, filled(kTiny, 1)));
  }
  VARVE_ASSERT_OK(create_snapshot(*image, {}));
  const std::uint64_t flushes = image->counters().flushes;
  if (GetParam() == BlockOperation::discard) {
    change(*image, GetParam(), 0, kClusters * kTiny);
  } else {
    for (std::uint64_t i = 0; i < kClusters; ++i) {
      change(*image, GetParam(), i * kTiny, kTiny);
    }
  }
  EXPECT_GT(image->counters().flushes, flushes);
  expect_bytes(*image, 0, kClusters * kTiny, GetParam() == BlockOperation::discard ? 0 : 9);
  const auto snapshot = open_snapshot(*image, 0);
  VARVE_ASSERT_OK(snapshot);
  expect_bytes(**snapshot, 0, kClusters * kTiny, 1);
  VARVE_EXPECT_OK((*snapshot)->close());
  VARVE_EXPECT_OK(image->close());
  expect_sound();
}

// Requests that wait while a snapshot is applied are under way as well.
TEST_F(Contention, WithASnapshotThatIsAppliedIsDrained) {
  make(tiny_clusters());
  const auto image = open_image();
  VARVE_EXPECT_OK(image->write(0, filled(16 * kTinyTable, 1)));
  VARVE_ASSERT_OK(create_snapshot(*image, {}));
  VARVE_EXPECT_OK(image->write(0, filled(16 * kTinyTable, 2)));
  auto applying = start_apply(*image, 0);
  VARVE_ASSERT_OK(applying);
  std::uint64_t writes = 0;
  for (; !(*applying)->is_done(); ++writes) {
    Asked asked(*image, BlockOperation::write, writes % 16 * kTinyTable, kTiny, 3);
    image->drain();
    ASSERT_TRUE(asked.answer.has_value());
    VARVE_EXPECT_OK(*asked.answer);
    engine_->poll();
  }
  VARVE_EXPECT_OK((*applying)->result());
  EXPECT_GT(writes, 1u);
  applying->reset();
  expect_bytes(*image, kTiny, kTinyTable - kTiny, 1);
  VARVE_EXPECT_OK(image->close());
  expect_sound();
}

}  // namespace
}  // namespace varve::test
