// Goal: what a crash left unfinished between a system's disks is finished or undone when the system
// is defined again. Method: the states a crash leaves are made by hand, by the members' reserved
// names; image_set.h lists them.
#include <gtest/gtest.h>

#include "service/stored_settings.h"
#include "service/world.h"

namespace varve::test {
namespace {

class Settle : public ::testing::TestWithParam<bool> {
 protected:
  Settle() {
    World::fill(vm, 1);
    EXPECT_TRUE(world.succeeded(world.create(vm.path, 3)));
    name = world.snapshots(vm).front().element_name;
  }
  Image& image(std::size_t disk) { return *vm.disks[disk]->image; }
  void rename(std::size_t disk, std::string_view to) {
    ASSERT_TRUE(rename_snapshot(image(disk), 0, to));
  }
  // One whole snapshot of the name, or nothing on any disk.
  void expect_whole() {
    world.restart();
    ASSERT_EQ(world.snapshots(vm).size(), 1u);
    EXPECT_TRUE(world.snapshots(vm)[0].is_whole);
    for (std::size_t disk = 0; disk < 2; ++disk) {
      EXPECT_EQ(list_snapshots(image(disk))->front().name, name);
    }
  }
  void expect_nothing() {
    world.restart();
    EXPECT_TRUE(world.snapshots(vm).empty());
    EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{0, 0}));
  }
  // The undo log of an apply, on the disks from `first` on.
  void make_undo(std::size_t first) {
    auto settings = *decode_settings(list_snapshots(image(0))->front().settings);
    settings.snapshot = uuid_of(77);
    for (std::size_t disk = first; disk < 2; ++disk) {
      settings.disk_index = static_cast<std::uint16_t>(disk);
      SnapshotCreateOptions options;
      options.name = kUndoName;
      options.settings = encode_settings(settings);
      ASSERT_TRUE(create_snapshot(image(disk), options));
    }
  }

  World world{GetParam()};
  TestSystem& vm = world.system();
  std::string name;
};

TEST_P(Settle, CommittedCreationIsNamed) {
  rename(1, kPendingName);
  expect_whole();
}

TEST_P(Settle, CreationThatWasNotCommittedGoes) {
  rename(1, kPendingName);
  ASSERT_TRUE(delete_snapshot(image(0), 0));
  expect_nothing();
}

TEST_P(Settle, WithdrawnCreationGoes) {
  rename(1, kWithdrawnName);
  expect_nothing();
}

TEST_P(Settle, DeletionThatWasNotCommittedIsUndone) {
  rename(1, kDeletingName);
  expect_whole();
}

TEST_P(Settle, CommittedDeletionIsFinished) {
  rename(1, kDeletingName);
  ASSERT_TRUE(delete_snapshot(image(0), 0));
  expect_nothing();
}

TEST_P(Settle, ApplyThatWasNotCommittedGoesBack) {
  World::fill(vm, 5);
  make_undo(0);
  ASSERT_TRUE(apply_snapshot(image(0), 0));
  expect_whole();
  EXPECT_TRUE(World::holds(vm, 5));
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{1, 1}));
}

TEST_P(Settle, CommittedApplyStays) {
  World::fill(vm, 5);
  make_undo(1);
  for (std::size_t disk = 0; disk < 2; ++disk) {
    ASSERT_TRUE(apply_snapshot(image(disk), 0));
  }
  expect_whole();
  EXPECT_TRUE(World::holds(vm, 1));
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{1, 1}));
}

INSTANTIATE_TEST_SUITE_P(Modes, Settle, ::testing::Bool(), kNameMode);

}  // namespace
}  // namespace varve::test
