// What the image asks of its storage: how much is written for a write, how often it is flushed.
#include "image/ground.h"
#include "sim/faulty_storage.h"
#include "sim/sim_disk.h"
#include "sim/trace_storage.h"

namespace varve::test {
namespace {

// An image in memory whose requests are recorded and can be made to fail.
class Watched {
 public:
  explicit Watched(const CreateOptions& options) {
    sim::SimStorage storage(*engine_, disk_);
    VARVE_EXPECT_OK(create_image_in(storage, nullptr, options));
    open();
  }
  ~Watched() { close(); }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  void open() {
    OpenOptions options;
    options.writable = true;
    auto storage = std::make_unique<sim::TraceStorage>(
        std::make_unique<sim::FaultyStorage>(std::make_unique<sim::SimStorage>(*engine_, disk_),
                                             plan_),
        trace_);
    Result<std::unique_ptr<Image>> image = Image::open(std::move(storage), "", options);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    image_ = std::move(*image);
    trace_.clear();
  }
  void close() {
    if (image_ != nullptr) {
      VARVE_EXPECT_OK(image_->close());
      image_.reset();
    }
  }
  // Closed with whatever error it has.
  Result<void> close_anyhow() {
    const Result<void> result = image_->close();
    image_.reset();
    return result;
  }

  [[nodiscard]] Image& image() { return *image_; }
  [[nodiscard]] sim::Trace& trace() { return trace_; }
  [[nodiscard]] sim::FaultPlan& plan() { return plan_; }
  [[nodiscard]] sim::SimDisk& disk() { return disk_; }
  [[nodiscard]] std::size_t flushes() const { return trace_.count(StorageOperation::flush); }
  [[nodiscard]] std::uint64_t bytes_written(IoTag tag) const {
    std::uint64_t total = 0;
    for (const sim::TraceEntry& entry : trace_.entries()) {
      total += entry.operation == StorageOperation::write && entry.tag == tag ? entry.length : 0;
    }
    return total;
  }

 private:
  std::unique_ptr<Engine> engine_ = make_engine(AioBackend::threads, 256, 0);
  sim::SimDisk disk_;
  sim::Trace trace_;
  sim::FaultPlan plan_;
  std::unique_ptr<Image> image_;
};

CreateOptions disk_of(std::uint64_t bytes) {
  CreateOptions options;
  options.size_bytes = bytes;
  return options;
}

TEST(NewCluster, WithoutBackingWritesOnlyWhatTheGuestWrote) {
  for (const std::uint32_t cluster : {4096u, 65536u, 2u << 20}) {
    for (const bool extended : {false, true}) {
      if (extended && cluster < 16384) {
        continue;
      }
      CreateOptions options = disk_of(64u << 20);
      options.cluster_bytes = cluster;
      options.extended_l2 = extended;
      Watched watched(options);
      VARVE_EXPECT_OK(watched.image().write(
          5 * std::uint64_t{cluster} + (cluster > 8192 ? 4096 : 0), pattern(4096, 1)));
      EXPECT_EQ(watched.bytes_written(IoTag::guest_data), 4096u) << watched.trace().text();
      EXPECT_EQ(watched.trace().count(StorageOperation::read, IoTag::guest_data), 0u);
      VARVE_EXPECT_OK(watched.image().flush());
      EXPECT_EQ(watched.bytes_written(IoTag::guest_data), 4096u) << watched.trace().text();
    }
  }
}

TEST(Flush, OfNothingAsksNothing) {
  Watched watched(disk_of(64u << 20));
  VARVE_EXPECT_OK(watched.image().flush());
  EXPECT_EQ(watched.flushes(), 0u) << watched.trace().text();
  VARVE_EXPECT_OK(watched.image().write(0, pattern(4096, 1)));
  VARVE_EXPECT_OK(watched.image().flush());
  watched.trace().clear();
  VARVE_EXPECT_OK(watched.image().flush());
  EXPECT_EQ(watched.flushes(), 0u) << watched.trace().text();
}

TEST(Flush, OfDataAloneIsOne) {
  Watched watched(disk_of(64u << 20));
  VARVE_EXPECT_OK(watched.image().write(0, pattern(65536, 1)));
  VARVE_EXPECT_OK(watched.image().flush());
  for (int round = 0; round < 3; ++round) {
    watched.trace().clear();
    VARVE_EXPECT_OK(watched.image().write(4096u * static_cast<unsigned>(round), pattern(4096, 2)));
    VARVE_EXPECT_OK(watched.image().flush());
    EXPECT_EQ(watched.flushes(), 1u) << watched.trace().text();
  }
}

// History: 9991923b26.
TEST(Flush, OfNewClustersIsThreeAtMost) {
  for (const std::uint32_t cluster : {512u, 4096u, 65536u}) {
    CreateOptions options = disk_of(cluster == 512 ? 4u << 20 : 64u << 20);
    options.cluster_bytes = cluster;
    Watched watched(options);
    for (std::uint64_t round = 0; round < 40; ++round) {
      const Image::Counters before = watched.image().counters();
      watched.trace().clear();
      VARVE_EXPECT_OK(watched.image().write(round * 97'000, pattern(10'000, 1)));
      VARVE_EXPECT_OK(watched.image().flush());
      const Image::Counters& after = watched.image().counters();
      const std::uint64_t all = after.flushes - before.flushes;
      const std::uint64_t growth = after.refcount_growth_flushes - before.refcount_growth_flushes;
      EXPECT_EQ(watched.flushes(), all) << "a flush that is not counted\n"
                                        << watched.trace().text();
      EXPECT_LE(all - growth, 3u) << watched.trace().text();
    }
  }
}

TEST(Flush, OfManyWritersIsShared) {
  // Flushes asked for together are answered by few rounds.
  Watched watched(disk_of(64u << 20));
  VARVE_EXPECT_OK(watched.image().write(0, pattern(65536, 1)));
  VARVE_EXPECT_OK(watched.image().flush());
  VARVE_EXPECT_OK(watched.image().write(0, pattern(4096, 2)));
  watched.trace().clear();
  constexpr std::size_t kFlushes = 20;
  std::vector<BlockRequest> requests(kFlushes);
  std::size_t done = 0;
  for (BlockRequest& request : requests) {
    request.operation = BlockOperation::flush;
    request.owner = &done;
    request.complete = [](BlockRequest& finished, const Result<void>& result) {
      EXPECT_TRUE(result.has_value());
      ++*static_cast<std::size_t*>(finished.owner);
    };
    watched.image().submit(request);
  }
  while (done < kFlushes) {
    watched.image().engine().wait();
  }
  EXPECT_LE(watched.flushes(), 2u) << watched.trace().text();
}

TEST(Close, OfAnUnchangedImageWritesNothing) {
  Watched watched(disk_of(64u << 20));
  ByteVector bytes(4096);
  VARVE_EXPECT_OK(watched.image().read(0, bytes));
  watched.close();
  EXPECT_EQ(watched.trace().count(StorageOperation::write), 0u) << watched.trace().text();
  EXPECT_EQ(watched.flushes(), 0u) << watched.trace().text();
}

TEST(Close, CutsTheFileToWhatIsUsed) {
  // A file grows in large steps; what lies behind the last cluster in use goes at the end.
  Watched watched(disk_of(64u << 20));
  const std::uint64_t empty_bytes = watched.disk().content.size();
  VARVE_EXPECT_OK(watched.image().write(0, pattern(65536, 1)));
  VARVE_EXPECT_OK(watched.image().flush());
  EXPECT_GT(watched.disk().content.size(), empty_bytes + 2 * 65536);
  watched.close();
  EXPECT_EQ(watched.disk().content.size(), empty_bytes + 2 * 65536)
      << "one data cluster and its L2 table";
}

TEST(FailedFlush, PoisonsTheImage) {
  Watched watched(disk_of(64u << 20));
  VARVE_EXPECT_OK(watched.image().write(0, pattern(65536, 1)));
  VARVE_EXPECT_OK(watched.image().flush());
  VARVE_EXPECT_OK(watched.image().write(0, pattern(4096, 2)));
  sim::FaultRule rule;
  rule.operation = StorageOperation::flush;
  watched.plan().add(rule);
  expect_error(watched.image().flush(), ErrorCode::io);
  watched.plan().lift();
  const ByteVector bytes = pattern(65536, 3);
  expect_error(watched.image().write(0, bytes), ErrorCode::poisoned);
  expect_error(watched.image().write_zeroes(0, 4096), ErrorCode::poisoned);
  expect_error(watched.image().discard(0, 65536), ErrorCode::poisoned);
  expect_error(watched.image().write_compressed(0, bytes), ErrorCode::poisoned);
  expect_error(watched.image().flush(), ErrorCode::poisoned);
  expect_error(watched.image().grow(128u << 20), ErrorCode::poisoned);
  ByteVector found(4096);
  VARVE_EXPECT_OK(watched.image().read(0, found));
  EXPECT_TRUE(found == pattern(4096, 2));
  const Result<void> closed = watched.close_anyhow();
  EXPECT_FALSE(closed.has_value()) << "the loss is not told";
  watched.open();
  VARVE_EXPECT_OK(watched.image().read(0, found));
}

TEST(FailedWrite, IsToldAndTheImageGoesOn) {
  Watched watched(disk_of(64u << 20));
  sim::FaultRule rule;
  rule.operation = StorageOperation::write;
  rule.tag = IoTag::guest_data;
  rule.os_errno = ENOSPC;
  watched.plan().add(rule);
  expect_error(watched.image().write(0, pattern(4096, 1)), ErrorCode::no_space);
  ByteVector found(4096, std::byte{1});
  VARVE_EXPECT_OK(watched.image().read(0, found));
  EXPECT_TRUE(found == ByteVector(4096)) << "a write that failed linked its cluster";
  VARVE_EXPECT_OK(watched.image().write(0, pattern(4096, 2)));
  VARVE_EXPECT_OK(watched.image().flush());
  VARVE_EXPECT_OK(watched.image().read(0, found));
  EXPECT_TRUE(found == pattern(4096, 2));
}

}  // namespace
}  // namespace varve::test
