// Pause, drain, release and reacquire: what waits, what is durable, and that whatever somebody else
// did to the image meanwhile is there afterwards. Statistics and the log, too.
#include <algorithm>

#include <gtest/gtest.h>
#include <varve/check.h>
#include <varve/create.h>
#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>
#include <varve/state.h>
#include <varve/statistics.h>

#include "io/io_fixture.h"
#include "sim/faulty_storage.h"
#include "sim/sim_disk.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kMovedDiskBytes = 4u << 20;

// One guest request and what became of it.
struct Guest : BlockRequest {
  Guest(BlockOperation what, std::uint64_t at, ByteVector& bytes)
      : vector{bytes.data(), bytes.size()} {
    operation = what;
    offset = at;
    length = bytes.size();
    vectors = &vector;
    vector_count = 1;
    complete = [](BlockRequest& request, const Result<void>& result) {
      static_cast<Guest&>(request).outcome = result;
    };
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  IoVector vector;
  std::optional<Result<void>> outcome;
};

class HandoverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.log = [](void* owner, LogLevel level, const char* text) {
      static_cast<HandoverTest*>(owner)->heard_.emplace_back(level, text);
    };
    options.log_owner = this;
    auto engine = Engine::create(options);
    VARVE_ASSERT_OK(engine);
    engine_ = std::move(*engine);
    CreateOptions create;
    create.size_bytes = kMovedDiskBytes;
    VARVE_ASSERT_OK(create_image(*engine_, path_, create));
    open_.writable = true;
    image_ = open(open_);
  }

  std::unique_ptr<Image> open(const OpenOptions& options) {
    auto image = Image::open(*engine_, path_, options);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    return image ? std::move(*image) : nullptr;
  }
  void expect_holds(Image& image, std::uint64_t offset, const ByteVector& expected) {
    ByteVector found(expected.size());
    VARVE_EXPECT_OK(image.read(offset, found));
    EXPECT_EQ(found, expected);
  }
  void expect_clean(Image& image) {
    const auto report = check(image);
    VARVE_ASSERT_OK(report);
    EXPECT_EQ(report->corruptions + report->leaks + report->failures, 0u);
  }

  Folder folder_;
  std::string path_ = folder_.file("disk.qcow2");
  std::unique_ptr<Engine> engine_;
  OpenOptions open_;
  std::unique_ptr<Image> image_;
  std::vector<std::pair<LogLevel, std::string>> heard_;
};

TEST_F(HandoverTest, PausedRequestsWaitAndBlockingOnesAreRefused) {
  ByteVector first = pattern(100'000, 1);
  ByteVector second = pattern(100'000, 2);
  Guest before(BlockOperation::write, 0, first);
  Guest after(BlockOperation::write, 50'000, second);
  image_->submit(before);
  image_->pause();
  image_->submit(after);
  image_->drain();
  ASSERT_TRUE(before.outcome.has_value());
  VARVE_EXPECT_OK(*before.outcome);
  EXPECT_FALSE(after.outcome.has_value());
  ByteVector byte(1);
  for (const Result<void>& refused :
       {image_->read(0, byte), image_->write(0, byte), image_->flush(), image_->discard(0, 1),
        image_->grow(2 * kMovedDiskBytes)}) {
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::busy);
  }
  EXPECT_EQ(image_->status(0, 1).error().code, ErrorCode::busy);
  // A snapshot of the paused disk has what came before, and nothing else.
  VARVE_EXPECT_OK(create_snapshot(*image_, {}));
  image_->resume();
  image_->drain();
  ASSERT_TRUE(after.outcome.has_value());
  auto snapshot = open_snapshot(*image_, 0);
  VARVE_ASSERT_OK(snapshot);
  expect_holds(**snapshot, 0, first);
  expect_holds(*image_, 50'000, second);
  VARVE_EXPECT_OK((*snapshot)->close());
  snapshot->reset();
  VARVE_EXPECT_OK(image_->close());
}

TEST_F(HandoverTest, ClosingAPausedImageCarriesOutWhatWaits) {
  ByteVector bytes = pattern(70'000, 3);
  Guest waiting(BlockOperation::write, 1000, bytes);
  image_->pause();
  image_->submit(waiting);
  VARVE_EXPECT_OK(image_->close());
  ASSERT_TRUE(waiting.outcome.has_value());
  VARVE_EXPECT_OK(*waiting.outcome);
  image_ = open(open_);
  expect_holds(*image_, 1000, bytes);
  VARVE_EXPECT_OK(image_->close());
}

// History: 1a0c2bfb03.
TEST_F(HandoverTest, WhatSomebodyElseDidIsThereAfterwards) {
  const ByteVector mine = pattern(200'000, 4);
  const ByteVector theirs = pattern(200'000, 5);
  VARVE_EXPECT_OK(image_->write(0, mine));
  VARVE_EXPECT_OK(image_->release());
  EXPECT_TRUE(image_->is_released());
  ByteVector later = pattern(5000, 6);
  Guest waiting(BlockOperation::write, 3'000'000, later);
  image_->submit(waiting);
  {
    const std::unique_ptr<Image> target = open(open_);
    ASSERT_NE(target, nullptr);
    expect_holds(*target, 0, mine);
    expect_clean(*target);
    VARVE_EXPECT_OK(create_snapshot(*target, {}));
    VARVE_EXPECT_OK(target->write(0, theirs));
    VARVE_EXPECT_OK(target->grow(2 * kMovedDiskBytes));
    const Result<void> early = image_->reacquire();
    ASSERT_FALSE(early.has_value());
    EXPECT_EQ(early.error().code, ErrorCode::busy);
    EXPECT_TRUE(image_->is_released());
    VARVE_EXPECT_OK(target->close());
  }
  EXPECT_FALSE(waiting.outcome.has_value());
  const std::uint64_t writes = image_->statistics().io.writes[static_cast<int>(IoTag::guest_data)];
  VARVE_EXPECT_OK(image_->reacquire());
  image_->drain();
  ASSERT_TRUE(waiting.outcome.has_value());
  VARVE_EXPECT_OK(*waiting.outcome);
  EXPECT_EQ(image_->size(), 2 * kMovedDiskBytes);
  EXPECT_EQ(image_->statistics().io.writes[static_cast<int>(IoTag::guest_data)], writes + 1);
  expect_holds(*image_, 0, theirs);
  expect_holds(*image_, 3'000'000, later);
  VARVE_EXPECT_OK(apply_snapshot(*image_, 0));
  expect_holds(*image_, 0, mine);
  expect_clean(*image_);
  VARVE_EXPECT_OK(image_->close());
  const auto said = [&](const char* word) {
    return std::ranges::count_if(heard_, [&](const auto& line) {
      return line.first == LogLevel::info && line.second == path_ + ": " + word;
    });
  };
  EXPECT_EQ(said("released"), 1);
  EXPECT_EQ(said("reacquired"), 1);
}

// History: 1a0c2bfb03, cloud-hypervisor b68e7f3d9.
TEST_F(HandoverTest, ReleaseIsDurableWithoutAClose) {
  const ByteVector bytes = pattern(300'000, 7);
  VARVE_EXPECT_OK(image_->write(100, bytes));
  VARVE_EXPECT_OK(image_->release());
  image_.reset();
  image_ = open(open_);
  EXPECT_FALSE(image_->facts().dirty);
  expect_holds(*image_, 100, bytes);
  expect_clean(*image_);
  VARVE_EXPECT_OK(image_->close());
}

TEST_F(HandoverTest, ChangesOfAReleasedImageAreRefused) {
  VARVE_EXPECT_OK(create_snapshot(*image_, {}));
  VARVE_EXPECT_OK(image_->release());
  EXPECT_EQ(image_->release().error().code, ErrorCode::busy);
  EXPECT_EQ(create_snapshot(*image_, {}).error().code, ErrorCode::read_only);
  EXPECT_EQ(delete_snapshot(*image_, 0).error().code, ErrorCode::read_only);
  EXPECT_EQ(StateWriter::create(*image_).error().code, ErrorCode::read_only);
  EXPECT_EQ(image_->grow(2 * kMovedDiskBytes).error().code, ErrorCode::busy);
  ByteVector bytes(512);
  Guest waiting(BlockOperation::read, 0, bytes);
  image_->submit(waiting);
  VARVE_EXPECT_OK(image_->close());
  ASSERT_TRUE(waiting.outcome.has_value());
  EXPECT_EQ(waiting.outcome->error().code, ErrorCode::busy);
}

TEST_F(HandoverTest, NothingIsReleasedUnderAnOperationASnapshotOrAState) {
  EXPECT_EQ(image_->reacquire().error().code, ErrorCode::invalid_argument);
  OperationOptions stepwise;
  stepwise.stepwise = true;
  auto operation = start_create(*image_, {}, stepwise);
  VARVE_ASSERT_OK(operation);
  EXPECT_EQ(image_->release().error().code, ErrorCode::busy);
  VARVE_EXPECT_OK((*operation)->wait_for(SnapshotPhase::ready));
  VARVE_EXPECT_OK((*operation)->freeze());
  VARVE_EXPECT_OK((*operation)->publish());
  VARVE_EXPECT_OK((*operation)->wait());
  auto snapshot = open_snapshot(*image_, 0);
  VARVE_ASSERT_OK(snapshot);
  EXPECT_EQ(image_->release().error().code, ErrorCode::busy);
  EXPECT_EQ((*snapshot)->release().error().code, ErrorCode::unsupported);
  snapshot->reset();
  auto writer = StateWriter::create(*image_);
  VARVE_ASSERT_OK(writer);
  EXPECT_EQ(image_->release().error().code, ErrorCode::busy);
  writer->reset();
  // None of the refusals left it paused.
  VARVE_EXPECT_OK(image_->write(0, pattern(100, 1)));
  VARVE_EXPECT_OK(image_->release());
  VARVE_EXPECT_OK(image_->reacquire());
  VARVE_EXPECT_OK(image_->close());
}

TEST_F(HandoverTest, AnotherImageInItsPlaceIsRefused) {
  VARVE_EXPECT_OK(image_->release());
  CreateOptions other;
  other.size_bytes = kMovedDiskBytes;
  other.cluster_bytes = 4096;
  {
    auto file = open_file(*engine_, path_, {.writable = true});
    VARVE_ASSERT_OK(file);
    VARVE_ASSERT_OK(create_image_in(**file, nullptr, other));
  }
  EXPECT_EQ(image_->reacquire().error().code, ErrorCode::unsupported);
  // Still released, with the locks dropped: whoever wants it can have it.
  EXPECT_TRUE(image_->is_released());
  const std::unique_ptr<Image> anew = open(open_);
  ASSERT_NE(anew, nullptr);
  VARVE_EXPECT_OK(anew->close());
  VARVE_EXPECT_OK(image_->close());
}

TEST_F(HandoverTest, ChainsAndRawImagesAreHandedOver) {
  VARVE_EXPECT_OK(image_->write(0, pattern(1000, 8)));
  VARVE_EXPECT_OK(image_->close());
  CreateOptions over;
  over.size_bytes = kMovedDiskBytes;
  over.backing_name = path_;
  over.backing_format = "qcow2";
  const std::string top = folder_.file("top.qcow2");
  VARVE_ASSERT_OK(create_image(*engine_, top, over));
  auto chain = Image::open(*engine_, top, open_);
  VARVE_ASSERT_OK(chain);
  EXPECT_FALSE(Image::open(*engine_, path_, open_).has_value());
  VARVE_EXPECT_OK((*chain)->release());
  {
    // The base is free as well.
    const std::unique_ptr<Image> base = open(open_);
    ASSERT_NE(base, nullptr);
    EXPECT_EQ((*chain)->reacquire().error().code, ErrorCode::busy);
    VARVE_EXPECT_OK(base->write(0, pattern(1000, 9)));
    VARVE_EXPECT_OK(base->close());
  }
  VARVE_EXPECT_OK((*chain)->reacquire());
  expect_holds(**chain, 0, pattern(1000, 9));
  EXPECT_FALSE(Image::open(*engine_, path_, open_).has_value());
  VARVE_EXPECT_OK((*chain)->close());

  OpenOptions raw = open_;
  raw.format = Format::raw;
  image_ = open(raw);
  ASSERT_NE(image_, nullptr);
  const std::uint64_t before = image_->size();
  VARVE_EXPECT_OK(image_->release());
  {
    const std::unique_ptr<Image> other = open(raw);
    ASSERT_NE(other, nullptr);
    VARVE_EXPECT_OK(other->grow(before + 8192));
    EXPECT_EQ(image_->reacquire().error().code, ErrorCode::busy);
    VARVE_EXPECT_OK(other->close());
  }
  VARVE_EXPECT_OK(image_->reacquire());
  EXPECT_EQ(image_->size(), before + 8192);
  VARVE_EXPECT_OK(image_->close());
}

TEST_F(HandoverTest, StatisticsTellCachesAndLatencies) {
  VARVE_EXPECT_OK(image_->write(0, pattern(4096, 1)));
  EXPECT_EQ(image_->statistics().writes.requests, 0u) << "not asked for";
  VARVE_EXPECT_OK(image_->close());
  open_.measure_latency = true;
  image_ = open(open_);
  ByteVector bytes(4096);
  for (int i = 0; i < 10; ++i) {
    VARVE_EXPECT_OK(image_->read(0, bytes));
  }
  VARVE_EXPECT_OK(image_->write(0, bytes));
  VARVE_EXPECT_OK(image_->write_compressed(131'072, ByteVector(65'536)));
  VARVE_EXPECT_OK(image_->discard(65'536, 65'536));
  VARVE_EXPECT_OK(image_->flush());
  EXPECT_FALSE(image_->read(kMovedDiskBytes, bytes).has_value());
  const ImageStatistics statistics = image_->statistics();
  EXPECT_EQ(statistics.reads.requests, 11u);
  EXPECT_EQ(statistics.writes.requests, 2u);
  EXPECT_EQ(statistics.others.requests, 1u);
  EXPECT_EQ(statistics.flushes.requests, 1u);
  std::uint64_t sum = 0;
  std::uint64_t least = 0;
  for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i) {
    sum += statistics.reads.counts[i];
    least += i == 0 ? 0 : statistics.reads.counts[i] << i;
  }
  EXPECT_EQ(sum, 11u);
  EXPECT_LE(least, statistics.reads.total_nanoseconds);
  EXPECT_GE(2 * least, statistics.reads.total_nanoseconds);
  EXPECT_EQ(statistics.l2.misses, 1u);
  EXPECT_GE(statistics.l2.hits, 10u);
  EXPECT_EQ(statistics.io.reads[static_cast<int>(IoTag::guest_data)], 10u);
  VARVE_EXPECT_OK(image_->close());
}

TEST_F(HandoverTest, AFlushThatFailsIsLoggedAndNothingIsReleased) {
  sim::SimDisk disk;
  sim::FaultPlan plan;
  {
    sim::SimStorage storage(*engine_, disk);
    CreateOptions create;
    create.size_bytes = kMovedDiskBytes;
    VARVE_ASSERT_OK(create_image_in(storage, nullptr, create));
  }
  auto image = Image::open(
      std::make_unique<sim::FaultyStorage>(std::make_unique<sim::SimStorage>(*engine_, disk), plan),
      "/lab", open_);
  VARVE_ASSERT_OK(image);
  VARVE_EXPECT_OK((*image)->write(0, pattern(1000, 1)));
  heard_.clear();
  sim::FaultRule rule;
  rule.operation = StorageOperation::flush;
  plan.add(rule);
  EXPECT_EQ((*image)->release().error().code, ErrorCode::io);
  EXPECT_FALSE((*image)->is_released());
  ASSERT_EQ(heard_.size(), 1u);
  EXPECT_EQ(heard_[0].first, LogLevel::error);
  EXPECT_NE(heard_[0].second.find("flush failed"), std::string::npos) << heard_[0].second;
  EXPECT_EQ((*image)->write(0, pattern(1000, 2)).error().code, ErrorCode::poisoned);
  ByteVector bytes(1000);
  VARVE_EXPECT_OK((*image)->read(0, bytes));
  EXPECT_FALSE((*image)->close().has_value());
  VARVE_EXPECT_OK(image_->close());
}

TEST_F(HandoverTest, SettlingIsLogged) {
  CreateOptions create;
  create.size_bytes = kMovedDiskBytes;
  VARVE_EXPECT_OK(image_->close());
  // The dirty bit, set by hand: incompatible feature 0, bytes 72 to 79 of the header.
  {
    auto file = open_file(*engine_, path_, {.writable = true});
    VARVE_ASSERT_OK(file);
    VARVE_ASSERT_OK(write(**file, 79, ByteVector(1, std::byte{1})));
  }
  heard_.clear();
  image_ = open(open_);
  ASSERT_EQ(heard_.size(), 1u);
  EXPECT_EQ(heard_[0].first, LogLevel::info);
  EXPECT_EQ(heard_[0].second, path_ + ": the image was not closed: its counts are made anew");
  VARVE_EXPECT_OK(image_->close());
}

}  // namespace
}  // namespace varve::test
