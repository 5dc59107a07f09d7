// Goal: a device that fails behind a point of no return - apply's switch in memory, the publication
// of a creation or a deletion - costs the operation at most: the handle says so, nobody waits for
// ever, and the file, opened again, holds the old disk or the new one whole, every snapshot, and a
// clean image, leaks at most. Method: I/O number i from that point on fails, alone or with all that
// follow, for each i until none is hit.
#include <utility>

#include <gtest/gtest.h>

#include "sim/faulty_storage.h"
#include "snapshot/operation_ground.h"

namespace varve::test {
namespace {

constexpr std::byte kOld{2};   // The disk ...
constexpr std::byte kThen{1};  // ... and its snapshots.

class DeviceFailure : public OperationTest {
 protected:
  // From the first time the operation tells of `phase`.
  struct Trap {
    SnapshotPhase phase;
    sim::FaultRule rule;
    sim::FaultPlan* plan;
    bool is_set = false;

    static void changed(SnapshotOperation& operation, void* owner) {
      Trap& trap = *static_cast<Trap*>(owner);
      if (operation.progress().phase == trap.phase && !std::exchange(trap.is_set, true)) {
        trap.plan->reset_counts();
        trap.plan->add(trap.rule);
      }
    }
  };

  // The disk of 2s over two snapshots of 1s; what it asks of its device goes through `plan_`.
  void make_disk() {
    make_tables(3);
    take("one");
    take("two");
    write_each(kOld);
    VARVE_MUST(image_->close());
    image_.reset();
    plan_ = sim::FaultPlan();
    auto storage = std::make_unique<sim::FaultyStorage>(
        std::make_unique<sim::SimStorage>(*engine_, disk_), plan_);
    OpenOptions options;
    options.writable = true;
    auto opened = Image::open(std::move(storage), "/lab", options);
    VARVE_MUST(opened);
    image_ = std::move(*opened);
  }

  // Runs to its end with a guest's write and flush behind the trap; false once nothing was hit.
  template <class Start>
  bool run(const Trap& wanted, Start&& start_operation) {
    make_disk();
    Trap trap = wanted;
    trap.plan = &plan_;
    OperationOptions options;
    options.owner = &trap;
    options.changed = &Trap::changed;
    Result<Operation> started = start_operation(options);
    EXPECT_TRUE(started.has_value()) << describe(started.error());
    const Operation operation = started ? std::move(*started) : nullptr;
    if (operation == nullptr) {
      return false;
    }
    while (!trap.is_set) {
      engine_->wait();
    }
    GuestRequest write(*image_, BlockOperation::write, kTableCovers + kClusterBytes, kClusterBytes,
                       std::byte{7});
    GuestRequest flush(*image_, BlockOperation::flush, 0, 0);
    while (!operation->is_done() || !write.result || !flush.result) {
      engine_->wait();
    }
    result_ = operation->result();
    flushed_ = *flush.result;
    is_poisoned_ = metadata().commit.is_poisoned();
    if (is_poisoned_) {
      EXPECT_EQ(image_->flush().error().code, ErrorCode::poisoned);
      EXPECT_EQ(image_->write(0, write.bytes).error().code, ErrorCode::poisoned);
      EXPECT_EQ(start_create(*image_, {}).error().code, ErrorCode::poisoned);
    }
    const bool was_hit = plan_.hits() != 0;
    plan_.lift();
    static_cast<void>(image_->close());
    image_.reset();
    return was_hit;
  }

  // The file as another program finds it: nothing of the session that failed is needed.
  void expect_file(std::byte disk, std::size_t snapshots) {
    open();
    expect_each(*image_, disk);
    ASSERT_EQ(list().size(), snapshots);
    for (std::size_t i = 0; i < snapshots; ++i) {
      expect_snapshot(i, kThen);
    }
    EXPECT_FALSE(image_->facts().dirty);
    const auto report = varve::check(*image_);
    VARVE_MUST(report);
    EXPECT_EQ(report->corruptions, 0u);
    EXPECT_EQ(report->failures, 0u);
    ASSERT_NO_FATAL_FAILURE(close_and_judge(false));
  }

  // Every I/O behind the phase, alone and with all that follow.
  template <class Run>
  void each(SnapshotPhase phase, Run&& run_one) {
    for (const bool from_then_on : {false, true}) {
      bool was_hit = true;
      for (std::uint64_t i = 0; was_hit && !HasFailure(); ++i) {
        SCOPED_TRACE("I/O " + std::to_string(i) + (from_then_on ? " and all later ones" : ""));
        Trap trap{phase, {}, nullptr};
        trap.rule.nth = i;
        trap.rule.from_then_on = from_then_on;
        was_hit = run_one(trap);
        EXPECT_TRUE(was_hit || i > 2);
      }
    }
  }
  // What the file shows, opened again: all that a header whose outcome is unknown leaves open.
  struct Shown {
    std::byte disk{0};
    std::size_t snapshots = 0;
  };
  Shown look() {
    open();
    ByteVector bytes(kClusterBytes);
    EXPECT_TRUE(image_->read(0, bytes).has_value());
    const Shown shown{bytes[0], list().size()};
    EXPECT_TRUE(image_->close().has_value());
    image_.reset();
    return shown;
  }

  sim::FaultPlan plan_;
  Result<void> result_;
  Result<void> flushed_;
  bool is_poisoned_ = false;
};

// History: snapshot -a.
TEST_F(DeviceFailure, BehindTheSwitchOfAnApplyPoisonsAndTheFileHoldsTheOldDisk) {
  std::size_t kept = 0;
  each(SnapshotPhase::publishing, [&](const Trap& trap) {
    const bool was_hit = run(
        trap, [&](const OperationOptions& options) { return start_apply(*image_, 0, options); });
    const bool is_applied = look().disk == kThen;
    EXPECT_TRUE(is_applied || !result_.has_value());
    if (!is_applied) {
      EXPECT_TRUE(is_poisoned_);
      EXPECT_EQ(flushed_.error().code, ErrorCode::poisoned);
    }
    kept += is_applied ? 0 : 1;
    expect_file(is_applied ? kThen : kOld, 2);
    return was_hit;
  });
  EXPECT_GT(kept, 8u);
}

TEST_F(DeviceFailure, BehindThePublicationOfAnApplyKeepsTheNewDisk) {
  each(SnapshotPhase::reclaiming, [&](const Trap& trap) {
    const bool was_hit = run(
        trap, [&](const OperationOptions& options) { return start_apply(*image_, 0, options); });
    expect_file(kThen, 2);
    return was_hit;
  });
}

TEST_F(DeviceFailure, InThePublicationOfACreationLeavesItOrNothing) {
  std::size_t undone = 0;
  each(SnapshotPhase::publishing, [&](const Trap& trap) {
    const bool was_hit = run(trap, [&](const OperationOptions& options) {
      return Result<Operation>(start("three", options));
    });
    const bool is_there = look().snapshots == 3;
    EXPECT_TRUE(is_there || !result_.has_value());
    EXPECT_TRUE(!is_there || result_.has_value() || is_poisoned_);
    undone += is_there ? 0 : 1;
    if (is_there) {
      open();
      expect_snapshot(2, kOld);
      EXPECT_TRUE(delete_snapshot(*image_, 2).has_value());
      EXPECT_TRUE(image_->close().has_value());
    }
    expect_file(kOld, 2);
    return was_hit;
  });
  EXPECT_GT(undone, 2u);
}

TEST_F(DeviceFailure, InThePublicationOfADeletionLeavesItOrNothing) {
  each(SnapshotPhase::publishing, [&](const Trap& trap) {
    const bool was_hit = run(
        trap, [&](const OperationOptions& options) { return start_delete(*image_, 0, options); });
    const std::size_t left = look().snapshots;
    EXPECT_TRUE(left == 1 || !result_.has_value());
    expect_file(kOld, left);
    return was_hit;
  });
}

TEST_F(DeviceFailure, BehindThePublicationOfADeletionCostsNothingElse) {
  each(SnapshotPhase::reclaiming, [&](const Trap& trap) {
    const bool was_hit = run(
        trap, [&](const OperationOptions& options) { return start_delete(*image_, 0, options); });
    expect_file(kOld, 1);
    return was_hit;
  });
}

}  // namespace
}  // namespace varve::test
