// Snapshot operations behind guest I/O: stepwise, cancelled, queued, ended by close; what they read
// and how often they make the storage durable.
#include <functional>

#include <gtest/gtest.h>
#include <varve/diff.h>

#include "sim/delay_storage.h"
#include "snapshot/operation_ground.h"

namespace varve::test {
namespace {

TEST_F(OperationTest, AFrozenDiskIsPublishedWhileTheGuestGoesOn) {
  make_tables(8);
  const Operation create = start("one", {.stepwise = true});
  ASSERT_NE(create, nullptr);
  VARVE_MUST(create->wait_for(SnapshotPhase::ready));
  EXPECT_EQ(create->id(), "1");
  write_at(3, std::byte{1}, 1);
  VARVE_MUST(create->freeze());
  EXPECT_EQ(create->progress().phase, SnapshotPhase::frozen);
  write_each(std::byte{2});  // Completes although nothing was walked, flush included.
  write_at(3, std::byte{2}, 1);
  EXPECT_FALSE(create->wait().has_value());  // It stands still.
  VARVE_MUST(create->publish());
  VARVE_MUST(create->wait());
  EXPECT_GT(create->times().total_nanoseconds, 0u);
  EXPECT_EQ(create->uuid(), list()[0].uuid);
  expect_snapshot(0, std::byte{1});
  expect_each(*image_, std::byte{2});
  check();
  expect_snapshot(0, std::byte{1});
}

// Goal: a guest's drops on the frozen tree, however many and scattered, wait for nobody.
TEST_F(OperationTest, NoWriteWaitsForTheWalk) {
  make_tables(24);
  for (std::uint64_t table = 0; table < tables(); ++table) {
    const ByteVector bytes(kTableCovers, std::byte{1});
    VARVE_MUST(image_->write(table * kTableCovers, bytes));
  }
  const Operation create = start("one", {.stepwise = true});
  VARVE_MUST(create->wait_for(SnapshotPhase::ready));
  VARVE_MUST(create->freeze());
  for (std::uint64_t cluster = 0; cluster < 512; cluster += 4) {
    for (std::uint64_t table = 0; table < tables(); ++table) {
      write_at(table, std::byte{2}, cluster);
    }
  }
  EXPECT_EQ(create->progress().phase, SnapshotPhase::frozen);
  EXPECT_TRUE(metadata().store.has_drops());
  VARVE_MUST(create->publish());
  VARVE_MUST(create->wait());
  expect_snapshot(0, std::byte{1});
  check();
}

TEST_F(OperationTest, FreezePublishAndCancelMayBeCalledInsideCallbacks) {
  struct Seen {
    std::vector<SnapshotPhase> phases;
    bool cancels = false;
  };
  make_tables(4);
  OperationOptions options;
  options.stepwise = true;
  options.changed = [](SnapshotOperation& operation, void* owner) {
    auto& seen = *static_cast<Seen*>(owner);
    const SnapshotPhase phase = operation.progress().phase;
    seen.phases.push_back(phase);
    if (phase == SnapshotPhase::ready) {
      EXPECT_TRUE(operation.freeze().has_value());
    } else if (phase == SnapshotPhase::frozen && seen.cancels) {
      operation.cancel();
    } else if (phase == SnapshotPhase::frozen) {
      EXPECT_TRUE(operation.publish().has_value());
    }
  };
  for (const bool cancels : {false, true}) {
    Seen seen;
    seen.cancels = cancels;
    options.owner = &seen;
    const Operation create = start("one", options);
    while (!create->is_done()) {
      engine_->wait();
    }
    EXPECT_EQ(create->result().has_value(), !cancels);
    EXPECT_EQ(seen.phases[0], SnapshotPhase::preparing);
    EXPECT_EQ(seen.phases[1], SnapshotPhase::ready);
    EXPECT_EQ(seen.phases[2], SnapshotPhase::frozen);
    EXPECT_EQ(seen.phases.back(), SnapshotPhase::done);
    EXPECT_EQ(list().size(), 1u);
  }
  check();
}

TEST_F(OperationTest, WrongStepsAreRefused) {
  make_tables(2);
  const Operation create = start("one", {.stepwise = true});
  EXPECT_EQ(create->publish().error().code, ErrorCode::invalid_argument);
  VARVE_MUST(create->wait_for(SnapshotPhase::ready));
  VARVE_MUST(create->freeze());
  EXPECT_EQ(create->freeze().error().code, ErrorCode::invalid_argument);
  VARVE_MUST(create->publish());
  VARVE_MUST(create->wait());
  EXPECT_EQ(create->freeze().error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(create->publish().error().code, ErrorCode::invalid_argument);
  create->cancel();
  VARVE_MUST(create->result());
  const auto deletion = start_delete(*image_, 0);
  VARVE_MUST(deletion);
  EXPECT_EQ((*deletion)->freeze().error().code, ErrorCode::invalid_argument);
  VARVE_MUST((*deletion)->wait());
  EXPECT_EQ(start_delete(*image_, 0).error().code, ErrorCode::not_found);
}

// Goal: an operation cancelled, or its image closed, at any moment is wholly done or wholly undone,
// and the image is clean afterwards, COPIED flags included. Method: for each number of polls from 0
// until the operation is over by itself.
class EveryMoment : public OperationTest {
 protected:
  enum class Kind : std::uint8_t { create, apply, remove };
  enum class End : std::uint8_t { cancel, close };

  Operation start_kind(Kind kind) {
    if (kind == Kind::create) {
      return start("two");
    }
    const OperationOptions options{.stepwise = is_stepwise_};
    auto operation =
        kind == Kind::apply ? start_apply(*image_, 0, options) : start_delete(*image_, 0, options);
    EXPECT_TRUE(operation.has_value()) << describe(operation.error());
    return operation ? std::move(*operation) : nullptr;
  }
  // The disk: value 2 with snapshot "one" of value 1 under it; the guest writes 3s meanwhile.
  void run(Kind kind, End end) {
    bool is_over = false;
    for (unsigned polls = 0; !is_over && !HasFailure(); ++polls) {
      SCOPED_TRACE("after " + std::to_string(polls) + " polls");
      make_tables(3, [&](CreateOptions& options) { options.refcount_bits = refcount_bits_; });
      take("one");
      write_each(std::byte{2});
      const Operation operation = start_kind(kind);
      ASSERT_NE(operation, nullptr);
      run_polls(polls);
      GuestRequest write(*image_, BlockOperation::write, kTableCovers, kClusterBytes, std::byte{3});
      GuestRequest flush(*image_, BlockOperation::flush, 0, 0);
      run_polls(polls % 3);
      is_over = operation->is_done() ||
                (is_stepwise_ && operation->progress().phase == SnapshotPhase::reclaiming);
      if (end == End::cancel) {
        operation->cancel();
        while (!operation->is_done() || !write.result || !flush.result) {
          engine_->wait();
        }
      } else {
        VARVE_MUST(image_->close());
        ASSERT_TRUE(operation->is_done());
        image_.reset();
        open();
      }
      VARVE_MUST(*write.result);
      VARVE_MUST(*flush.result);
      judge(kind, operation->result());
    }
  }
  bool is_stepwise_ = false;
  std::uint32_t refcount_bits_ = 16;

  void judge(Kind kind, const Result<void>& result) {
    if (!result) {
      ASSERT_EQ(result.error().code, ErrorCode::cancelled) << describe(result.error());
    }
    const std::size_t without = kind == Kind::remove ? 0 : 1;
    const std::size_t with = kind == Kind::create ? 2 : without;
    ASSERT_EQ(list().size(), result ? with : (kind == Kind::remove ? 1u : without));
    EXPECT_FALSE(image_->facts().dirty);
    check(false);
    ByteVector bytes(kClusterBytes);
    VARVE_MUST(image_->read(0, bytes));
    EXPECT_EQ(bytes[0], kind == Kind::apply && result ? std::byte{1} : std::byte{2});
    if (!list().empty()) {
      expect_snapshot(0, std::byte{1});
    }
  }
};

TEST_F(EveryMoment, ACreationMayBeCancelled) {
  run(Kind::create, End::cancel);
}
TEST_F(EveryMoment, AnApplyMayBeCancelled) {
  run(Kind::apply, End::cancel);
}
TEST_F(EveryMoment, ADeletionMayBeCancelled) {
  run(Kind::remove, End::cancel);
}
// History: 8f5e9a8ee1.
TEST_F(EveryMoment, ClosingEndsACreation) {
  run(Kind::create, End::close);
}
TEST_F(EveryMoment, ClosingEndsAnApply) {
  run(Kind::apply, End::close);
}
TEST_F(EveryMoment, ClosingEndsADeletion) {
  run(Kind::remove, End::close);
}

// Goal: the same where counts might overflow, so that the new disk is counted before it is served.
TEST_F(EveryMoment, AnApplyThatCountsFirstMayBeCancelled) {
  refcount_bits_ = 2;
  run(Kind::apply, End::cancel);
}
TEST_F(EveryMoment, ClosingEndsAnApplyThatCountsFirst) {
  refcount_bits_ = 2;
  run(Kind::apply, End::close);
}

// Goal: what is cancelled in the very step before the switch does not stand still behind it.
TEST_F(EveryMoment, AStepwiseApplyMayBeCancelled) {
  is_stepwise_ = true;
  run(Kind::apply, End::cancel);
}
TEST_F(EveryMoment, AStepwiseDeletionMayBeCancelled) {
  is_stepwise_ = true;
  run(Kind::remove, End::cancel);
}
TEST_F(EveryMoment, ClosingEndsAStepwiseApply) {
  is_stepwise_ = true;
  run(Kind::apply, End::close);
}
TEST_F(EveryMoment, ClosingEndsAStepwiseDeletion) {
  is_stepwise_ = true;
  run(Kind::remove, End::close);
}

// History: cloud-hypervisor 53ee9ebb7.
TEST_F(OperationTest, ClosingEndsOperationsThatStandStillOrWait) {
  make_tables(2);
  const Operation standing = start("one", {.stepwise = true});
  const Operation queued = start("two", {.wait_for_turn = true});
  VARVE_MUST(standing->wait_for(SnapshotPhase::ready));
  VARVE_MUST(standing->freeze());
  VARVE_MUST(image_->close());
  EXPECT_EQ(standing->result().error().code, ErrorCode::cancelled);
  EXPECT_EQ(queued->result().error().code, ErrorCode::cancelled);
  EXPECT_EQ(start_create(*image_, {}).error().code, ErrorCode::invalid_argument);
  image_.reset();
  open();
  EXPECT_TRUE(list().empty());
  check();
}

TEST_F(OperationTest, AnUnfinishedOperationEndsWithItsHandle) {
  make_tables(2);
  {
    const Operation create = start("one", {.stepwise = true});
    VARVE_MUST(create->wait_for(SnapshotPhase::ready));
    VARVE_MUST(create->freeze());
  }
  EXPECT_TRUE(list().empty());
  take("two");
  check();
}

TEST_F(OperationTest, ASecondOperationWaitsOrIsBusy) {
  make_tables(3);
  const Operation first = start("one");
  EXPECT_EQ(start_create(*image_, {}).error().code, ErrorCode::busy);
  const Operation second = start("two", {.wait_for_turn = true});
  const Operation third = start("three", {.wait_for_turn = true});
  const Operation fourth = start("four", {.wait_for_turn = true});
  EXPECT_EQ(second->progress().phase, SnapshotPhase::queued);
  third->cancel();
  VARVE_MUST(fourth->wait());
  VARVE_MUST(first->result());
  VARVE_MUST(second->result());
  EXPECT_EQ(third->result().error().code, ErrorCode::cancelled);
  ASSERT_EQ(list().size(), 3u);
  EXPECT_EQ(list()[2].id, "3");
  // What waits for its turn looks its snapshot up again.
  auto one = start_delete(*image_, 0);
  auto same = start_delete(*image_, 0, {.wait_for_turn = true});
  auto two = start_delete(*image_, 1, {.wait_for_turn = true});
  VARVE_MUST(one);
  VARVE_MUST(same);
  VARVE_MUST(two);
  VARVE_MUST((*two)->wait());
  VARVE_MUST((*one)->result());
  EXPECT_EQ((*same)->result().error().code, ErrorCode::not_found);
  ASSERT_EQ(list().size(), 1u);
  EXPECT_EQ(list()[0].name, "four");
  check();
}

// Goal: one thread that holds both is told, instead of waiting for itself.
TEST_F(OperationTest, WaitingBehindAnOperationThatStandsStillIsRefused) {
  make_tables(2);
  const Operation first = start("one", {.stepwise = true});
  const Operation second = start("two", {.wait_for_turn = true});
  EXPECT_EQ(second->wait().error().code, ErrorCode::busy);
  EXPECT_EQ(first->progress().phase, SnapshotPhase::ready);
  VARVE_MUST(first->freeze());
  EXPECT_EQ(second->wait_for(SnapshotPhase::preparing).error().code, ErrorCode::busy);
  EXPECT_EQ(second->progress().phase, SnapshotPhase::queued);
  VARVE_MUST(first->publish());
  VARVE_MUST(second->wait());
  VARVE_MUST(first->result());
  EXPECT_EQ(list().size(), 2u);
  auto standing = start_delete(*image_, 0, {.stepwise = true});
  auto queued = start_apply(*image_, 1, {.wait_for_turn = true});
  VARVE_MUST(standing);
  VARVE_MUST(queued);
  EXPECT_EQ((*queued)->wait().error().code, ErrorCode::busy);
  (*standing)->cancel();  // Too late: it only goes on.
  VARVE_MUST((*queued)->wait());
  VARVE_MUST((*standing)->result());
  EXPECT_EQ(list().size(), 1u);
  check();
}

// Goal: a snapshot that is just being opened is there until it is closed, whatever happens to the
// table meanwhile. Method: opened after each number of polls of a creation with a deletion of the
// snapshot queued behind it.
TEST_F(OperationTest, ASnapshotBeingOpenedStays) {
  bool was_deleted = false;
  for (unsigned polls = 0; !was_deleted && !HasFailure(); ++polls) {
    SCOPED_TRACE("after " + std::to_string(polls) + " polls");
    make_tables(3);
    take("one");
    const Operation create = start("two");
    auto deletion = start_delete(*image_, 0, {.wait_for_turn = true});
    VARVE_MUST(deletion);
    run_polls(polls);
    was_deleted = list().size() == 1 && create->is_done();
    auto snapshot = was_deleted ? Result<std::unique_ptr<Image>>(std::unique_ptr<Image>())
                                : open_snapshot(*image_, 0);
    if (!snapshot) {
      EXPECT_EQ(snapshot.error().code, ErrorCode::busy) << describe(snapshot.error());
    }
    VARVE_MUST(create->wait());
    const Result<void> deleted = (*deletion)->wait();
    if (snapshot && *snapshot != nullptr) {
      EXPECT_EQ(deleted.error().code, ErrorCode::busy);
      expect_each(**snapshot, std::byte{1});
      VARVE_MUST((*snapshot)->close());
      snapshot->reset();
      EXPECT_EQ(diff_snapshots(*image_, {.index = 0}, {.index = 1}).value().size(), 0u);
    } else {
      VARVE_MUST(deleted);
    }
    check(false);
  }
}

TEST_F(OperationTest, ASnapshotInDeletionCannotBeOpenedNorAnOpenOneDeleted) {
  make_tables(2);
  take("one");
  auto deletion = start_delete(*image_, 0);
  VARVE_MUST(deletion);
  EXPECT_EQ(open_snapshot(*image_, 0).error().code, ErrorCode::busy);
  (*deletion)->cancel();
  EXPECT_EQ((*deletion)->wait().error().code, ErrorCode::cancelled);
  auto snapshot = open_snapshot(*image_, 0);
  VARVE_MUST(snapshot);
  EXPECT_EQ(start_delete(*image_, 0).error().code, ErrorCode::busy);
  VARVE_MUST((*snapshot)->close());
  snapshot->reset();
  VARVE_MUST(delete_snapshot(*image_, 0));
  check();
}

// Goal: the applied disk is served before the file holds it, and a flush completes only after.
TEST_F(OperationTest, ApplyServesBeforeTheFileFollowsAndFlushesWait) {
  make_tables(4);
  take("one");
  write_each(std::byte{2});
  reopen_traced();
  auto apply = start_apply(*image_, 0);
  VARVE_MUST(apply);
  VARVE_MUST((*apply)->wait_for(SnapshotPhase::publishing));
  const std::size_t headers = trace_.count(StorageOperation::write, IoTag::header);
  GuestRequest flush(*image_, BlockOperation::flush, 0, 0);
  GuestRequest write(*image_, BlockOperation::write, 0, kClusterBytes, std::byte{5});
  GuestRequest read(*image_, BlockOperation::read, kTableCovers, kClusterBytes);
  while (!read.result) {
    engine_->wait();
  }
  EXPECT_EQ(read.bytes, ByteVector(kClusterBytes, std::byte{1}));
  EXPECT_EQ(trace_.count(StorageOperation::write, IoTag::header), headers);
  EXPECT_FALSE(flush.result.has_value());
  while (!flush.result || !write.result) {
    engine_->wait();
  }
  EXPECT_GT(trace_.count(StorageOperation::write, IoTag::header), headers);
  VARVE_MUST((*apply)->wait());
  EXPECT_GT((*apply)->times().usable_nanoseconds, 0u);
  check();
  ByteVector bytes(kClusterBytes);
  VARVE_MUST(image_->read(0, bytes));
  EXPECT_EQ(bytes[0], std::byte{5});
  expect_snapshot(0, std::byte{1});
}

// Goal: how soon the new disk is served follows from reading what differs alone, and the pause from
// nothing. Method: disks of few and of many windows of tables; what was written or made durable
// when requests go on, and what is asked of the storage while they are held.
TEST_F(OperationTest, ApplyServesBeforeAnythingIsWrittenAndHoldsRequestsForNoIo) {
  struct Seen {
    const sim::Trace* trace;
    std::size_t at_switch = 0;
  };
  for (const std::uint64_t size : {4u, 300u}) {
    make_tables(size);
    take("one");
    write_each(std::byte{2});
    reopen_traced();
    auto& core = dynamic_cast<Qcow2Image&>(image_->core());
    Seen seen{&trace_};
    OperationOptions options;
    options.owner = &seen;
    options.changed = [](SnapshotOperation& operation, void* owner) {
      auto& at = *static_cast<Seen*>(owner);
      if (operation.progress().phase == SnapshotPhase::publishing) {
        at.at_switch = at.trace->entries().size();
        EXPECT_EQ(at.trace->count(StorageOperation::write), 0u);
        EXPECT_EQ(at.trace->count(StorageOperation::flush), 0u);
      }
    };
    auto apply = start_apply(*image_, 0, options);
    VARVE_MUST(apply);
    while (!core.is_gate_closed()) {
      run_polls(1);
    }
    const std::size_t at_gate = trace_.entries().size();
    EXPECT_EQ(trace_.count(StorageOperation::read, IoTag::l2), size);
    for (unsigned polls = 0; core.is_gate_closed(); ++polls) {
      ASSERT_LT(polls, 8u);
      run_polls(1);
    }
    EXPECT_EQ(seen.at_switch, at_gate);
    VARVE_MUST((*apply)->wait());
    expect_each(*image_, std::byte{1});
    check(false);
  }
}

// Goal: what guests make differ while an apply looks at the tables is looked at too, behind the
// gate for a few tables only.
TEST_F(OperationTest, ApplyFollowsAGuestThatCopiesTablesMeanwhile) {
  constexpr std::uint64_t kTables = 200;
  make_tables(kTables);
  take("one");
  for (std::uint64_t table = 0; table < kTables; table += 2) {
    write_at(table, std::byte{2});
  }
  reopen_traced();
  auto& core = dynamic_cast<Qcow2Image&>(image_->core());
  auto apply = start_apply(*image_, 0);
  VARVE_MUST(apply);
  std::vector<std::unique_ptr<GuestRequest>> writes;
  while (!core.is_gate_closed()) {
    const std::uint64_t table = 2 * writes.size() + 1;
    if (table < kTables) {
      writes.push_back(std::make_unique<GuestRequest>(
          *image_, BlockOperation::write, table * kTableCovers, kClusterBytes, std::byte{2}));
    }
    run_polls(1);
  }
  const std::size_t before = trace_.count(StorageOperation::read, IoTag::l2);
  while (core.is_gate_closed()) {
    run_polls(1);
  }
  EXPECT_GT(writes.size(), 4u);
  EXPECT_LE(trace_.count(StorageOperation::read, IoTag::l2) - before, 8u);
  VARVE_MUST((*apply)->wait());
  expect_each(*image_, std::byte{1});
  expect_snapshot(0, std::byte{1});
  check();
}

// Goal: a count that cannot take one more reference refuses, and all is as before.
// History: d1ea98d56d.
TEST_F(OperationTest, FullCountsRefuseAndNothingStays) {
  for (const std::uint32_t bits : {2u, 4u}) {
    make_tables(5, [bits](CreateOptions& options) { options.refcount_bits = bits; });
    const std::size_t possible = (1u << bits) - 2;
    for (std::size_t i = 0; i < possible; ++i) {
      take("snapshot");
    }
    const auto refused = create_snapshot(*image_, {});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::out_of_range) << describe(refused.error());
    EXPECT_EQ(list().size(), possible);
    check();
    write_each(std::byte{2});
    VARVE_MUST(create_snapshot(*image_, {}));
    const Result<void> applied = apply_snapshot(*image_, 0);
    VARVE_MUST(applied);
    expect_each(*image_, std::byte{1});
    check();
  }
}

// Goal: all of it on storage that reorders and splits. Method: seeded delays, a guest at work.
TEST_F(OperationTest, WorksOnStorageThatReorders) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  for (std::uint64_t round = 0; round < 2; ++round) {
    make_tables(16);
    open_with([&](std::unique_ptr<Storage> storage) {
      return std::make_unique<sim::DelayStorage>(std::move(storage), seed + round);
    });
    const Operation create = start("one");
    VARVE_MUST(create->wait_for(SnapshotPhase::walking));
    write_each(std::byte{2});
    VARVE_MUST(create->wait());
    expect_snapshot(0, std::byte{1});
    auto apply = start_apply(*image_, 0);
    VARVE_MUST(apply);
    VARVE_MUST((*apply)->wait_for(SnapshotPhase::publishing));
    expect_each(*image_, std::byte{1});
    write_each(std::byte{3});
    VARVE_MUST((*apply)->wait());
    auto deletion = start_delete(*image_, 0);
    VARVE_MUST(deletion);
    VARVE_MUST((*deletion)->wait_for(SnapshotPhase::reclaiming));
    write_each(std::byte{4});
    VARVE_MUST((*deletion)->wait());
    check();
    expect_each(*image_, std::byte{4});
  }
}

}  // namespace
}  // namespace varve::test
