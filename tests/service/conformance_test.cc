// Goal: the conformance table of the facade, a test per cell, in both modes. Method: each test
// brings about one cause and looks at the code, or at the job it comes through, and at the disks.
#include <gtest/gtest.h>

#include "service/world.h"

namespace varve::test {
namespace {

class Conformance : public ::testing::TestWithParam<bool> {
 protected:
  World world{GetParam()};

  // A creation that worked.
  void expect_created(const World::Outcome& outcome) {
    EXPECT_EQ(outcome.code, GetParam() ? 0u : 4096u);
    EXPECT_TRUE(world.succeeded(outcome)) << outcome.ended.error_description;
    EXPECT_TRUE(world.services->snapshot(outcome.created));
    if (!GetParam()) {
      EXPECT_EQ(outcome.ended.job_type, JobType::snapshot);
    }
  }
  // An answer of the checks: nothing was begun.
  void expect_answer(const World::Outcome& outcome, std::uint32_t code) {
    EXPECT_EQ(outcome.code, code) << method_code_text(outcome.code);
    EXPECT_EQ(outcome.job, "");
    EXPECT_EQ(outcome.created, "");
    EXPECT_TRUE(world.executor.queue.empty());
  }
  static constexpr std::uint16_t kFull = 2;
  static constexpr std::uint16_t kDisk = 3;
};

// --- 0 and 4096

TEST_P(Conformance, DiskSnapshotWithEmptySettings) {
  TestSystem& vm = world.system();
  expect_created(world.create(vm.path, kDisk, ""));
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{1, 1}));
}

TEST_P(Conformance, DiskSnapshotWithNullSettings) {
  TestSystem& vm = world.system();
  expect_created(world.create(vm.path, kDisk, std::nullopt));
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{1, 1}));
}

TEST_P(Conformance, FullSnapshotOfAnOffSystem) {
  TestSystem& vm = world.system();
  const auto outcome = world.create(vm.path, kFull);
  expect_created(outcome);
  EXPECT_EQ(vm.provider.calls, "");
  const auto snapshot = world.services->snapshot(outcome.created);
  EXPECT_EQ(snapshot->snapshot_type, VirtualSystemSnapshotType::full);
  EXPECT_FALSE(snapshot->is_saved);
}

TEST_P(Conformance, FullSnapshotOfARunningSystemSavesItsState) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  const auto outcome = world.create(vm.path, kFull);
  expect_created(outcome);
  EXPECT_EQ(vm.provider.calls, "quiesce(0) save resume ");
  const auto snapshot = world.services->snapshot(outcome.created);
  EXPECT_TRUE(snapshot->is_saved);
  EXPECT_EQ(snapshot->state_bytes, vm.provider.memory.size());
}

TEST_P(Conformance, FullSnapshotOfASavedSystemTakesItsState) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::saved;
  const auto outcome = world.create(vm.path, kFull);
  expect_created(outcome);
  EXPECT_EQ(vm.provider.calls, "save ");
  EXPECT_TRUE(world.services->snapshot(outcome.created)->is_saved);
}

TEST_P(Conformance, DiskSnapshotOfARunningSystem) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  expect_created(world.create(vm.path, kDisk));
  EXPECT_EQ(vm.provider.calls, "quiesce(0) resume ");
}

TEST_P(Conformance, DiskSnapshotOfARunningSystemWithoutProvider) {
  TestSystem& vm = world.add_system(1, "vm");
  vm.state = EnabledState::running;
  vm.has_provider = false;
  world.define(vm);
  expect_created(world.create(vm.path, kDisk));
}

// --- 1

TEST_P(Conformance, VendorTypesAreNotSupported) {
  TestSystem& vm = world.system();
  const std::string set = world.collection(90, {vm.path});
  for (const std::uint16_t type : std::initializer_list<std::uint16_t>{32768, 40000, 65535}) {
    expect_answer(world.create(vm.path, type), 1);
    expect_answer(world.create_collection(set, type), 1);
  }
}

TEST_P(Conformance, FullWithoutProviderIsNotSupported) {
  TestSystem& vm = world.add_system(1, "vm");
  vm.has_provider = false;
  world.define(vm);
  for (const EnabledState state : {EnabledState::running, EnabledState::saved}) {
    vm.state = state;
    expect_answer(world.create(vm.path, kFull), 1);
  }
  vm.state = EnabledState::off;
  expect_created(world.create(vm.path, kFull));
}

TEST_P(Conformance, ApplicationConsistencyWithoutProviderIsNotSupported) {
  TestSystem& vm = world.add_system(1, "vm");
  vm.has_provider = false;
  vm.state = EnabledState::running;
  world.define(vm);
  const std::string settings =
      R"(<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData"><PROPERTY )"
      R"(NAME="ConsistencyLevel" TYPE="uint8"><VALUE>1</VALUE></PROPERTY></INSTANCE>)";
  expect_answer(world.create(vm.path, kDisk, settings), 1);
}

const std::string kIgnore =
    R"(<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData"><PROPERTY )"
    R"(NAME="IgnoreNonSnapshottableDisks" TYPE="boolean"><VALUE>TRUE</VALUE></PROPERTY>)"
    R"(</INSTANCE>)";

TEST_P(Conformance, RawDisksAreNotSupportedUnlessIgnored) {
  TestSystem& vm = world.add_system(1, "vm");
  CreateOptions raw = World::small_disk();
  raw.format = Format::raw;
  world.add_disk(vm, raw);
  world.define(vm);
  expect_answer(world.create(vm.path, kDisk), 1);
  expect_created(world.create(vm.path, kDisk, kIgnore));
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{1, 1, 0}));
}

TEST_P(Conformance, ReadOnlyDisksAreNotSupportedUnlessIgnored) {
  TestSystem& vm = world.add_system(1, "vm");
  world.add_disk(vm).extra.read_only = true;
  world.define(vm);
  expect_answer(world.create(vm.path, kDisk), 1);
  expect_created(world.create(vm.path, kDisk, kIgnore));
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{1, 1, 0}));
}

TEST_P(Conformance, DisksThatCannotCountAreNotSupportedUnlessIgnored) {
  TestSystem& vm = world.add_system(1, "vm");
  CreateOptions single = World::small_disk();
  single.refcount_bits = 1;
  world.add_disk(vm, single);
  world.define(vm);
  expect_answer(world.create(vm.path, kDisk), 1);
  expect_created(world.create(vm.path, kDisk, kIgnore));
}

TEST_P(Conformance, NothingLeftIsNotSupported) {
  TestSystem& vm = world.add_system(1, "vm", 0);
  CreateOptions raw = World::small_disk();
  raw.format = Format::raw;
  world.add_disk(vm, raw);
  world.define(vm);
  expect_answer(world.create(vm.path, kDisk, kIgnore), 1);
  TestSystem& empty = world.system(2, "no disks", 0);
  expect_answer(world.create(empty.path, kDisk), 1);
}

TEST_P(Conformance, OtherMethodsAreNotSupported) {
  TestSystem& vm = world.system();
  std::string out = "x";
  std::string job = "x";
  EXPECT_EQ(world.vs().start_service(), 1u);
  EXPECT_EQ(world.vs().stop_service(), 1u);
  EXPECT_EQ(world.vs().request_state_change(2, job), 1u);
  EXPECT_EQ(job, "");
  EXPECT_EQ(world.vs().convert_to_reference_point(vm.path, "", out, job), 1u);
  EXPECT_EQ(out, "");
  EXPECT_EQ(world.cs().start_service(), 1u);
  EXPECT_EQ(world.cs().stop_service(), 1u);
  EXPECT_EQ(world.cs().request_state_change(2, job), 1u);
  EXPECT_EQ(world.cs().export_snapshot(vm.path, "/tmp", job), 1u);
  EXPECT_EQ(world.cs().convert_to_reference_point(vm.path, "", out, job), 1u);
}

// --- 2

class Failing : public Conformance {
 protected:
  // The one write to a snapshot table, the second disk's, fails.
  void expect_rolled_back(TestSystem& vm, int os_errno) {
    sim::FaultRule rule;
    rule.tag = IoTag::snapshot_table;
    rule.operation = StorageOperation::write;
    rule.os_errno = os_errno;
    vm.disks[1]->plan.add(rule);
    world.expect_failure(world.create(vm.path, kDisk), 2, 32768);
    EXPECT_EQ(vm.disks[1]->plan.hits(), 1u);
    EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{0, 0}));
    EXPECT_TRUE(world.snapshots(vm).empty());
    expect_created(world.create(vm.path, kDisk));
  }
};

TEST_P(Failing, WriteErrorRollsEveryDiskBack) {
  expect_rolled_back(world.system(), EIO);
}
TEST_P(Failing, FullFileSystemRollsEveryDiskBack) {
  expect_rolled_back(world.system(), ENOSPC);
}

TEST_P(Failing, CorruptImageRollsEveryDiskBack) {
  TestSystem& vm = world.add_system(1, "vm");
  World::fill(vm, 1);
  for (const auto& disk : vm.disks) {
    ASSERT_TRUE(disk->image->close());
  }
  // The second disk's first L2 table points between clusters.
  sim::SparseBytes& file = vm.disks[1]->disk.content;
  const auto load = [&](std::uint64_t offset) {
    std::vector<std::byte> bytes(8);
    file.read(offset, bytes);
    std::uint64_t value = 0;
    for (const std::byte byte : bytes) {
      value = value << 8 | std::to_integer<std::uint64_t>(byte);
    }
    return value;
  };
  const std::uint64_t l1 = load(40);
  const std::uint64_t l2 = load(l1) & 0x00fffffffffffe00u;
  const std::vector<std::byte> bad = {std::byte{0x80}, std::byte{0}, std::byte{0}, std::byte{0},
                                      std::byte{0},    std::byte{1}, std::byte{2}, std::byte{0}};
  file.write(l2 + 3 * 8, bad);
  for (const auto& disk : vm.disks) {
    world.open(*disk);
  }
  world.define(vm);
  world.expect_failure(world.create(vm.path, kDisk), 2, 32768);
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{0, 0}));
}

TEST_P(Failing, StateThatCannotBeSavedRollsEveryDiskBack) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  vm.provider.save_error = error_of(ErrorCode::io);
  world.expect_failure(world.create(vm.path, kFull), 2, 32768);
  EXPECT_EQ(vm.provider.calls, "quiesce(0) save resume ");
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{0, 0}));
  vm.provider.save_error.reset();
  expect_created(world.create(vm.path, kFull));
}

// --- 3

TEST_P(Conformance, QuiesceThatTakesTooLongIsATimeout) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  vm.provider.quiesce_error = error_of(ErrorCode::timed_out);
  for (const std::uint16_t type : {kFull, kDisk}) {
    world.expect_failure(world.create(vm.path, type), 3, 32772);
  }
  EXPECT_EQ(World::entries(vm), (std::vector<std::size_t>{0, 0}));
  vm.provider.quiesce_error.reset();
  expect_created(world.create(vm.path, kFull));
}

TEST_P(Conformance, LockHeldByAnotherIsATimeout) {
  const Folder folder;
  auto engine = make_engine(AioBackend::threads);
  TestSystem& vm = world.add_system(1, "vm", 0);
  for (const char* name : {"a.qcow2", "b.qcow2"}) {
    ASSERT_TRUE(create_image(*world.engine, folder.file(name), World::small_disk()));
    vm.disks.push_back(std::make_unique<TestDisk>());
    vm.disks.back()->extra.path = folder.file(name);
    vm.disks.back()->extra.options.writable = true;
  }
  world.define(vm);
  {
    OpenOptions options;
    options.writable = true;
    auto other = Image::open(*engine, folder.file("b.qcow2"), options);
    ASSERT_TRUE(other);
    world.expect_failure(world.create(vm.path, kDisk), 3, 32772);
    EXPECT_TRUE(list_snapshots(**other)->empty());
  }
  expect_created(world.create(vm.path, kDisk));
  EXPECT_EQ(world.snapshots(vm).size(), 1u);
}

// --- 4

TEST_P(Conformance, WrongSystemsAreInvalidParameters) {
  TestSystem& vm = world.system();
  const std::string other_host = [&] {
    std::string path = vm.path;
    return path.replace(2, 5, "HOST2");
  }();
  const auto unknown = R"(Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",)"
                       R"(Name="A0A0A0A0-A0A0-A0A0-A0A0-A0A0A0A00063")";
  const auto settings_path = world.services->system(vm.path)->settings_path;
  for (const CimText reference : {CimText(), CimText(""), CimText("vm"), CimText(settings_path),
                                  CimText(other_host), CimText(unknown)}) {
    std::string created = "x";
    std::string job = "x";
    EXPECT_EQ(world.vs().create_snapshot(reference, "", kDisk, created, job), 4u)
        << reference.value_or("NULL");
    EXPECT_EQ(created, "");
    EXPECT_EQ(job, "");
  }
}

TEST_P(Conformance, BadSettingsAreInvalidParameters) {
  TestSystem& vm = world.system();
  const std::string set = world.collection(90, {vm.path});
  for (const char* text : {" ", "<INSTANCE", "<INSTANCE CLASSNAME=\"Msvm_ComputerSystem\"/>",
                           "instance of CIM_SettingData {};"}) {
    expect_answer(world.create(vm.path, kDisk, text), 4);
    expect_answer(world.create_collection(set, 1, text), 4);
  }
}

TEST_P(Conformance, EmptyCollectionIsAnInvalidParameter) {
  const std::string set = world.collection(90, {});
  expect_answer(world.create_collection(set), 4);
  expect_answer(world.create_collection("CIM_CollectionOfMSEs.CollectionID=\"no\""), 4);
  std::string out;
  std::string job;
  EXPECT_EQ(world.cs().create_snapshot(std::nullopt, "", 1, out, job), 4u);
}

// --- 5

TEST_P(Conformance, OtherStatesAreInvalid) {
  TestSystem& vm = world.system();
  for (const EnabledState state :
       {EnabledState::paused, EnabledState::starting, EnabledState::snapshotting,
        EnabledState::saving, EnabledState::stopping, EnabledState::pausing,
        EnabledState::resuming}) {
    vm.state = state;
    expect_answer(world.create(vm.path, kDisk), 5);
    expect_answer(world.create(vm.path, kFull), 5);
  }
}

TEST_P(Conformance, AnotherJobIsAnInvalidState) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  std::vector<std::uint32_t> codes;
  vm.provider.on_save = [&](std::size_t) {
    std::string created;
    std::string job;
    codes.push_back(world.vs().create_snapshot(vm.path, "", kDisk, created, job));
  };
  expect_created(world.create(vm.path, kFull));
  EXPECT_EQ(codes, std::vector<std::uint32_t>(codes.size(), 5u));
  EXPECT_FALSE(codes.empty());
}

TEST_P(Conformance, DisabledSnapshotsAreAnInvalidState) {
  TestSystem& vm = world.add_system(1, "vm");
  vm.user_snapshot_type = UserSnapshotType::disable;
  world.define(vm);
  expect_answer(world.create(vm.path, kDisk), 5);
}

// --- 6 and the order of checks

TEST_P(Conformance, TypesOffTheMapAreInvalid) {
  TestSystem& vm = world.system();
  const std::string set = world.collection(90, {vm.path});
  for (const std::uint16_t type : std::initializer_list<std::uint16_t>{0, 1, 4, 32767}) {
    expect_answer(world.create(vm.path, type), 6);
  }
  for (const std::uint16_t type : std::initializer_list<std::uint16_t>{0, 3, 32767}) {
    expect_answer(world.create_collection(set, type), 6);
  }
}

TEST_P(Conformance, ChecksComeInOrder) {
  TestSystem& vm = world.add_system(1, "vm");
  vm.has_provider = false;
  vm.user_snapshot_type = UserSnapshotType::disable;
  vm.state = EnabledState::running;
  world.define(vm);
  expect_answer(world.create(vm.path, 0, "bad"), 4);
  expect_answer(world.create(vm.path, 0), 6);
  expect_answer(world.create(vm.path, kFull), 1);
  expect_answer(world.create(vm.path, kDisk), 5);
}

// --- family B

TEST_P(Conformance, TreeAndClearStateAnswerInFamilyB) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  const std::string full = world.create(vm.path, kFull).created;
  const std::string disk = world.create(vm.path, kDisk).created;
  const std::string active = world.services->system(vm.path)->settings_path;
  const std::string unknown =
      "Msvm_VirtualSystemSettingData.InstanceID="
      "\"Microsoft:A0A0A0A0-A0A0-A0A0-A0A0-A0A0A0A00063\"";
  for (const auto method : {&VirtualSystemSnapshotService::destroy_snapshot_tree,
                            &VirtualSystemSnapshotService::clear_snapshot_state}) {
    const auto code = [&](CimText reference) {
      return world.call(world.vs(), method, reference).code;
    };
    EXPECT_EQ(code(std::nullopt), 32773u);
    EXPECT_EQ(code(vm.path), 32773u);
    EXPECT_EQ(code(unknown), 32773u);
    EXPECT_EQ(code(active), 32776u);
    vm.state = EnabledState::paused;
    EXPECT_EQ(code(full), 32775u);
    vm.state = EnabledState::running;
  }
  EXPECT_EQ(world.clear_state(disk).code, 32775u) << "it has no state";
  EXPECT_EQ(world.snapshots(vm).size(), 2u);
}

TEST_P(Conformance, TreeAndClearStateFindBusySystems) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  const std::string full = world.create(vm.path, kFull).created;
  std::vector<std::uint32_t> codes;
  vm.provider.on_save = [&](std::size_t) {
    std::string job;
    codes.push_back(world.vs().destroy_snapshot_tree(full, job));
    codes.push_back(world.vs().clear_snapshot_state(full, job));
  };
  world.create(vm.path, kFull);
  EXPECT_FALSE(codes.empty());
  EXPECT_EQ(codes, std::vector<std::uint32_t>(codes.size(), 32774u));
}

TEST_P(Conformance, TreeAndClearStateFailOnBrokenDisks) {
  TestSystem& vm = world.system();
  vm.state = EnabledState::running;
  const std::string full = world.create(vm.path, kFull).created;
  sim::FaultRule rule;
  rule.operation = StorageOperation::write;
  rule.from_then_on = true;
  for (const auto method : {&VirtualSystemSnapshotService::destroy_snapshot_tree,
                            &VirtualSystemSnapshotService::clear_snapshot_state}) {
    vm.disks[0]->plan.add(rule);
    world.expect_failure(world.call(world.vs(), method, full), 32768, 32768);
    vm.disks[0]->plan.lift();
    world.restart();
    EXPECT_EQ(world.snapshots(vm).size(), 1u);
    EXPECT_TRUE(world.snapshots(vm).front().is_saved);
  }
}

// --- Apply and Destroy

TEST_P(Conformance, ApplyAndDestroyWantASnapshotThatExists) {
  TestSystem& vm = world.system();
  const std::string snapshot = world.create(vm.path, kDisk).created;
  const std::string active = world.services->system(vm.path)->settings_path;
  EXPECT_EQ(world.apply(std::nullopt).code, 4u);
  EXPECT_EQ(world.apply(vm.path).code, 4u);
  EXPECT_EQ(world.apply(active).code, 6u);
  EXPECT_EQ(world.destroy(std::nullopt).code, 4u);
  EXPECT_EQ(world.destroy(active).code, 6u);
  EXPECT_TRUE(world.succeeded(world.destroy(snapshot)));
  EXPECT_EQ(world.destroy(snapshot).code, 4u);
  EXPECT_EQ(world.apply(snapshot).code, 4u);
}

TEST_P(Conformance, ApplyWantsAProviderForWhatRuns) {
  TestSystem& vm = world.add_system(1, "vm");
  vm.has_provider = false;
  world.define(vm);
  const std::string snapshot = world.create(vm.path, kDisk).created;
  for (const EnabledState state :
       {EnabledState::running, EnabledState::saved, EnabledState::paused}) {
    vm.state = state;
    EXPECT_EQ(world.apply(snapshot).code, 5u);
  }
  vm.state = EnabledState::off;
  EXPECT_TRUE(world.succeeded(world.apply(snapshot)));
}

TEST_P(Conformance, ApplyAlwaysHasAJob) {
  TestSystem& vm = world.system();
  const std::string snapshot = world.create(vm.path, kDisk).created;
  const auto outcome = world.apply(snapshot);
  EXPECT_EQ(outcome.code, 4096u);
  EXPECT_EQ(outcome.ended.job_state, JobState::completed);
  EXPECT_EQ(outcome.ended.job_type, JobType::apply);
}

TEST_P(Conformance, DestroyInPausedSystemsIsAnInvalidState) {
  TestSystem& vm = world.system();
  const std::string snapshot = world.create(vm.path, kDisk).created;
  vm.state = EnabledState::paused;
  EXPECT_EQ(world.destroy(snapshot).code, 5u);
}

INSTANTIATE_TEST_SUITE_P(Modes, Conformance, ::testing::Bool(), kNameMode);
INSTANTIATE_TEST_SUITE_P(Modes, Failing, ::testing::Bool(), kNameMode);

}  // namespace
}  // namespace varve::test
