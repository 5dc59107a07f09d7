// Goal: a collection's snapshot is one of all its systems or of none, and comes back whole. Method:
// three systems of two disks each; one member is given a reason to refuse, early or late.
#include <gtest/gtest.h>

#include "service/world.h"

namespace varve::test {
namespace {

class Collections : public ::testing::TestWithParam<bool> {
 protected:
  Collections() {
    for (unsigned i = 0; i < 3; ++i) {
      // Members in another order than their GUIDs'.
      vms.push_back(&world.system(3 - i, "vm" + std::to_string(3 - i)));
    }
    define_set();
  }
  void define_set() { set = world.collection(90, {vms[0]->path, vms[1]->path, vms[2]->path}); }

  std::size_t all_entries() {
    std::size_t count = 0;
    for (const TestSystem* vm : vms) {
      for (const std::size_t each : World::entries(*vm)) {
        count += each;
      }
    }
    return count;
  }
  std::string calls() {
    std::string all;
    for (TestSystem* vm : vms) {
      all += vm->provider.calls;
    }
    return all;
  }
  World::Outcome apply(const std::string& path) {
    return world.call(world.cs(), &CollectionSnapshotService::apply_snapshot, path);
  }
  World::Outcome destroy(const std::string& path) {
    return world.call(world.cs(), &CollectionSnapshotService::destroy_snapshot, path);
  }

  World world{GetParam()};
  std::vector<TestSystem*> vms;
  std::string set;
};

TEST_P(Collections, StandardIsFullWhereThereIsState) {
  vms[0]->state = EnabledState::running;
  vms[1]->state = EnabledState::saved;
  const auto outcome = world.create_collection(set);
  ASSERT_TRUE(world.succeeded(outcome)) << outcome.code << outcome.ended.error_description;
  if (!GetParam()) {
    EXPECT_EQ(outcome.ended.job_type, JobType::collection_snapshot);
  }
  EXPECT_EQ(all_entries(), 6u);
  const auto made = world.services->snapshot_collection(outcome.created);
  ASSERT_TRUE(made);
  EXPECT_TRUE(made->is_whole);
  EXPECT_EQ(made->collection, set);
  ASSERT_EQ(made->snapshots.size(), 3u);
  const VirtualSystemSnapshotType types[] = {VirtualSystemSnapshotType::disk,
                                             VirtualSystemSnapshotType::full,
                                             VirtualSystemSnapshotType::full};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto snapshot = world.services->snapshot(made->snapshots[i]);
    ASSERT_TRUE(snapshot);
    EXPECT_EQ(snapshot->snapshot_type, types[i]) << i;
    EXPECT_EQ(snapshot->is_saved, types[i] == VirtualSystemSnapshotType::full) << i;
    EXPECT_EQ(snapshot->snapshot_collection, outcome.created);
    EXPECT_EQ(snapshot->element_name.substr(0, 2), "vm");
  }
}

TEST_P(Collections, ComeBackAfterARestart) {
  for (unsigned i = 0; i < 3; ++i) {
    World::fill(*vms[i], 10 * i);
  }
  const std::string made = world.create_collection(set).created;
  world.restart();
  define_set();
  const auto all = world.services->snapshot_collections(set);
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->front().path, made);
  EXPECT_TRUE(all->front().is_whole);
  for (unsigned i = 0; i < 3; ++i) {
    World::fill(*vms[i], 100 + i);
  }
  const auto outcome = apply(made);
  EXPECT_TRUE(world.succeeded(outcome)) << outcome.ended.error_description;
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_TRUE(World::holds(*vms[i], 10 * i)) << i;
  }
}

TEST_P(Collections, ApplyBringsEveryMachineBack) {
  vms[0]->state = EnabledState::running;
  vms[1]->state = EnabledState::saved;
  vms[0]->provider.memory = pattern(50'000, 1);
  vms[1]->provider.memory = pattern(70'000, 2);
  const std::string made = world.create_collection(set).created;
  for (TestSystem* vm : vms) {
    vm->provider.memory.clear();
    vm->state = EnabledState::running;
  }
  const auto outcome = apply(made);
  EXPECT_TRUE(world.succeeded(outcome)) << outcome.code << outcome.ended.error_description;
  EXPECT_EQ(vms[0]->provider.memory, pattern(50'000, 1));
  EXPECT_EQ(vms[1]->provider.memory, pattern(70'000, 2));
  EXPECT_EQ(vms[0]->state, EnabledState::running);
  EXPECT_EQ(vms[1]->state, EnabledState::saved);
  EXPECT_EQ(vms[2]->state, EnabledState::off);
}

TEST_P(Collections, DestroyTakesEveryMember) {
  const std::string first = world.create_collection(set).created;
  world.clock.pass_seconds(1);
  const std::string second = world.create_collection(set).created;
  EXPECT_EQ(all_entries(), 12u);
  EXPECT_TRUE(world.succeeded(destroy(first)));
  EXPECT_EQ(all_entries(), 6u);
  EXPECT_EQ(destroy(first).code, 4u);
  EXPECT_EQ(apply(first).code, 4u);
  EXPECT_TRUE(world.services->snapshot_collection(second)->is_whole);
}

TEST_P(Collections, MemberDestroyedAloneIsTold) {
  const std::string made = world.create_collection(set).created;
  const std::string one = world.services->snapshot_collection(made)->snapshots[1];
  EXPECT_TRUE(world.succeeded(world.destroy(one)));
  EXPECT_EQ(all_entries(), 4u);
  EXPECT_FALSE(world.services->snapshot_collection(made)->is_whole);
  EXPECT_EQ(apply(made).code, 5u);
  EXPECT_TRUE(world.succeeded(destroy(made)));
  EXPECT_EQ(all_entries(), 0u);
}

TEST_P(Collections, OnePausedMemberTouchesNone) {
  vms[0]->state = EnabledState::running;
  vms[1]->state = EnabledState::paused;
  EXPECT_EQ(world.create_collection(set).code, 5u);
  EXPECT_EQ(calls(), "");
  EXPECT_EQ(all_entries(), 0u);
}

TEST_P(Collections, LateFailureUndoesAll) {
  for (TestSystem* vm : vms) {
    vm->state = EnabledState::running;
  }
  sim::FaultRule rule;
  rule.tag = IoTag::snapshot_table;
  rule.operation = StorageOperation::write;
  vms[0]->disks[1]->plan.add(rule);
  world.expect_failure(world.create_collection(set), 2, 32768);
  EXPECT_EQ(all_entries(), 0u);
  for (TestSystem* vm : vms) {
    EXPECT_EQ(vm->provider.calls, "quiesce(0) save resume ");
    EXPECT_FALSE(vm->provider.is_quiesced);
    EXPECT_TRUE(world.snapshots(*vm).empty());
  }
  EXPECT_TRUE(world.succeeded(world.create_collection(set)));
}

TEST_P(Collections, QuiesceThatFailsResumesTheOthers) {
  for (TestSystem* vm : vms) {
    vm->state = EnabledState::running;
  }
  // The last in the order of GUIDs.
  vms[0]->provider.quiesce_error = error_of(ErrorCode::timed_out);
  world.expect_failure(world.create_collection(set), 3, 32772);
  EXPECT_EQ(vms[2]->provider.calls, "quiesce(0) resume ");
  EXPECT_EQ(vms[1]->provider.calls, "quiesce(0) resume ");
  EXPECT_EQ(vms[0]->provider.calls, "quiesce(0) ");
  EXPECT_EQ(all_entries(), 0u);
}

TEST_P(Collections, RecoveryIsNotSupported) {
  EXPECT_EQ(world.create_collection(set, 2).code, 1u);
}

TEST_P(Collections, NestedCollectionsAreNotSupported) {
  const std::string outer = world.collection(91, {vms[0]->path, set});
  EXPECT_EQ(world.create_collection(outer).code, 1u);
  EXPECT_EQ(all_entries(), 0u);
}

TEST_P(Collections, UnknownSnapshotCollectionsAreInvalid) {
  std::string job;
  EXPECT_EQ(world.cs().apply_snapshot(std::nullopt, job), 4u);
  EXPECT_EQ(world.cs().destroy_snapshot(set, job), 4u);
  EXPECT_EQ(world.cs().apply_snapshot(vms[0]->path, job), 4u);
}

TEST_P(Collections, MembersComeAndGo) {
  auto& services = *world.services;
  EXPECT_EQ(services.add_member(set, vms[0]->path).error().code, ErrorCode::exists);
  EXPECT_EQ(services.add_member(set, "no").error().code, ErrorCode::not_found);
  EXPECT_EQ(services.add_member("no", vms[0]->path).error().code, ErrorCode::not_found);
  EXPECT_TRUE(services.remove_member(set, vms[0]->path));
  EXPECT_EQ(services.remove_member(set, vms[0]->path).error().code, ErrorCode::not_found);
  EXPECT_EQ(services.collections()->front().members.size(), 2u);
  EXPECT_TRUE(services.remove_system(vms[1]->path));
  EXPECT_EQ(services.collections()->front().members, std::vector<std::string>{vms[2]->path});
  EXPECT_TRUE(world.succeeded(world.create_collection(set)));
  EXPECT_EQ(services.define_collection(uuid_of(90), "again").error().code, ErrorCode::exists);
  EXPECT_TRUE(services.remove_collection(set));
  EXPECT_EQ(services.remove_collection(set).error().code, ErrorCode::not_found);
}

INSTANTIATE_TEST_SUITE_P(Modes, Collections, ::testing::Bool(), kNameMode);

}  // namespace
}  // namespace varve::test
