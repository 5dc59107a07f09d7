// Goal: whatever I/O of a creation fails, the caller is told 2 (or by the job), no disk keeps a
// trace, and a second try succeeds; where a flush failed, after the images were opened again.
// Method: the creation runs once to count its I/O per disk, then again with each of them failing.
//
// VARVE_FAULT_RUNS bounds the runs of each test (0: every I/O); VARVE_SEED chooses them.
#include <gtest/gtest.h>
#include <varve/check.h>

#include "service/world.h"
#include "sim/random.h"

namespace varve::test {
namespace {

class Fault : public ::testing::TestWithParam<bool> {
 protected:
  // A world of running systems whose disks hold something.
  struct Stage {
    Stage(bool synchronous, unsigned systems) : world(synchronous) {
      for (unsigned i = 0; i < systems; ++i) {
        vms.push_back(&world.add_system(i + 1, "vm"));
        vms.back()->state = EnabledState::running;
        World::fill(*vms.back(), i);
        world.define(*vms.back());
        for (const auto& disk : vms.back()->disks) {
          disks.push_back(disk.get());
        }
      }
      define_set();
      for (TestDisk* disk : disks) {
        EXPECT_TRUE(disk->image->flush());
        disk->plan.reset_counts();
      }
    }
    void define_set() {
      if (vms.size() > 1) {
        std::vector<std::string> paths;
        for (const TestSystem* vm : vms) {
          paths.push_back(vm->path);
        }
        set = world.collection(90, paths);
      }
    }
    World::Outcome create() {
      return vms.size() > 1 ? world.create_collection(set) : world.create(vms[0]->path, 2);
    }
    std::size_t entries() const {
      std::size_t count = 0;
      for (const TestDisk* disk : disks) {
        count += World::entries(*disk);
      }
      return count;
    }
    bool is_poisoned() const {
      for (const TestDisk* disk : disks) {
        const Result<void> flushed = disk->image->flush();
        if (!flushed && flushed.error().code == ErrorCode::poisoned) {
          return true;
        }
      }
      return false;
    }
    World world;
    std::vector<TestSystem*> vms;
    std::vector<TestDisk*> disks;
    std::string set;
  };

  static void expect_no_trace(Stage& stage) {
    EXPECT_EQ(stage.entries(), 0u);
    for (TestSystem* vm : stage.vms) {
      EXPECT_FALSE(vm->provider.is_quiesced);
      EXPECT_TRUE(stage.world.snapshots(*vm).empty());
    }
  }
  static void expect_whole(Stage& stage) {
    for (TestDisk* disk : stage.disks) {
      const auto report = check(*disk->image);
      ASSERT_TRUE(report);
      EXPECT_EQ(report->corruptions, 0u);
    }
  }

  void run(unsigned systems, std::size_t disk, std::uint64_t index) {
    Stage stage(GetParam(), systems);
    stage.disks[disk]->plan.fail_index(index, EIO);
    const auto outcome = stage.create();
    const bool was_hit = stage.disks[disk]->plan.hits() > 0;
    stage.disks[disk]->plan.lift();
    EXPECT_TRUE(was_hit);
    if (stage.world.succeeded(outcome)) {
      return;  // Hints may fail: space that is not given back, say.
    }
    stage.world.expect_failure(outcome, 2, 32768);
    if (stage.is_poisoned()) {
      stage.world.restart();
      stage.define_set();
    }
    expect_no_trace(stage);
    const auto again = stage.create();
    EXPECT_TRUE(stage.world.succeeded(again)) << again.code << ' ' << again.ended.error_description;
    EXPECT_EQ(stage.entries(), stage.disks.size());
    expect_whole(stage);
  }

  void run_all(unsigned systems, std::uint64_t runs_max) {
    const std::uint64_t seed = sim::seed_from_environment();
    const std::uint64_t limit = sim::environment_number("VARVE_FAULT_RUNS", runs_max);
    std::vector<std::uint64_t> counts;
    {
      Stage stage(GetParam(), systems);
      ASSERT_TRUE(stage.world.succeeded(stage.create()));
      for (const TestDisk* disk : stage.disks) {
        counts.push_back(disk->plan.seen());
        EXPECT_GT(counts.back(), 0u);
      }
    }
    std::uint64_t left = 0;
    for (const std::uint64_t count : counts) {
      left += count;
    }
    std::uint64_t wanted = limit == 0 ? left : std::min(limit, left);
    sim::Random choice(seed);
    for (std::size_t disk = 0; disk < counts.size(); ++disk) {
      for (std::uint64_t index = 0; index < counts[disk]; ++index) {
        if (choice.below(left--) >= wanted) {
          continue;
        }
        --wanted;
        SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed) + ", disk " + std::to_string(disk) +
                     ", I/O " + std::to_string(index) + " of " + std::to_string(counts[disk]));
        run(systems, disk, index);
        if (HasFailure()) {
          return;
        }
      }
    }
  }
};

TEST_P(Fault, EachIoOfAFullSnapshotFailsOnce) {
  run_all(1, 0);
}
TEST_P(Fault, SomeIosOfACollectionSnapshotFailOnce) {
  run_all(3, 40);
}

INSTANTIATE_TEST_SUITE_P(Modes, Fault, ::testing::Bool(), kNameMode);

}  // namespace
}  // namespace varve::test
