// A small data centre for tests: systems on simulated disks behind one pair of services, with a
// provider that plays the hypervisor, a clock that stands still unless told, and an executor that
// runs work when the test says so.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <varve/create.h>
#include <varve/engine.h>
#include <varve/image.h>
#include <varve/service.h>
#include <varve/snapshot.h>

#include "io/io_fixture.h"
#include "sim/faulty_storage.h"
#include "sim/sim_disk.h"

namespace varve::test {

inline Uuid uuid_of(unsigned number) {
  Uuid uuid;
  uuid.bytes.fill(0xa0);
  uuid.bytes[15] = static_cast<std::uint8_t>(number);
  uuid.bytes[14] = static_cast<std::uint8_t>(number >> 8);
  return uuid;
}

class TestClock final : public Clock {
 public:
  [[nodiscard]] std::uint64_t calendar_nanoseconds() const noexcept override { return calendar; }
  // Advances by a millisecond whenever somebody looks, so that every deadline comes.
  [[nodiscard]] std::uint64_t steady_nanoseconds() const noexcept override {
    return steady += 1'000'000;
  }
  void pass_seconds(std::uint64_t seconds) {
    steady += seconds * 1'000'000'000;
    calendar += seconds * 1'000'000'000;
  }
  std::uint64_t calendar = 1'796'000'000'123'456'000;  // 2026-11-30 00:53:20 and a bit.
  mutable std::uint64_t steady = 1;
};

class TestExecutor final : public Executor {
 public:
  void post(std::function<void()> work) override { queue.push_back(std::move(work)); }
  void turn(Engine& engine, int) noexcept override {
    if (on_turn) {
      on_turn();
    }
    engine.poll();
  }
  void run_all() {
    while (!queue.empty()) {
      const auto work = std::move(queue.front());
      queue.pop_front();
      work();
    }
  }
  std::deque<std::function<void()>> queue;
  std::function<void()> on_turn;
};

// A hypervisor whose machine state is a few bytes and whose EnabledState is a variable.
class TestProvider final : public StateProvider {
 public:
  explicit TestProvider(EnabledState& state) : enabled_state(state) {}

  Result<void> quiesce(ConsistencyLevel level, unsigned) noexcept override {
    calls += "quiesce(" + std::to_string(static_cast<int>(level)) + ") ";
    if (quiesce_error) {
      return *quiesce_error;
    }
    is_quiesced = true;
    return {};
  }
  void resume() noexcept override {
    calls += "resume ";
    EXPECT_TRUE(is_quiesced);
    is_quiesced = false;
  }
  Result<void> save(StateSink& sink) noexcept override {
    calls += "save ";
    EXPECT_TRUE(is_quiesced || enabled_state == EnabledState::saved);
    sink.expect(memory.size());
    for (std::size_t at = 0; at < memory.size(); at += kPieceBytes) {
      if (on_save) {
        on_save(at);
      }
      const std::size_t size = std::min(kPieceBytes, memory.size() - at);
      const Result<void> written = sink.write(std::span(memory).subspan(at, size));
      if (!written) {
        return written;
      }
    }
    return save_error ? Result<void>(*save_error) : Result<void>();
  }
  Result<void> load(StateSource* source, EnabledState state) noexcept override {
    calls += source == nullptr ? "load() " : "load(state) ";
    is_quiesced = false;
    if (load_error) {
      enabled_state = EnabledState::off;
      return *load_error;
    }
    memory.clear();
    if (source != nullptr) {
      memory.resize(source->size());
      const Result<void> read = source->read(0, memory);
      if (!read) {
        return read;
      }
    }
    enabled_state = state;
    return {};
  }

  static constexpr std::size_t kPieceBytes = 30'000;
  EnabledState& enabled_state;
  ByteVector memory = pattern(100'000, 7);
  std::string calls;
  bool is_quiesced = false;
  std::optional<Error> quiesce_error;
  std::optional<Error> save_error;
  std::optional<Error> load_error;
  std::function<void(std::size_t)> on_save;
};

struct TestDisk {
  sim::SimDisk disk;
  sim::FaultPlan plan;
  std::unique_ptr<Image> image;
  DiskDefinition extra;  // With `image` null: what is defined instead.
  Format format = Format::qcow2;
};

struct TestSystem {
  Uuid id;
  std::string name;
  EnabledState state = EnabledState::off;
  UserSnapshotType user_snapshot_type = UserSnapshotType::production_fallback_to_test;
  bool has_provider = true;
  TestProvider provider{state};
  std::vector<std::unique_ptr<TestDisk>> disks;
  std::string path;
};

inline Error error_of(ErrorCode code, const char* what = "as the test asked") {
  Error error;
  error.code = code;
  error.what = what;
  return error;
}

class World {
 public:
  static constexpr std::uint64_t kDiskBytes = 4u << 20;
  static constexpr const char* kHost = "HOST1";

  explicit World(bool synchronous) : is_synchronous(synchronous) {
    EngineOptions engine_options;
    engine_options.backend = AioBackend::threads;
    engine_options.threads = 1;
    auto made = Engine::create(engine_options);
    EXPECT_TRUE(made);
    engine = std::move(*made);
    start();
  }
  ~World() { stop(); }

  // Services without systems.
  void start() {
    ServiceOptions options;
    options.host_name = kHost;
    options.synchronous = is_synchronous;
    options.executor = &executor;
    options.engine = engine.get();
    options.clock = &clock;
    options.lock_timeout_milliseconds = 50;
    auto made = SnapshotServices::create(options);
    ASSERT_TRUE(made) << describe(made.error());
    services = std::move(*made);
  }
  void stop() {
    services.reset();
    for (const auto& system : systems) {
      for (const auto& disk : system->disks) {
        disk->image.reset();
      }
    }
  }
  // A new process over the same files.
  void restart(bool define = true) {
    stop();
    start();
    for (const auto& system : systems) {
      for (const auto& disk : system->disks) {
        open(*disk);
      }
      if (define) {
        this->define(*system);
      }
    }
  }

  TestSystem& add_system(unsigned number, const std::string& name, unsigned disks = 2) {
    auto system = std::make_unique<TestSystem>();
    system->id = uuid_of(number);
    system->name = name;
    for (unsigned i = 0; i < disks; ++i) {
      add_disk(*system);
    }
    systems.push_back(std::move(system));
    return *systems.back();
  }
  TestDisk& add_disk(TestSystem& system, const CreateOptions& geometry = small_disk()) {
    system.disks.push_back(std::make_unique<TestDisk>());
    TestDisk& disk = *system.disks.back();
    disk.format = geometry.format;
    sim::SimStorage storage(*engine, disk.disk);
    const Result<void> created = create_image_in(storage, nullptr, geometry);
    EXPECT_TRUE(created) << describe(created.error());
    open(disk);
    return disk;
  }
  static CreateOptions small_disk() {
    CreateOptions options;
    options.size_bytes = kDiskBytes;
    options.cluster_bytes = 4096;
    return options;
  }
  void open(TestDisk& disk) {
    if (disk.extra.image != nullptr || !disk.extra.path.empty()) {
      return;
    }
    OpenOptions options;
    options.format = disk.format;
    options.writable = true;
    auto opened = Image::open(std::make_unique<sim::FaultyStorage>(
                                  std::make_unique<sim::SimStorage>(*engine, disk.disk), disk.plan),
                              "", options);
    ASSERT_TRUE(opened) << describe(opened.error());
    disk.image = std::move(*opened);
  }

  SystemDefinition definition_of(TestSystem& system) {
    SystemDefinition definition;
    definition.id = system.id;
    definition.element_name = system.name;
    definition.provider = system.has_provider ? &system.provider : nullptr;
    definition.enabled_state = [&system] { return system.state; };
    definition.user_snapshot_type = system.user_snapshot_type;
    for (const auto& disk : system.disks) {
      DiskDefinition each = disk->extra;
      each.image = disk->image ? disk->image.get() : each.image;
      definition.disks.push_back(each);
    }
    return definition;
  }
  void define(TestSystem& system) {
    const auto path = services->define_system(definition_of(system));
    ASSERT_TRUE(path) << describe(path.error());
    system.path = *path;
  }
  // A system of two good disks, defined.
  TestSystem& system(unsigned number = 1, const std::string& name = "vm", unsigned disks = 2) {
    TestSystem& added = add_system(number, name, disks);
    define(added);
    return added;
  }
  std::string collection(unsigned number, const std::vector<std::string>& members) {
    const auto path = services->define_collection(uuid_of(number), "set");
    EXPECT_TRUE(path);
    for (const std::string& member : members) {
      EXPECT_TRUE(services->add_member(*path, member));
    }
    return *path;
  }

  VirtualSystemSnapshotService& vs() { return services->virtual_system(); }
  CollectionSnapshotService& cs() { return services->collection(); }

  // What became of a call, whichever the mode.
  struct Outcome {
    std::uint32_t code = 0;  // As the method answered.
    std::string job;
    std::string created;   // Synchronous: the out parameter; else through the job.
    JobDescription ended;  // Of the job, after it ran.
  };
  Outcome finish(Outcome outcome) {
    if (outcome.code == 4096) {
      auto job = services->job(outcome.job);
      EXPECT_TRUE(job);
      if (!is_synchronous) {
        EXPECT_EQ(job->job_state, JobState::running);
        EXPECT_LT(job->percent_complete, 100u);
        EXPECT_EQ(outcome.created, "") << "the snapshot is found through the job";
        executor.run_all();
      }
      job = services->job(outcome.job);
      EXPECT_TRUE(job);
      outcome.ended = *job;
      EXPECT_EQ(job->percent_complete, 100u);
      const auto elements = services->affected_elements(outcome.job);
      EXPECT_TRUE(elements);
      if (elements && !elements->empty()) {
        EXPECT_EQ(elements->size(), 1u);
        EXPECT_EQ(elements->front().effect, 5);
        outcome.created = elements->front().path;
      }
    } else {
      EXPECT_EQ(outcome.job, "");
      if (is_creation_) {
        EXPECT_EQ(outcome.code == 0, !outcome.created.empty());
      }
    }
    return outcome;
  }
  Outcome create(const std::string& system, std::uint16_t type, CimText settings = "") {
    Outcome outcome;
    is_creation_ = true;
    outcome.created = "left over";
    outcome.code = vs().create_snapshot(system, settings, type, outcome.created, outcome.job);
    return finish(outcome);
  }
  Outcome create_collection(const std::string& collection, std::uint16_t type = 1,
                            CimText settings = "") {
    Outcome outcome;
    is_creation_ = true;
    outcome.created = "left over";
    outcome.code = cs().create_snapshot(collection, settings, type, outcome.created, outcome.job);
    return finish(outcome);
  }
  template <class Method, class Service>
  Outcome call(Service& service, Method method, CimText snapshot) {
    Outcome outcome;
    is_creation_ = false;
    outcome.code = (service.*method)(snapshot, outcome.job);
    return finish(outcome);
  }
  Outcome apply(CimText snapshot) {
    return call(vs(), &VirtualSystemSnapshotService::apply_snapshot, snapshot);
  }
  Outcome destroy(CimText snapshot) {
    return call(vs(), &VirtualSystemSnapshotService::destroy_snapshot, snapshot);
  }
  Outcome destroy_tree(CimText snapshot) {
    return call(vs(), &VirtualSystemSnapshotService::destroy_snapshot_tree, snapshot);
  }
  Outcome clear_state(CimText snapshot) {
    return call(vs(), &VirtualSystemSnapshotService::clear_snapshot_state, snapshot);
  }

  // Success of a call, in either mode.
  [[nodiscard]] bool succeeded(const Outcome& outcome) const {
    return outcome.code == 0 ||
           (outcome.code == 4096 && outcome.ended.job_state == JobState::completed &&
            outcome.ended.error_code == 0);
  }
  // A failure of the work: `code` at once, or a job that ends as 10 with the code of family B.
  void expect_failure(const Outcome& outcome, std::uint32_t code, std::uint32_t error_code) const {
    if (is_synchronous && outcome.code != 4096) {
      EXPECT_EQ(outcome.code, code);
      return;
    }
    EXPECT_EQ(outcome.code, 4096u);
    EXPECT_EQ(outcome.ended.job_state, JobState::exception);
    EXPECT_EQ(outcome.ended.error_code, error_code) << outcome.ended.error_description;
    EXPECT_NE(outcome.ended.error_description, "");
    EXPECT_EQ(outcome.created, "");
  }

  static std::size_t entries(const TestDisk& disk) {
    const auto infos = list_snapshots(*disk.image);
    EXPECT_TRUE(infos);
    return infos ? infos->size() : 0;
  }
  // Snapshot entries on every disk of the system.
  static std::vector<std::size_t> entries(const TestSystem& system) {
    std::vector<std::size_t> counts;
    for (const auto& disk : system.disks) {
      counts.push_back(entries(*disk));
    }
    return counts;
  }
  static void fill(const TestSystem& system, unsigned seed) {
    for (std::size_t i = 0; i < system.disks.size(); ++i) {
      const ByteVector bytes = pattern(20'000, seed + static_cast<unsigned>(i));
      const Result<void> written = system.disks[i]->image->write(4096 * 3, bytes);
      ASSERT_TRUE(written) << describe(written.error());
    }
  }
  static bool holds(const TestSystem& system, unsigned seed) {
    for (std::size_t i = 0; i < system.disks.size(); ++i) {
      ByteVector bytes(20'000);
      const Result<void> read = system.disks[i]->image->read(4096 * 3, bytes);
      if (!read || bytes != pattern(20'000, seed + static_cast<unsigned>(i))) {
        return false;
      }
    }
    return true;
  }
  std::vector<SnapshotDescription> snapshots(const TestSystem& system) const {
    auto all = services->snapshots(system.path);
    EXPECT_TRUE(all);
    return all ? std::move(*all) : std::vector<SnapshotDescription>();
  }

  bool is_synchronous;
  TestClock clock;
  TestExecutor executor;
  std::unique_ptr<Engine> engine;
  std::vector<std::unique_ptr<TestSystem>> systems;
  std::unique_ptr<SnapshotServices> services;

 private:
  bool is_creation_ = false;
};

inline const auto kNameMode = [](const ::testing::TestParamInfo<bool>& info) {
  return info.param ? "Synchronous" : "Asynchronous";
};

}  // namespace varve::test
