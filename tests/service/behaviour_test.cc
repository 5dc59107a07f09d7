// Goal: snapshots taken through the service hold what the disks and the machine held, form the tree
// they should, and are told the same by a later service over the same images. Method: short
// stories on two simulated disks, each looked at before and after a restart.
#include <utility>

#include <gtest/gtest.h>

#include "service/world.h"

namespace varve::test {
namespace {

class Behaviour : public ::testing::TestWithParam<bool> {
 protected:
  World world{GetParam()};

  std::string make(TestSystem& vm, std::uint16_t type, const std::string& name = "",
                   const std::string& more = "") {
    std::string settings;
    if (!name.empty()) {
      settings =
          "<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\"><PROPERTY "
          "NAME=\"ElementName\" TYPE=\"string\"><VALUE>" +
          name + "</VALUE></PROPERTY>" + more + "</INSTANCE>";
    }
    const auto outcome = world.create(vm.path, type, settings);
    EXPECT_TRUE(world.succeeded(outcome)) << outcome.code << ' ' << outcome.ended.error_description;
    return outcome.created;
  }
  std::string name_of(const std::string& path) {
    const auto snapshot = world.services->snapshot(path);
    return snapshot ? snapshot->element_name : "(none)";
  }
  // "name<parent;..." in the order of creation, then most current and last applied.
  std::string tree(const TestSystem& vm) {
    std::string text;
    for (const SnapshotDescription& each : world.snapshots(vm)) {
      EXPECT_TRUE(each.is_whole);
      text += each.element_name + '<' + (each.parent.empty() ? "" : name_of(each.parent)) + ';';
    }
    const std::string current = *world.services->most_current_snapshot(vm.path);
    const std::string applied = *world.services->last_applied_snapshot(vm.path);
    return text + " now " + (current.empty() ? "" : name_of(current)) + ", applied " +
           (applied.empty() ? "" : name_of(applied));
  }
  void expect_tree(const TestSystem& vm, const std::string& expected) {
    EXPECT_EQ(tree(vm), expected);
    world.restart();
    EXPECT_EQ(tree(vm), expected) << "after a restart";
  }
};

constexpr std::uint16_t kFull = 2;
constexpr std::uint16_t kDisk = 3;

TEST_P(Behaviour, NamesASnapshotAfterSystemAndTime) {
  TestSystem& vm = world.system(1, "web");
  make(vm, kDisk);
  const auto all = world.snapshots(vm);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].element_name, "web - (2026-11-30 - 00:53:20)");
  EXPECT_EQ(all[0].creation_time, "20261130005320.123456+000");
  EXPECT_EQ((*list_snapshots(*vm.disks[1]->image))[0].name, all[0].element_name);
}

TEST_P(Behaviour, CutsALongSystemName) {
  TestSystem& vm = world.system(1, std::string(300, 'x'));
  make(vm, kDisk);
  const std::string name = world.snapshots(vm)[0].element_name;
  EXPECT_EQ(name.size(), 100u);
  EXPECT_EQ(name.substr(name.size() - 26), " - (2026-11-30 - 00:53:20)");
}

TEST_P(Behaviour, TellsEveryProperty) {
  TestSystem& vm = world.system(1, "web");
  vm.state = EnabledState::running;
  make(vm, kFull, "before &lt;upgrade&gt;",
       "<PROPERTY.ARRAY NAME=\"Notes\" TYPE=\"string\"><VALUE.ARRAY><VALUE>by hand</VALUE>"
       "</VALUE.ARRAY></PROPERTY.ARRAY>");
  for (int run = 0; run < 2; ++run) {
    const auto all = world.snapshots(vm);
    ASSERT_EQ(all.size(), 1u);
    const SnapshotDescription& snapshot = all[0];
    EXPECT_EQ(snapshot.element_name, "before <upgrade>");
    EXPECT_EQ(snapshot.notes, std::vector<std::string>{"by hand"});
    EXPECT_EQ(snapshot.virtual_system_type, "Microsoft:Hyper-V:Snapshot:Realized");
    EXPECT_EQ(snapshot.virtual_system_identifier, "A0A0A0A0-A0A0-A0A0-A0A0-A0A0A0A00001");
    EXPECT_EQ(snapshot.system_path, vm.path);
    EXPECT_EQ(snapshot.parent, "");
    EXPECT_EQ(snapshot.state, EnabledState::running);
    EXPECT_EQ(snapshot.snapshot_type, VirtualSystemSnapshotType::full);
    EXPECT_TRUE(snapshot.is_saved);
    EXPECT_EQ(snapshot.instance_id.substr(0, 10), "Microsoft:");
    EXPECT_NE(snapshot.path.find(snapshot.instance_id), std::string::npos);
    const std::string text = *world.services->snapshot_text(snapshot.path);
    EXPECT_NE(text.find("before &lt;upgrade&gt;"), std::string::npos);
    EXPECT_NE(text.find("NAME=\"IsSaved\" TYPE=\"boolean\"><VALUE>true</VALUE>"),
              std::string::npos);
    world.restart();
  }
}

TEST_P(Behaviour, KeepsParsedSettings) {
  TestSystem& vm = world.system();
  const auto outcome = world.create(
      vm.path, kDisk,
      R"(<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData"><PROPERTY )"
      R"(NAME="ConsistencyLevel" TYPE="uint8"><VALUE>2</VALUE></PROPERTY><PROPERTY )"
      R"(NAME="GuestBackupType" TYPE="uint8"><VALUE>2</VALUE></PROPERTY><PROPERTY )"
      R"(NAME="IgnoreNonSnapshottableDisks" TYPE="boolean"><VALUE>true</VALUE></PROPERTY>)"
      R"(</INSTANCE>)");
  ASSERT_TRUE(world.succeeded(outcome));
  world.restart();
  const auto snapshot = world.services->snapshot(outcome.created);
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->consistency, ConsistencyLevel::crash);
  EXPECT_EQ(snapshot->guest_backup, GuestBackupType::copy);
  EXPECT_TRUE(snapshot->ignore_non_snapshottable_disks);
}

TEST_P(Behaviour, BuildsATree) {
  TestSystem& vm = world.system();
  expect_tree(vm, " now , applied ");
  const std::string a = make(vm, kDisk, "a");
  expect_tree(vm, "a<; now a, applied ");
  world.clock.pass_seconds(1);
  make(vm, kDisk, "b");
  expect_tree(vm, "a<;b<a; now b, applied ");
  EXPECT_TRUE(world.succeeded(world.apply(a)));
  expect_tree(vm, "a<;b<a; now a, applied a");
  world.clock.pass_seconds(1);
  make(vm, kDisk, "c");
  expect_tree(vm, "a<;b<a;c<a; now c, applied a");
  EXPECT_TRUE(world.succeeded(world.destroy(a)));
  expect_tree(vm, "b<;c<; now c, applied ");
}

TEST_P(Behaviour, AppliedNewestSnapshotIsLastApplied) {
  TestSystem& vm = world.system();
  const std::string a = make(vm, kDisk, "a");
  EXPECT_TRUE(world.succeeded(world.apply(a)));
  expect_tree(vm, "a<; now a, applied a");
}

TEST_P(Behaviour, DestroyTreeTakesAllBelow) {
  TestSystem& vm = world.system();
  make(vm, kDisk, "a");
  world.clock.pass_seconds(1);
  const std::string b = make(vm, kDisk, "b");
  world.clock.pass_seconds(1);
  make(vm, kDisk, "c");
  world.clock.pass_seconds(1);
  EXPECT_TRUE(world.succeeded(world.apply(b)));
  make(vm, kDisk, "d");
  expect_tree(vm, "a<;b<a;c<b;d<b; now d, applied b");
  const auto outcome = world.destroy_tree(b);
  EXPECT_TRUE(world.succeeded(outcome)) << outcome.code;
  expect_tree(vm, "a<; now a, applied ");
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{1, 1}));
}

TEST_P(Behaviour, ApplyRevertsEveryDisk) {
  TestSystem& vm = world.system();
  World::fill(vm, 10);
  const std::string a = make(vm, kDisk, "a");
  World::fill(vm, 20);
  const std::string b = make(vm, kDisk, "b");
  World::fill(vm, 30);
  EXPECT_TRUE(world.succeeded(world.apply(a)));
  EXPECT_TRUE(World::holds(vm, 10));
  EXPECT_TRUE(world.succeeded(world.apply(b)));
  EXPECT_TRUE(World::holds(vm, 20));
  world.restart();
  EXPECT_TRUE(World::holds(vm, 20));
  EXPECT_EQ(vm.state, EnabledState::off);
}

TEST_P(Behaviour, FullSnapshotBringsTheMachineBack) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  const ByteVector memory = vm.provider.memory;
  const std::string a = make(vm, kFull, "a");
  vm.provider.memory = pattern(10, 1);
  vm.provider.calls.clear();
  world.restart();
  const auto outcome = world.apply(a);
  EXPECT_TRUE(world.succeeded(outcome)) << outcome.ended.error_description;
  EXPECT_EQ(vm.provider.calls, "quiesce(0) load(state) ");
  EXPECT_EQ(vm.provider.memory, memory);
  EXPECT_EQ(vm.state, EnabledState::running);
}

TEST_P(Behaviour, SystemEndsInTheStateOfTheSnapshot) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::saved;
  const std::string saved = make(vm, kFull, "saved");
  vm.state = EnabledState::running;
  const std::string disk = make(vm, kDisk, "disk");
  EXPECT_TRUE(world.succeeded(world.apply(disk)));
  EXPECT_EQ(vm.state, EnabledState::off);
  EXPECT_TRUE(world.succeeded(world.apply(saved)));
  EXPECT_EQ(vm.state, EnabledState::saved);
  EXPECT_TRUE(world.succeeded(world.clear_state(saved)));
  EXPECT_TRUE(world.succeeded(world.apply(saved)));
  EXPECT_EQ(vm.state, EnabledState::off) << "its state was cleared";
}

TEST_P(Behaviour, ClearStateKeepsTheDisks) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  World::fill(vm, 1);
  const std::string a = make(vm, kFull, "a");
  World::fill(vm, 2);
  const auto outcome = world.clear_state(a);
  EXPECT_TRUE(world.succeeded(outcome)) << outcome.code;
  if (!GetParam()) {
    EXPECT_EQ(outcome.ended.job_type, JobType::clear_state);
  }
  world.restart();
  EXPECT_FALSE(world.services->snapshot(a)->is_saved);
  EXPECT_TRUE(world.succeeded(world.apply(a)));
  EXPECT_TRUE(World::holds(vm, 1));
  EXPECT_EQ(world.clear_state(a).code, 32775u) << "nothing is left to clear";
}

TEST_P(Behaviour, LoadThatFailsFailsTheJob) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  const std::string a = make(vm, kFull, "a");
  vm.provider.load_error = error_of(ErrorCode::io);
  const auto outcome = world.apply(a);
  EXPECT_EQ(outcome.code, 4096u);
  EXPECT_EQ(outcome.ended.job_state, JobState::exception);
  EXPECT_EQ(outcome.ended.error_code, 32768u);
}

TEST_P(Behaviour, QuiesceThatFailsLeavesTheDisks) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  World::fill(vm, 1);
  const std::string a = make(vm, kFull, "a");
  World::fill(vm, 2);
  vm.provider.quiesce_error = error_of(ErrorCode::timed_out);
  const auto outcome = world.apply(a);
  EXPECT_EQ(outcome.ended.job_state, JobState::exception);
  EXPECT_EQ(outcome.ended.error_code, 32772u);
  EXPECT_TRUE(World::holds(vm, 2));
}

TEST_P(Behaviour, RenamesOnEveryDisk) {
  TestSystem& vm = world.system();
  const std::string a = make(vm, kDisk, "a");
  EXPECT_EQ(world.services->rename_snapshot(a, ""), 4u);
  EXPECT_EQ(world.services->rename_snapshot(a, std::string(101, 'n')), 4u);
  EXPECT_EQ(world.services->rename_snapshot("no", "b"), 4u);
  EXPECT_EQ(world.services->rename_snapshot(world.services->system(vm.path)->settings_path, "b"),
            6u);
  EXPECT_EQ(world.services->rename_snapshot(a, "b"), 0u);
  expect_tree(vm, "b<; now b, applied ");
  for (const auto& disk : vm.disks) {
    EXPECT_EQ((*list_snapshots(*disk->image))[0].name, "b");
  }
}

TEST_P(Behaviour, TellsASnapshotThatLostADisk) {
  TestSystem& vm = world.system();
  const std::string a = make(vm, kDisk, "a");
  ASSERT_TRUE(delete_snapshot(*vm.disks[1]->image, 0));
  world.restart();
  ASSERT_EQ(world.snapshots(vm).size(), 1u);
  EXPECT_FALSE(world.snapshots(vm)[0].is_whole);
  EXPECT_EQ(world.apply(a).code, 5u);
  EXPECT_TRUE(world.succeeded(world.destroy(a)));
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{0, 0}));
}

TEST_P(Behaviour, LeavesOtherProgramsSnapshotsAlone) {
  TestSystem& vm = world.system();
  for (const auto& disk : vm.disks) {
    ASSERT_TRUE(create_snapshot(*disk->image, {}));
  }
  make(vm, kDisk, "a");
  expect_tree(vm, "a<; now a, applied ");
  EXPECT_TRUE(world.succeeded(world.destroy_tree(world.snapshots(vm)[0].path)));
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{1, 1}));
}

TEST_P(Behaviour, DoesNotTakeACopiedDiskForItsOwn) {
  TestSystem& vm = world.system();
  make(vm, kDisk, "a");
  vm.id = uuid_of(7);
  world.restart();
  EXPECT_TRUE(world.snapshots(vm).empty());
}

TEST_P(Behaviour, TheLoopServesGuestsWhileWorkWaits) {
  // What an embedder's loop does: it takes a guest's next request when it gets its turn.
  struct GuestRead : BlockRequest {
    ByteVector memory = ByteVector(4096);
    IoVector piece{memory.data(), memory.size()};
    bool is_in_flight = false;
    unsigned served = 0;
  } read;
  read.length = read.memory.size();
  read.vectors = &read.piece;
  read.vector_count = 1;
  read.complete = [](BlockRequest& request, const Result<void>& result) {
    auto& mine = static_cast<GuestRead&>(request);
    EXPECT_TRUE(result);
    mine.is_in_flight = false;
    ++mine.served;
  };
  TestSystem& vm = world.system();
  World::fill(vm, 1);
  world.executor.on_turn = [&] {
    if (!read.is_in_flight) {
      read.is_in_flight = true;
      vm.disks[1]->image->submit(read);
    }
  };
  const auto expect_served = [&](const char* what) {
    EXPECT_GT(std::exchange(read.served, 0), 0u) << what;
  };
  const std::string made = make(vm, kDisk, "a");
  expect_served("create");
  World::fill(vm, 2);
  EXPECT_TRUE(world.succeeded(world.apply(made)));
  expect_served("apply");
  EXPECT_TRUE(world.succeeded(world.destroy(made)));
  expect_served("destroy");
  while (read.is_in_flight) {
    world.engine->poll();
  }
  EXPECT_TRUE(World::holds(vm, 1));
}

TEST_P(Behaviour, TellsWhatASystemSupports) {
  TestSystem& vm = world.add_system(1, "vm");
  vm.has_provider = false;
  world.define(vm);
  EXPECT_EQ(SnapshotServices::supported_types().size(), 2u);
  EXPECT_EQ(world.services->supported_types(vm.path)->size(), 2u);
  vm.state = EnabledState::running;
  EXPECT_EQ(*world.services->supported_types(vm.path),
            std::vector{VirtualSystemSnapshotType::disk});
  vm.state = EnabledState::paused;
  EXPECT_TRUE(world.services->supported_types(vm.path)->empty());
  EXPECT_FALSE(world.services->supported_types("no"));
}

TEST_P(Behaviour, DefinitionsAreChecked) {
  TestSystem& vm = world.system();
  SystemDefinition definition = world.definition_of(vm);
  EXPECT_EQ(world.services->define_system(definition).error().code, ErrorCode::exists);
  definition.id = {};
  EXPECT_EQ(world.services->define_system(definition).error().code, ErrorCode::invalid_argument);
  definition.id = uuid_of(5);
  definition.disks.push_back({});
  EXPECT_EQ(world.services->define_system(definition).error().code, ErrorCode::invalid_argument);
  definition.disks.back().path = "/nonexistent/disk.qcow2";
  EXPECT_EQ(world.services->define_system(definition).error().code, ErrorCode::not_found);
  EXPECT_EQ(world.services->systems()->size(), 1u);
  EXPECT_TRUE(world.services->remove_system(vm.path));
  EXPECT_EQ(world.services->remove_system(vm.path).error().code, ErrorCode::not_found);
  EXPECT_TRUE(world.services->systems()->empty());
}

INSTANTIATE_TEST_SUITE_P(Modes, Behaviour, ::testing::Bool(), kNameMode);

}  // namespace
}  // namespace varve::test
