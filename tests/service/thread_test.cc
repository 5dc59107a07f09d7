// Goal: a service with a thread of its own takes snapshots of disks given by path, called from any
// thread, and ends in order. Method: real files; waiting is for the job, by asking until it ends.
#include <thread>

#include <gtest/gtest.h>

#include "service/world.h"

namespace varve::test {
namespace {

class OwnThread : public ::testing::TestWithParam<bool> {
 protected:
  OwnThread() {
    auto engine = make_engine(AioBackend::threads);
    for (const char* name : {"a.qcow2", "b.qcow2"}) {
      EXPECT_TRUE(create_image(*engine, folder.file(name), World::small_disk()));
      DiskDefinition disk;
      disk.path = folder.file(name);
      disk.options.writable = true;
      definition.disks.push_back(disk);
    }
    definition.id = uuid_of(1);
    definition.element_name = "vm";
    start();
  }
  void start() {
    ServiceOptions options;
    options.own_thread = true;
    options.synchronous = GetParam();
    options.engine_options.backend = AioBackend::threads;
    auto made = SnapshotServices::create(options);
    ASSERT_TRUE(made) << describe(made.error());
    services = std::move(*made);
    const auto defined = services->define_system(definition);
    ASSERT_TRUE(defined) << describe(defined.error());
    path = *defined;
  }
  // The snapshot's path, whichever the mode.
  std::string create(const std::string& system) {
    std::string created;
    std::string job;
    const std::uint32_t code =
        services->virtual_system().create_snapshot(system, "", 3, created, job);
    if (code != 4096) {
      EXPECT_EQ(code, 0u);
      return created;
    }
    wait(job);
    const auto elements = services->affected_elements(job);
    EXPECT_EQ(elements->size(), 1u);
    return elements->empty() ? "" : elements->front().path;
  }
  void wait(const std::string& job) {
    while (services->job(job)->job_state == JobState::running) {
      std::this_thread::yield();
    }
    EXPECT_EQ(services->job(job)->job_state, JobState::completed)
        << services->job(job)->error_description;
  }

  Folder folder;
  SystemDefinition definition;
  std::unique_ptr<SnapshotServices> services;
  std::string path;
};

TEST_P(OwnThread, TakesAppliesAndDestroys) {
  const std::string made = create(path);
  EXPECT_EQ(services->snapshots(path)->size(), 1u);
  std::string job;
  EXPECT_EQ(services->virtual_system().apply_snapshot(made, job), 4096u);
  wait(job);
  services.reset();
  start();
  EXPECT_EQ(*services->last_applied_snapshot(path), made);
  EXPECT_EQ(services->rename_snapshot(made, "other"), 0u);
  EXPECT_EQ(services->snapshot(made)->element_name, "other");
  const std::uint32_t code = services->virtual_system().destroy_snapshot(made, job);
  EXPECT_EQ(code, GetParam() ? 0u : 4096u);
  if (code == 4096) {
    wait(job);
  }
  EXPECT_TRUE(services->snapshots(path)->empty());
}

TEST_P(OwnThread, MayBeCalledFromSeveralThreads) {
  std::vector<std::thread> threads;
  std::atomic<unsigned> taken = 0;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int run = 0; run < 3; ++run) {
        std::string created;
        std::string job;
        std::uint32_t code = 5;
        while (code == 5) {  // Another thread's job has the system.
          code = services->virtual_system().create_snapshot(path, "", 3, created, job);
          std::this_thread::yield();
        }
        if (code == 4096) {
          wait(job);
        } else {
          EXPECT_EQ(code, 0u);
        }
        ++taken;
        EXPECT_TRUE(services->snapshots(path));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(taken, 9u);
  EXPECT_EQ(services->snapshots(path)->size(), 9u);
}

TEST_P(OwnThread, EndsWithWorkUnderWay) {
  if (GetParam()) {
    create(path);
  } else {
    std::string created;
    std::string job;
    EXPECT_EQ(services->virtual_system().create_snapshot(path, "", 3, created, job), 4096u);
  }
  services.reset();
  start();
  const auto all = services->snapshots(path);
  EXPECT_LE(all->size(), 1u);
  for (const SnapshotDescription& each : *all) {
    EXPECT_TRUE(each.is_whole);
  }
}

TEST_P(OwnThread, TakesNoOpenImages) {
  auto engine = make_engine(AioBackend::threads);
  ASSERT_TRUE(create_image(*engine, folder.file("c.qcow2"), World::small_disk()));
  auto image = Image::open(*engine, folder.file("c.qcow2"), {});
  ASSERT_TRUE(image);
  SystemDefinition other;
  other.id = uuid_of(2);
  other.disks.emplace_back();
  other.disks.back().image = image->get();
  EXPECT_EQ(services->define_system(other).error().code, ErrorCode::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Modes, OwnThread, ::testing::Bool(), kNameMode);

}  // namespace
}  // namespace varve::test
