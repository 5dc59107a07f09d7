// Growing the disk beside snapshot operations: in every phase, at every moment, and when the growth
// itself fails.
#include <gtest/gtest.h>

#include "sim/delay_storage.h"
#include "sim/faulty_storage.h"
#include "snapshot/operation_ground.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kGrownTables = 3;
constexpr std::uint64_t kDiskBytes = kGrownTables * kTableCovers;
// Stays in the last L2 table; needs a new L1.
constexpr std::uint64_t kSmallGrowth = 4 * kClusterBytes;
constexpr std::uint64_t kLargeGrowth = 700 * kTableCovers;

class GrowTest : public OperationTest {
 protected:
  // The disk ends inside a cluster; one cluster of each table holds 1.
  void make_uneven() {
    make(options_of(kDiskBytes - 8 * kClusterBytes - 1536, kClusterBytes));
    write_ones();
    open_with([](std::unique_ptr<Storage> storage) { return storage; });
  }
  void write_ones() {
    for (std::uint64_t table = 0; table < kGrownTables; ++table) {
      write_at(table, std::byte{1});
    }
    const ByteVector last(512, std::byte{1});
    VARVE_MUST(image_->write(image_->size() - last.size(), last));
    VARVE_MUST(image_->flush());
  }
  // `written` stands at the beginning of each table and before `end`, zeros everywhere else.
  static void expect_disk(Image& image, std::byte written, std::uint64_t end, std::uint64_t size) {
    ASSERT_EQ(image.size(), size);
    ByteVector bytes(kClusterBytes);
    for (std::uint64_t table = 0; table < kGrownTables; ++table) {
      VARVE_MUST(image.read(table * kTableCovers, bytes));
      ASSERT_EQ(bytes, ByteVector(kClusterBytes, written)) << "table " << table;
    }
    ByteVector tail(std::min<std::uint64_t>(size - end + 512, 64 * kClusterBytes));
    VARVE_MUST(image.read(end - 512, tail));
    ByteVector expected(tail.size());
    std::fill_n(expected.begin(), 512, written);
    ASSERT_EQ(tail, expected);
    if (size > end) {
      tail.resize(512);
      VARVE_MUST(image.read(size - 512, tail));
      ASSERT_EQ(tail, ByteVector(512, size - 512 < end ? written : std::byte{0}));
    }
  }
  void expect_frozen(std::size_t index, std::uint64_t end, std::uint64_t size) {
    auto snapshot = open_snapshot(*image_, index);
    VARVE_MUST(snapshot);
    expect_disk(**snapshot, std::byte{1}, end, size);
    VARVE_MUST((*snapshot)->close());
  }
  // The guest writes 2s where 1s were.
  void write_twos(std::uint64_t end) {
    for (std::uint64_t table = 0; table < kGrownTables; ++table) {
      write_at(table, std::byte{2});
    }
    const ByteVector last(512, std::byte{2});
    VARVE_MUST(image_->write(end - last.size(), last));
  }
};

TEST_F(GrowTest, GoesOnInEveryPhaseOfAStepwiseCreation) {
  for (const std::uint64_t growth : {kSmallGrowth, kLargeGrowth}) {
    make_uneven();
    const std::uint64_t old = image_->size();
    const Operation create = start("one", {.stepwise = true});
    VARVE_MUST(create->wait_for(SnapshotPhase::ready));
    VARVE_MUST(image_->grow(old + growth));
    VARVE_MUST(create->freeze());
    VARVE_MUST(image_->grow(old + 2 * growth));
    expect_disk(*image_, std::byte{1}, old, old + 2 * growth);
    write_twos(old);
    VARVE_MUST(image_->grow(old + 3 * growth));
    VARVE_MUST(create->publish());
    VARVE_MUST(create->wait_for(SnapshotPhase::publishing));
    VARVE_MUST(image_->grow(old + 4 * growth));
    VARVE_MUST(create->wait());
    EXPECT_EQ(list()[0].disk_size, old + growth);
    check();
    expect_frozen(0, old, old + growth);
    expect_disk(*image_, std::byte{2}, old, old + 4 * growth);
  }
}

TEST_F(GrowTest, GoesOnBesideADeletionThatStandsStill) {
  for (const std::uint64_t growth : {kSmallGrowth, kLargeGrowth}) {
    make_uneven();
    const std::uint64_t old = image_->size();
    take("one");
    write_twos(old);
    auto deletion = start_delete(*image_, 0, {.stepwise = true});
    VARVE_MUST(deletion);
    VARVE_MUST((*deletion)->wait_for(SnapshotPhase::reclaiming));
    VARVE_MUST(image_->grow(old + growth));
    VARVE_MUST((*deletion)->publish());
    VARVE_MUST((*deletion)->wait());
    check();
    expect_disk(*image_, std::byte{2}, old, old + growth);
  }
}

TEST_F(GrowTest, GoesOnBesideAnApplyThatStandsStill) {
  for (const std::uint64_t growth : {kSmallGrowth, kLargeGrowth}) {
    make_uneven();
    const std::uint64_t old = image_->size();
    take("one");
    write_twos(old);
    auto apply = start_apply(*image_, 0, {.stepwise = true});
    VARVE_MUST(apply);
    VARVE_MUST((*apply)->wait_for(SnapshotPhase::reclaiming));
    VARVE_MUST(image_->grow(old + growth));
    VARVE_MUST((*apply)->publish());
    VARVE_MUST((*apply)->wait());
    check();
    expect_disk(*image_, std::byte{1}, old, old + growth);
    expect_frozen(0, old, old);
  }
}

// Goal: whenever a growth comes, both it and the operation do what they do alone. Method: for each
// number of polls after the operation began, until it is over before the growth begins; on storage
// that reorders.
class GrowAtEveryMoment : public GrowTest,
                          public ::testing::WithParamInterface<std::tuple<char, std::uint64_t>> {
 protected:
  Operation start_kind(char kind) {
    if (kind == 'c') {
      return start("two");
    }
    auto operation = kind == 'a' ? start_apply(*image_, 0) : start_delete(*image_, 0);
    EXPECT_TRUE(operation.has_value()) << describe(operation.error());
    return operation ? std::move(*operation) : nullptr;
  }
};

// History: 292d06b925.
TEST_P(GrowAtEveryMoment, BothSucceed) {
  const std::uint64_t seed = sim::seed_from_environment();
  const auto [kind, growth] = GetParam();
  bool is_over = false;
  for (unsigned polls = 0; !is_over && !HasFailure(); polls += 1 + polls / 16) {
    SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed) + ", after " + std::to_string(polls) +
                 " polls");
    make_uneven();
    open_with([&](std::unique_ptr<Storage> storage) {
      return std::make_unique<sim::DelayStorage>(std::move(storage), seed + polls);
    });
    const std::uint64_t old = image_->size();
    take("one");
    write_twos(old);
    const Operation operation = start_kind(kind);
    ASSERT_NE(operation, nullptr);
    run_polls(polls);
    is_over = operation->is_done();
    GuestRequest write(*image_, BlockOperation::write, kTableCovers, kClusterBytes, std::byte{2});
    VARVE_MUST(image_->grow(old + growth));
    VARVE_MUST(operation->wait());
    while (!write.result) {
      engine_->wait();
    }
    VARVE_MUST(*write.result);
    const std::uint64_t size = image_->size();
    if (kind == 'a') {
      // The disk that grew is the old one or the new one.
      EXPECT_TRUE(size == old || size == old + growth) << size;
      write_at(1, std::byte{1});
    } else {
      EXPECT_EQ(size, old + growth);
    }
    expect_disk(*image_, kind == 'a' ? std::byte{1} : std::byte{2}, old, size);
    const bool has_one = kind != 'd';
    EXPECT_EQ(list().size(), kind == 'c' ? 2u : (has_one ? 1u : 0u));
    check(false);
    if (has_one) {
      expect_frozen(0, old, old);
    }
    if (kind == 'c') {
      const std::uint64_t frozen = list()[1].disk_size;
      EXPECT_TRUE(frozen == old || (frozen == old + growth && polls == 0)) << frozen;
      auto snapshot = open_snapshot(*image_, 1);
      VARVE_MUST(snapshot);
      expect_disk(**snapshot, std::byte{2}, old, frozen);
      VARVE_MUST((*snapshot)->close());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GrowAtEveryMoment,
                         ::testing::Combine(::testing::Values('c', 'a', 'd'),
                                            ::testing::Values(kSmallGrowth, kLargeGrowth)));

// Freezes a creation inside somebody else's wait, at a turn of the loop.
class FreezeAtTurn final : private Engine::Source {
 public:
  FreezeAtTurn(Engine& engine, SnapshotOperation& create, unsigned turn)
      : engine_(engine), create_(create), left_(turn) {
    engine_.add_source(*this);
  }
  ~FreezeAtTurn() override { engine_.remove_source(*this); }
  FreezeAtTurn(const FreezeAtTurn&) = delete;
  FreezeAtTurn& operator=(const FreezeAtTurn&) = delete;
  [[nodiscard]] bool is_frozen() const { return is_frozen_; }

 private:
  std::size_t advance() noexcept override {
    if (!is_frozen_ && left_-- == 0) {
      is_frozen_ = create_.freeze().has_value();
      EXPECT_TRUE(is_frozen_);
    }
    return 0;
  }
  Engine& engine_;
  SnapshotOperation& create_;
  unsigned left_;
  bool is_frozen_ = false;
};

// Goal: a freeze inside a growth takes the disk as large as it was, with nothing of the growth's
// own doing in it. Method: at each turn of the loop the growth makes.
TEST_F(GrowTest, AFreezeInsideAGrowthTakesTheDiskAsItWas) {
  for (const std::uint64_t growth : {kSmallGrowth, kLargeGrowth}) {
    bool was_inside = true;
    for (unsigned turn = 0; was_inside && !HasFailure(); ++turn) {
      SCOPED_TRACE("turn " + std::to_string(turn));
      make_uneven();
      const std::uint64_t old = image_->size();
      const Operation create = start("one", {.stepwise = true});
      VARVE_MUST(create->wait_for(SnapshotPhase::ready));
      {
        const FreezeAtTurn freeze(*engine_, *create, turn);
        VARVE_MUST(image_->grow(old + growth, Preallocation::off));
        was_inside = freeze.is_frozen();
      }
      if (!was_inside) {
        EXPECT_GT(turn, 3u);
        VARVE_MUST(create->freeze());
      }
      write_twos(old);
      VARVE_MUST(create->publish());
      VARVE_MUST(create->wait());
      const std::uint64_t frozen = was_inside ? old : old + growth;
      EXPECT_EQ(list()[0].disk_size, frozen);
      check(false);
      expect_frozen(0, old, frozen);
      expect_disk(*image_, std::byte{2}, old, old + growth);
    }
  }
}

// Goal: preallocated clusters of a growth that a freeze meets belong to somebody, once.
TEST_F(GrowTest, AFreezeInsideAPreallocationCountsEachClusterOnce) {
  for (unsigned turn = 0; turn < 60 && !HasFailure(); turn += 3) {
    SCOPED_TRACE("turn " + std::to_string(turn));
    make_uneven();
    const std::uint64_t old = image_->size();
    const Operation create = start("one", {.stepwise = true});
    VARVE_MUST(create->wait_for(SnapshotPhase::ready));
    {
      const FreezeAtTurn freeze(*engine_, *create, turn);
      VARVE_MUST(image_->grow(old + 2 * kTableCovers, Preallocation::metadata));
      if (!freeze.is_frozen()) {
        VARVE_MUST(create->freeze());
      }
    }
    VARVE_MUST(create->publish());
    write_twos(old);
    VARVE_MUST(create->wait());
    check(false);
    expect_frozen(0, old, list()[0].disk_size);
    expect_disk(*image_, std::byte{2}, old, old + 2 * kTableCovers);
  }
}

// Goal: a growth that fails leaves the disk as large as it was, and the frozen creation publishes
// what it froze. Method: each write in turn fails.
TEST_F(GrowTest, AFailedGrowthDoesNotDisturbAFrozenCreation) {
  sim::FaultPlan plan;
  bool was_hit = true;
  for (std::uint64_t nth = 0; was_hit && !HasFailure(); ++nth) {
    SCOPED_TRACE("write " + std::to_string(nth));
    plan.lift();
    make_uneven();
    open_with([&](std::unique_ptr<Storage> storage) {
      return std::make_unique<sim::FaultyStorage>(std::move(storage), plan);
    });
    const std::uint64_t old = image_->size();
    const Operation create = start("one", {.stepwise = true});
    VARVE_MUST(create->wait_for(SnapshotPhase::ready));
    VARVE_MUST(create->freeze());
    write_twos(old);
    sim::FaultRule rule;
    rule.operation = StorageOperation::write;
    rule.nth = nth;
    plan.reset_counts();
    plan.add(rule);
    const Result<void> grown = image_->grow(old + kLargeGrowth);
    was_hit = plan.hits() != 0;
    plan.lift();
    EXPECT_EQ(grown.has_value(), !was_hit);
    EXPECT_EQ(image_->size(), was_hit ? old : old + kLargeGrowth);
    const Result<void> published = create->publish();
    const Result<void> created = published ? create->wait() : published;
    if (!created) {
      // The header's own write: what it says is unknown until the image is opened again.
      ASSERT_EQ(created.error().code, ErrorCode::poisoned) << describe(created.error());
      image_.reset();
      open();
      ASSERT_TRUE(list().empty());
      continue;
    }
    expect_frozen(0, old, old);
    VARVE_MUST(image_->grow(image_->size() + kSmallGrowth));
    ASSERT_NO_FATAL_FAILURE(close_and_judge(false));
    open();
    expect_disk(*image_, std::byte{2}, old, image_->size());
  }
}

TEST_F(GrowTest, AClosedImageDoesNotGrow) {
  make_uneven();
  VARVE_MUST(image_->close());
  EXPECT_EQ(image_->grow(kDiskBytes * 2).error().code, ErrorCode::invalid_argument);
  image_.reset();
  open();
}

}  // namespace
}  // namespace varve::test
