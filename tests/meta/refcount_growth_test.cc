#include "meta/refcount_growth.h"

#include <set>

#include "meta/meta_fixture.h"
#include "sim/scheduled_storage.h"

namespace varve::test {
namespace {

// 512-byte clusters with 64-bit counts: 64 clusters per block, 64 blocks per table cluster.
class RefcountGrowthTest : public MetaTest {
 protected:
  void fill(std::uint64_t clusters) {
    while (clusters != 0) {
      const Result<Claim> next = claim(clusters);
      ASSERT_TRUE(next.has_value()) << describe(next.error());
      clusters -= next->run.count;
      for (std::uint64_t i = 0; i < next->run.count; ++i) {
        claimed_.insert(next->run.first.value() + i);
      }
    }
  }
  // Every block the file names counts itself, in the file.
  void expect_blocks_describe_themselves() {
    const std::uint64_t table = be64_at(offsetof(RawHeader, refcount_table_offset));
    EXPECT_EQ(table, metadata_->refcounts.table_offset().value());
    for (std::uint64_t i = 0; i < metadata_->refcounts.table().size(); ++i) {
      const std::uint64_t block = be64_at(table + i * 8);
      ASSERT_EQ(block, metadata_->refcounts.table()[i]) << i;
      if (block != 0) {
        ASSERT_EQ(stored_count_of(block / 512), 1u) << i;
      }
    }
    for (std::uint64_t i = 0; i < metadata_->refcounts.table_clusters(); ++i) {
      ASSERT_EQ(stored_count_of(table / 512 + i), 1u);
    }
  }

  std::set<std::uint64_t> claimed_;
};

// History: 92dcb59fd4.
TEST_F(RefcountGrowthTest, NewBlocksDescribeThemselves) {
  open(small());
  fill(64 * 20);
  ASSERT_TRUE(flush().has_value());
  expect_blocks_describe_themselves();
}

// History: cloud-hypervisor 57f67a543.
TEST_F(RefcountGrowthTest, TheTableGrowsAndTheOldOneIsGivenBack) {
  open(small());
  const HostOffset old_table = metadata_->refcounts.table_offset();
  const std::uint64_t old_clusters = metadata_->refcounts.table_clusters();
  fill(64 * 64 * (old_clusters + 1));
  ASSERT_TRUE(settle_drops().has_value());
  ASSERT_TRUE(flush().has_value());
  EXPECT_NE(metadata_->refcounts.table_offset(), old_table);
  EXPECT_GT(metadata_->refcounts.table_clusters(), old_clusters);
  expect_blocks_describe_themselves();
  EXPECT_EQ(metadata_->store.quarantined_clusters(), 0u);
  // Free, or in use again already.
  for (std::uint64_t i = 0; i < old_clusters; ++i) {
    const std::uint64_t cluster = old_table.value() / 512 + i;
    EXPECT_EQ(stored_count_of(cluster), claimed_.count(cluster));
  }
}

TEST_F(RefcountGrowthTest, ABlockIsDurableBeforeTheEntryThatNamesIt) {
  open(small());
  fill(64 * 3);
  std::size_t entries_seen = 0;
  for (std::size_t i = 0; i < trace_.entries().size(); ++i) {
    const sim::TraceEntry& entry = trace_.entries()[i];
    if (entry.operation != StorageOperation::write || entry.tag != IoTag::refcount_table) {
      continue;
    }
    ++entries_seen;
    const sim::TraceEntry* block = nullptr;
    for (std::size_t j = 0; j < i; ++j) {
      const sim::TraceEntry& before = trace_.entries()[j];
      if (before.operation == StorageOperation::write && before.tag == IoTag::refcount_block) {
        block = &before;
      }
    }
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(trace_.is_durable_before(*block, entry.submitted)) << trace_.text();
  }
  EXPECT_GE(entries_seen, 2u);
}

// History: 92dcb59fd4.
TEST_F(RefcountGrowthTest, ALongRunBehindItsOwnBlocks) {
  open(small());
  const HostCluster first =
      ask_until(*metadata_, [&] { return metadata_->store.reserve_run(64 * 70); }).value();
  expect_blocks_describe_themselves();
  for (std::uint64_t i = 0; i < 64 * 70; i += 13) {
    ASSERT_EQ(count_of(first.value() + i), 0u);
    ASSERT_TRUE(metadata_->refcounts.has_block((first.value() + i) / 64));
  }
}

TEST_F(RefcountGrowthTest, ADeviceWithoutRoomIsToldNotWritten) {
  disk_.content.resize(100 * kKiB);
  open(small(), true);
  std::uint64_t claimed = 0;
  Result<Claim> next = claim(8);
  for (; next.has_value(); next = claim(8)) {
    claimed += next->run.count;
    ASSERT_LT(claimed, 100000u);
  }
  EXPECT_EQ(next.error().code, ErrorCode::no_space);
  EXPECT_FALSE(metadata_->commit.is_poisoned());
  ASSERT_TRUE(flush().has_value());
  expect_blocks_describe_themselves();
}

// Asks until there is an answer, beside others who ask.
template <class Question>
class Asker final : public Waiter {
 public:
  Asker(Metadata& metadata, Question question) : metadata_(&metadata), question_(question) {
    ask();
  }
  void resume(const Result<void>& result) noexcept override {
    result_ = result;
    if (result) {
      ask();
    } else {
      is_done_ = true;
    }
  }
  [[nodiscard]] bool is_done() const noexcept { return is_done_; }
  [[nodiscard]] const Result<void>& result() const noexcept { return result_; }

 private:
  void ask() noexcept {
    const auto answer = question_();
    if (const Need* need = answer.need()) {
      metadata_->satisfy(*need, *this);
      return;
    }
    if (const Error* error = answer.error()) {
      result_ = *error;
    }
    is_done_ = true;
  }

  Metadata* metadata_;
  Question question_;
  Result<void> result_;
  bool is_done_ = false;
};

// H3: a file that grows and counts that grow are not in flight together, in whatever order their
// requests take effect: the file's new size, settled before the counts were written behind its end,
// would cut them off.
class GrowthsTest : public RefcountGrowthTest {
 protected:
  std::unique_ptr<Storage> make_storage() override {
    auto storage = std::make_unique<sim::ScheduledStorage>(MetaTest::make_storage());
    scheduled_ = storage.get();
    return storage;
  }
  // One order of what is in flight.
  void grow_both(bool file_first) {
    disk_.content = sim::SparseBytes();
    open(small());
    const auto claim_one = [this] { return metadata_->store.claim(1); };
    // Up to where the file has to grow.
    while (true) {
      const Answer<Claim> next = claim_one();
      if (next.need() != nullptr && next.need()->kind == Need::Kind::file_growth) {
        break;
      }
      ASSERT_TRUE(next.has_value() || claim(1).has_value());
    }
    const auto reserve_many = [this] { return metadata_->store.reserve_run(64 * 70); };
    scheduled_->follow(schedule_);
    std::optional<Asker<decltype(claim_one)>> one;
    std::optional<Asker<decltype(reserve_many)>> many;
    if (file_first) {
      one.emplace(*metadata_, claim_one);
    }
    many.emplace(*metadata_, reserve_many);
    if (!file_first) {
      one.emplace(*metadata_, claim_one);
    }
    while (!one->is_done() || !many->is_done()) {
      engine_->wait();
    }
    EXPECT_TRUE(one->result().has_value()) << describe(one->result().error());
    EXPECT_TRUE(many->result().has_value()) << describe(many->result().error());
    EXPECT_TRUE(flush().has_value());
    expect_blocks_describe_themselves();
    while (!metadata_->is_idle()) {
      engine_->wait();
    }
    metadata_.reset();
    storage_.reset();
  }

  sim::Schedule schedule_;
  sim::ScheduledStorage* scheduled_ = nullptr;
};

TEST_F(GrowthsTest, OfFileAndCountsKeepApartInEveryOrder) {
  std::size_t orders = 0;
  for (const bool file_first : {true, false}) {
    do {
      ++orders;
      SCOPED_TRACE("order " + std::to_string(orders));
      grow_both(file_first);
    } while (!HasFailure() && schedule_.next());
    schedule_ = sim::Schedule();
  }
  EXPECT_GE(orders, 2u);
}

// The last block of the device needs a larger table, for which there is no cluster left.
TEST_F(RefcountGrowthTest, ADeviceThatEndsBeforeALargerTableIsFull) {
  disk_.content.resize(2 * kMiB + 512);
  open(small(), true);
  Result<Claim> next = claim(64);
  while (next.has_value()) {
    next = claim(64);
  }
  EXPECT_EQ(next.error().code, ErrorCode::no_space);
  ASSERT_TRUE(flush().has_value());
  expect_blocks_describe_themselves();
}

TEST_F(RefcountGrowthTest, ATableBeyondItsLimitIsNotMade) {
  open(small());
  BlockingWaiter waiter(*engine_);
  metadata_->satisfy({Need::Kind::refcount_growth, HostOffset(std::uint64_t{1} << 40), 0}, waiter);
  const Result<void> grown = waiter.wait();
  ASSERT_FALSE(grown.has_value());
  EXPECT_EQ(grown.error().code, ErrorCode::no_space);
  EXPECT_EQ(grown.error().tag, IoTag::refcount_table);
  EXPECT_TRUE(claim(1).has_value());
}

// H3: one of them would cut off what the other writes behind the end.
TEST_F(RefcountGrowthTest, TheFileAndItsCountsGrowOneAfterTheOther) {
  open(small());
  const std::uint64_t end = metadata_->refcounts.block_end() * 64 * 512;
  const Need blocks{Need::Kind::refcount_growth, HostOffset(end), 0};
  const Need file{Need::Kind::file_growth, HostOffset(8 * kMiB), 0};
  for (const auto& [first, second] : {std::pair(blocks, file), std::pair(file, blocks)}) {
    BlockingWaiter one(*engine_);
    BlockingWaiter other(*engine_);
    metadata_->satisfy(first, one);
    metadata_->satisfy(second, other);
    EXPECT_NE(metadata_->file_growth.is_running(), metadata_->refcount_growth.is_running());
    EXPECT_FALSE(metadata_->is_idle());
    EXPECT_TRUE(one.wait().has_value());
    EXPECT_TRUE(other.wait().has_value());
  }
}

// Whoever closes an image waits for everything that runs by itself.
TEST_F(RefcountGrowthTest, AnImageIsIdleWhenNothingRuns) {
  open(small());
  const auto expect_busy = [&](auto&& begin) {
    ASSERT_TRUE(metadata_->is_idle());
    BlockingWaiter waiter(*engine_);
    begin(waiter);
    EXPECT_FALSE(metadata_->is_idle());
    static_cast<void>(waiter.wait());
    while (!metadata_->is_idle()) {
      engine_->wait();
    }
  };
  expect_busy([&](Waiter& waiter) { metadata_->commit.flush(waiter); });
  expect_busy([&](Waiter& waiter) { metadata_->defer(waiter, {}); });
  expect_busy([&](Waiter& waiter) {
    metadata_->defer(waiter, failure(ErrorCode::cancelled, "for the test"));
  });
  expect_busy([&](Waiter& waiter) {
    metadata_->satisfy({Need::Kind::l2_table, HostOffset(512), 0}, waiter);
  });
  expect_busy([&](Waiter& waiter) {
    metadata_->satisfy({Need::Kind::refcount_block, HostOffset(metadata_->refcounts.table()[0]), 0},
                       waiter);
  });
  HeaderWriter::Update update;
  expect_busy([&](Waiter& waiter) { metadata_->take_dirty(waiter, update); });
  // Who comes second finds it dirty already.
  HeaderWriter::Update second;
  expect_busy([&](Waiter& waiter) { metadata_->take_dirty(waiter, second); });
  metadata_->released_dirty();
  EXPECT_TRUE(metadata_->header.is_dirty());
  metadata_->released_dirty();
  EXPECT_FALSE(metadata_->header.is_dirty());
}

TEST_F(RefcountGrowthTest, ADirtyImageIsTakenWithoutAWrite) {
  open(small());
  metadata_->header.incompatible |= kIncompatibleDirty;  // As the file has it.
  BlockingWaiter waiter(*engine_);
  HeaderWriter::Update update;
  metadata_->take_dirty(waiter, update);
  ASSERT_TRUE(waiter.wait().has_value());
  EXPECT_EQ(trace_.count(StorageOperation::write), 0u);
  HeaderPatch patch;
  metadata_->patch_without_dirty(patch);
  metadata_->released_dirty();
  EXPECT_FALSE(metadata_->header.is_dirty());
}

}  // namespace
}  // namespace varve::test
