// Goal: the simulated storages keep Storage's contract, and each decorator does what it says.
#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

#include "sim/blocking.h"
#include "sim/delay_storage.h"
#include "sim/faulty_storage.h"
#include "sim/scheduled_storage.h"
#include "sim/sim_disk.h"
#include "sim/trace_storage.h"

namespace varve::sim {
namespace {

using Flat = std::vector<std::byte>;

class Storages : public testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.backend = AioBackend::threads;
    auto engine = Engine::create(options);
    ASSERT_TRUE(engine.has_value());
    engine_ = std::move(*engine);
  }
  std::unique_ptr<Storage> memory() { return std::make_unique<SimStorage>(*engine_, disk_); }
  static Flat filled(std::size_t size, int value) {
    return Flat(size, static_cast<std::byte>(value));
  }
  Flat content(std::uint64_t offset, std::size_t size) {
    Flat bytes(size);
    disk_.content.read(offset, bytes);
    return bytes;
  }

  std::unique_ptr<Engine> engine_;
  SimDisk disk_;
};

TEST_F(Storages, MemoryOutlivesItsOpening) {
  auto storage = memory();
  ASSERT_TRUE(blocking_write(*storage, 100, filled(50, 3)));
  EXPECT_EQ(storage->size(), 150u);
  storage.reset();
  storage = memory();
  Flat read(50);
  ASSERT_TRUE(blocking_read(*storage, 100, read));
  EXPECT_EQ(read, filled(50, 3));
}

TEST_F(Storages, FixedSizeRefusesToGrow) {
  disk_.content.resize(1024);
  disk_.capabilities.fixed_size = true;
  auto storage = memory();
  EXPECT_TRUE(blocking_write(*storage, 0, filled(1024, 1)));
  const Result<void> beyond = blocking_write(*storage, 1000, filled(100, 1));
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code, ErrorCode::out_of_range);
  EXPECT_FALSE(blocking(*storage, StorageOperation::resize, 4096, 0));
}

TEST_F(Storages, CompletionNeverRunsInsideSubmit) {
  FaultPlan plan;
  Trace trace;
  std::unique_ptr<Storage> storage = std::make_unique<TraceStorage>(
      std::make_unique<FaultyStorage>(
          std::make_unique<DelayStorage>(memory(), seed_from_environment()), plan),
      trace);
  plan.fail_index(1, EIO);
  Flat bytes(512);
  Pending first(StorageOperation::read, IoTag::l2, 0, Bytes(bytes));
  Pending second(StorageOperation::read, IoTag::l2, 0, Bytes(bytes));
  storage->submit(first.request);
  storage->submit(second.request);
  EXPECT_FALSE(first.is_done());
  EXPECT_FALSE(second.is_done());
  EXPECT_TRUE(first.wait(*engine_));
  EXPECT_FALSE(second.wait(*engine_));
}

TEST_F(Storages, TraceTellsWhatWasDurableWhen) {
  Trace trace;
  TraceStorage storage(memory(), trace);
  ASSERT_TRUE(blocking_write(storage, 0, filled(512, 1), IoTag::refcount_block));
  ASSERT_TRUE(blocking_flush(storage));
  ASSERT_TRUE(blocking_write(storage, 512, filled(512, 1), IoTag::l2));
  const TraceEntry* block = trace.find(StorageOperation::write, IoTag::refcount_block);
  const TraceEntry* table = trace.find(StorageOperation::write, IoTag::l2);
  ASSERT_NE(block, nullptr);
  ASSERT_NE(table, nullptr);
  EXPECT_TRUE(trace.is_durable_before(*block, table->submitted));
  EXPECT_FALSE(trace.is_durable_before(*table, TraceEntry::kNever));
  EXPECT_EQ(trace.count(StorageOperation::write), 2u);
  EXPECT_EQ(trace.count(StorageOperation::write, IoTag::l2), 1u);
}

TEST_F(Storages, FaultsHitTheRequestTheyName) {
  FaultPlan plan;
  FaultyStorage storage(memory(), plan);
  FaultRule rule;
  rule.tag = IoTag::l2;
  rule.operation = StorageOperation::write;
  rule.nth = 1;
  rule.os_errno = ENOSPC;
  plan.add(rule);
  EXPECT_TRUE(blocking_write(storage, 0, filled(512, 1), IoTag::l1));
  EXPECT_TRUE(blocking_write(storage, 0, filled(512, 1), IoTag::l2));
  const Result<void> hit = blocking_write(storage, 0, filled(512, 2), IoTag::l2);
  ASSERT_FALSE(hit);
  EXPECT_EQ(hit.error().code, ErrorCode::no_space);
  EXPECT_EQ(hit.error().os_errno, ENOSPC);
  EXPECT_TRUE(blocking_write(storage, 0, filled(512, 3), IoTag::l2));
  EXPECT_EQ(content(0, 512), filled(512, 3));
  EXPECT_EQ(plan.hits(), 1u);
  EXPECT_EQ(plan.seen(), 4u);
}

TEST_F(Storages, FaultsFromThenOnLastUntilLifted) {
  FaultPlan plan;
  FaultyStorage storage(memory(), plan);
  FaultRule rule;
  rule.nth = 1;
  rule.from_then_on = true;
  plan.add(rule);
  EXPECT_TRUE(blocking_write(storage, 0, filled(512, 1)));
  EXPECT_FALSE(blocking_write(storage, 0, filled(512, 1)));
  EXPECT_FALSE(blocking_write(storage, 0, filled(512, 1)));
  plan.lift();
  EXPECT_TRUE(blocking_write(storage, 0, filled(512, 1)));
}

TEST_F(Storages, TornWriteKeepsItsFrontAndFails) {
  FaultPlan plan;
  FaultyStorage storage(memory(), plan);
  plan.fail_index(0, EIO, FaultEffect::torn, 700);
  EXPECT_FALSE(blocking_write(storage, 0, filled(2000, 5)));
  EXPECT_EQ(content(0, 700), filled(700, 5));
  EXPECT_EQ(content(700, 1300), filled(1300, 0));
}

TEST_F(Storages, LostWriteClaimsSuccess) {
  FaultPlan plan;
  FaultyStorage storage(memory(), plan);
  plan.fail_index(0, EIO, FaultEffect::lost);
  EXPECT_TRUE(blocking_write(storage, 0, filled(512, 5)));
  EXPECT_EQ(content(0, 512), filled(512, 0));
}

TEST_F(Storages, FailedFlushStaysFailedAfterTheFaultIsLifted) {
  FaultPlan plan;
  FaultyStorage storage(memory(), plan);
  plan.fail_index(0, EIO);
  EXPECT_FALSE(blocking_flush(storage));
  plan.lift();
  EXPECT_FALSE(blocking_flush(storage));
  EXPECT_TRUE(blocking_write(storage, 0, filled(512, 5)));
}

TEST_F(Storages, DelayCompletesInAnotherOrderAndTheSameForTheSameSeed) {
  const auto order_with = [&](std::uint64_t seed) {
    DelayStorage storage(memory(), seed);
    std::vector<std::unique_ptr<Pending>> requests;
    std::vector<std::size_t> order;
    Flat bytes(512);
    for (int i = 0; i < 16; ++i) {
      requests.push_back(
          std::make_unique<Pending>(StorageOperation::read, IoTag::none, 0, Bytes(bytes)));
      storage.submit(requests.back()->request);
    }
    while (order.size() < requests.size()) {
      engine_->wait();
      for (std::size_t i = 0; i < requests.size(); ++i) {
        if (requests[i]->is_done() && std::find(order.begin(), order.end(), i) == order.end()) {
          order.push_back(i);
        }
      }
    }
    return order;
  };
  const std::uint64_t seed = seed_from_environment();
  const std::vector<std::size_t> order = order_with(seed);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(order_with(seed), order);
}

TEST_F(Storages, DelayedOverlappingWritesLeaveWholeSectorsOfOneOfThem) {
  Random random(seed_from_environment());
  for (int round = 0; round < 50; ++round) {
    DelayStorage storage(memory(), random.next());
    Flat ones = filled(4096, 1);
    Flat twos = filled(4096, 2);
    Pending one(StorageOperation::write, IoTag::none, 0, Bytes(ones));
    Pending two(StorageOperation::write, IoTag::none, 0, Bytes(twos));
    storage.submit(one.request);
    storage.submit(two.request);
    ASSERT_TRUE(one.wait(*engine_));
    ASSERT_TRUE(two.wait(*engine_));
    for (std::uint64_t sector = 0; sector < 8; ++sector) {
      const Flat found = content(sector * 512, 512);
      EXPECT_TRUE(found == filled(512, 1) || found == filled(512, 2));
    }
  }
}

TEST_F(Storages, AScheduleGoesThroughEveryOrder) {
  Schedule schedule;
  std::vector<std::vector<int>> orders;
  do {
    ScheduledStorage storage(memory());
    storage.follow(schedule);
    std::vector<int> order;
    std::vector<std::unique_ptr<Pending>> writes;
    Flat bytes = filled(1, 1);
    for (std::uint64_t i = 0; i < 3; ++i) {
      writes.push_back(
          std::make_unique<Pending>(StorageOperation::write, IoTag::none, i, Bytes(bytes)));
      storage.submit(writes.back()->request);
    }
    while (order.size() < writes.size()) {
      engine_->wait();
      for (int i = 0; i < 3; ++i) {
        const bool is_new = std::find(order.begin(), order.end(), i) == order.end();
        if (writes[static_cast<std::size_t>(i)]->is_done() && is_new) {
          order.push_back(i);
        }
      }
    }
    orders.push_back(order);
  } while (schedule.next());
  std::sort(orders.begin(), orders.end());
  const std::vector<std::vector<int>> expected = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                                  {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  EXPECT_EQ(orders, expected);
}

}  // namespace
}  // namespace varve::sim
