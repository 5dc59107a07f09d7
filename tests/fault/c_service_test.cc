// Goal: no allocation that fails brings down a hypervisor behind the services' C interface. What a
// method answers is what happened: where it failed nothing did, and a second try succeeds; where it
// succeeded the services tell the same snapshots as the images do. Method: one life of a machine
// with two disks in memory, synchronous and with jobs, repeated with allocation number i failing,
// once and from then on until the call has answered. The functions that fail are replaced in
// allocation_test.cc.
//
// VARVE_ALLOCATION_RUNS bounds the runs of each mode (0: all); VARVE_SEED chooses them.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <varve/c/service.h>
#include <varve/varve.h>

#include "sim/allocation_faults.h"
#include "sim/random.h"

namespace varve::test {
namespace {

constexpr std::uint64_t kMachineRuns = 32;
constexpr std::uint64_t kMachineDiskBytes = 1 << 20;
constexpr std::size_t kDisks = 2;
constexpr std::uint64_t kLeaksMax = 8;  // Clusters: a table and what only it referred to.
constexpr std::uint16_t kFull = 2;
constexpr std::uint16_t kRunning = 2;
constexpr std::uint16_t kOff = 3;
constexpr std::uint32_t kDone = 0;
constexpr std::uint32_t kFailed = 2;
constexpr std::uint32_t kJobStarted = 4096;
constexpr std::uint32_t kVirtualizationFailed = 32768;
constexpr std::uint32_t kOutOfMemory = 32778;
constexpr std::uint64_t kJobCompleted = 7;
constexpr std::uint64_t kJobException = 10;

// One life. Every call is tried with faults, and, where it failed, once more without.
class MachineLife {
 public:
  explicit MachineLife(bool is_synchronous) : is_synchronous_(is_synchronous) { open(); }
  MachineLife(const MachineLife&) = delete;
  MachineLife& operator=(const MachineLife&) = delete;
  // Nothing keeps anything open.
  ~MachineLife() {
    EXPECT_EQ(varve_service_close(service_, nullptr), VARVE_OK);
    for (varve_image* image : images_) {
      EXPECT_TRUE(varve_image_close(image, nullptr) == VARVE_OK || is_poisoned_);
    }
    EXPECT_EQ(varve_engine_destroy(engine_, nullptr), VARVE_OK);
  }

  // Allocation `index` fails, once or all from there on, until a call failed.
  void run(std::uint64_t index, bool from_then_on) {
    sim::AllocationFaults::arm(index, from_then_on);
    try_code([&] { return create_service(); });
    try_code([&] { return define(); });
    const std::string first = snapshot();
    const std::string second = snapshot();
    state_ = kOff;
    try_method([&] { return varve_service_apply_snapshot(service_, first.c_str(), &job_); });
    try_method([&] { return varve_service_clear_snapshot_state(service_, first.c_str(), &job_); });
    try_method([&] { return varve_service_destroy_snapshot(service_, second.c_str(), &job_); });
    expect_snapshots(1);
    try_method([&] { return varve_service_destroy_snapshot_tree(service_, first.c_str(), &job_); });
    expect_snapshots(0);
    try_code([&] { return varve_service_remove_system(service_, system_.text, error()); });
    allocations_ = sim::AllocationFaults::disarm();
    for (varve_image* image : images_) {
      if (!is_poisoned_) {
        expect_whole(image, from_then_on);
      }
    }
  }
  [[nodiscard]] std::uint64_t allocations() const noexcept { return allocations_; }
  [[nodiscard]] bool is_poisoned() const noexcept { return is_poisoned_; }
  [[nodiscard]] bool was_refused() const noexcept { return was_refused_; }

 private:
  varve_error* error() {
    error_.size = sizeof(error_);
    return &error_;
  }

  // --- callbacks

  static void post(void* owner, void (*work)(void*), void* argument) {
    MachineLife& life = *static_cast<MachineLife*>(owner);
    ASSERT_EQ(life.posted_.first, nullptr);
    life.posted_ = {work, argument};
  }
  static varve_code quiesce(void* owner, uint32_t, uint32_t) {
    static_cast<MachineLife*>(owner)->is_quiesced_ = true;
    return VARVE_OK;
  }
  static void resume(void* owner) { static_cast<MachineLife*>(owner)->is_quiesced_ = false; }
  static varve_code save(void* owner, varve_state_sink* sink) {
    MachineLife& life = *static_cast<MachineLife*>(owner);
    return varve_service_sink_write(sink, life.ram_.data(), life.ram_.size(), life.error());
  }
  static varve_code load(void* owner, varve_state_source* source, uint16_t) {
    MachineLife& life = *static_cast<MachineLife*>(owner);
    return source == nullptr ? VARVE_OK
                             : varve_service_source_read(source, 0, life.ram_.data(),
                                                         life.ram_.size(), life.error());
  }
  static uint16_t enabled_state(void* owner) { return static_cast<MachineLife*>(owner)->state_; }

  // --- the calls

  void open() {
    varve_engine_options engine = {};
    engine.size = sizeof(engine);
    engine.backend = VARVE_AIO_THREADS;
    ASSERT_EQ(varve_engine_create(&engine, &engine_, error()), VARVE_OK);
    varve_create_options create = {};
    create.size = sizeof(create);
    create.disk_bytes = kMachineDiskBytes;
    varve_open_options open = {};
    open.size = sizeof(open);
    open.flags = VARVE_OPEN_WRITABLE;
    for (varve_image*& image : images_) {
      varve_storage* storage = nullptr;
      ASSERT_EQ(varve_storage_open_memory(engine_, 0, &storage, error()), VARVE_OK);
      ASSERT_EQ(varve_image_create_in(storage, nullptr, &create, error()), VARVE_OK);
      ASSERT_EQ(varve_image_open_storage(storage, &open, &image, error()), VARVE_OK);
      ASSERT_EQ(varve_image_write(image, 0, ram_.data(), ram_.size(), error()), VARVE_OK);
    }
  }
  varve_code create_service() {
    varve_service_options options = {};
    options.size = sizeof(options);
    options.engine = engine_;
    options.flags = is_synchronous_ ? VARVE_SERVICE_SYNCHRONOUS : 0;
    options.post = is_synchronous_ ? nullptr : &MachineLife::post;
    options.owner = this;
    return varve_service_create(&options, &service_, error());
  }
  varve_code define() {
    varve_state_provider provider = {};
    provider.size = sizeof(provider);
    provider.owner = this;
    provider.quiesce = &MachineLife::quiesce;
    provider.resume = &MachineLife::resume;
    provider.save = &MachineLife::save;
    provider.load = &MachineLife::load;
    std::array<varve_service_disk, kDisks> disks = {};
    for (std::size_t i = 0; i < kDisks; ++i) {
      disks[i].size = sizeof(disks[i]);
      disks[i].image = images_[i];
    }
    varve_service_system system = {};
    system.size = sizeof(system);
    system.id.bytes[15] = 1;
    system.element_name = "a name that is longer than what fits into a short string";
    system.disks = disks.data();
    system.disk_count = disks.size();
    system.provider = &provider;
    system.enabled_state = &MachineLife::enabled_state;
    system.owner = this;
    return varve_service_define_system(service_, &system, &system_, error());
  }
  std::string snapshot() {
    try_method([&] {
      return varve_service_create_snapshot(service_, system_.text, "", kFull, &made_, &job_);
    });
    return is_synchronous_ ? made_.text : affected_element();
  }

  // --- trying

  template <class Call>
  void try_code(Call call) {
    const varve_code code = sim::within_window(call);
    if (code != VARVE_OK) {
      EXPECT_EQ(code, VARVE_NO_MEMORY) << error_.message;
      refuse();
      EXPECT_EQ(call(), VARVE_OK) << error_.message;
    }
  }
  template <class Call>
  void try_method(Call call) {
    if (is_poisoned_) {
      return;
    }
    const std::uint64_t failed = sim::AllocationFaults::failed();
    const std::string before = tree();
    if (!sim::within_window([&] { return succeeds(call); })) {
      refuse();
      find_poison();
      if (!is_poisoned_) {
        EXPECT_EQ(tree(), before);
        expect_tree_of_images();
        EXPECT_TRUE(succeeds(call)) << "the second try";
      }
    } else if (sim::AllocationFaults::failed() != failed) {
      refuse();
      expect_tree_of_images();
    }
    EXPECT_FALSE(is_quiesced_ && state_ == kRunning);
  }
  // The memory that fails may be that of the disk itself, between the two halves of a change: then
  // its image must be opened again to tell which one it is, and with these disks that is the end.
  void find_poison() {
    for (varve_image* image : images_) {
      is_poisoned_ = is_poisoned_ || varve_image_flush(image, nullptr) == VARVE_POISONED;
    }
  }
  void refuse() {
    allocations_ = sim::AllocationFaults::disarm();
    was_refused_ = true;
  }

  // Whether the method, and its job, did what it should.
  template <class Call>
  bool succeeds(Call call) {
    const std::uint32_t code = call();
    if (posted_.first != nullptr) {
      const auto [work, argument] = std::exchange(posted_, {});
      EXPECT_EQ(code, kJobStarted) << "work is posted, and the caller is told otherwise";
      work(argument);
    }
    const sim::AllocationPause pause;
    if (code == kJobStarted) {
      const std::uint64_t state = number(VARVE_SERVICE_JOB, job_.text, "JobState");
      EXPECT_TRUE(state == kJobCompleted || state == kJobException) << state;
      return state == kJobCompleted;
    }
    EXPECT_TRUE(code == kDone || code == kFailed || code == kVirtualizationFailed ||
                code == kOutOfMemory)
        << code;
    EXPECT_STREQ(job_.text, "");
    return code == kDone;
  }

  // --- looking, without faults

  template <class Look>
  void query(std::uint32_t question, const char* of, Look look) {
    varve_instances* found = nullptr;
    ASSERT_EQ(varve_service_query(service_, question, of, &found, error()), VARVE_OK)
        << error_.message;
    look(found);
    varve_service_free_instances(found);
  }
  std::uint64_t number(std::uint32_t question, const char* of, const char* property) {
    std::uint64_t value = 0;
    query(question, of, [&](varve_instances* found) {
      EXPECT_EQ(varve_service_get_number(found, 0, property, &value, error()), VARVE_OK);
    });
    return value;
  }
  std::string affected_element() {
    std::string path;
    query(VARVE_SERVICE_AFFECTED_ELEMENTS, job_.text, [&](varve_instances* found) {
      ASSERT_EQ(varve_service_count_instances(found), 1u);
      path = varve_service_get_text(found, 0, "Path", 0);
    });
    return path;
  }
  // All that the services tell of the system's snapshots.
  std::string tree() {
    std::string text;
    query(VARVE_SERVICE_SNAPSHOTS, system_.text, [&](varve_instances* found) {
      for (std::size_t i = 0; i < varve_service_count_instances(found); ++i) {
        for (const char* property : {"Path", "ElementName", "Parent", "CreationTime"}) {
          text += std::string(varve_service_get_text(found, i, property, 0)) + '\n';
        }
        for (const char* property : {"StateBytes", "EnabledState", "SnapshotType", "IsWhole"}) {
          std::uint64_t value = 0;
          EXPECT_EQ(varve_service_get_number(found, i, property, &value, error()), VARVE_OK);
          text += std::to_string(value) + '\n';
        }
      }
    });
    for (const std::uint32_t which : {VARVE_SERVICE_MOST_CURRENT, VARVE_SERVICE_LAST_APPLIED}) {
      query(which, system_.text, [&](varve_instances* found) {
        const char* path = varve_service_get_text(found, 0, "Path", 0);
        text += path == nullptr ? "none\n" : std::string(path) + '\n';
      });
    }
    return text;
  }
  // The system anew tells what its images hold.
  void expect_tree_of_images() {
    const std::string known = tree();
    ASSERT_EQ(varve_service_remove_system(service_, system_.text, error()), VARVE_OK);
    ASSERT_EQ(define(), VARVE_OK) << error_.message;
    EXPECT_EQ(tree(), known);
  }
  void expect_snapshots(std::size_t count) {
    if (is_poisoned_) {
      return;
    }
    query(VARVE_SERVICE_SNAPSHOTS, system_.text,
          [&](varve_instances* found) { EXPECT_EQ(varve_service_count_instances(found), count); });
  }
  // What cannot be given back for want of memory is space, and little where memory comes back.
  void expect_whole(varve_image* image, bool is_out_of_memory) {
    varve_check_report report = {};
    report.size = sizeof(report);
    EXPECT_EQ(varve_image_flush(image, error()), VARVE_OK) << error_.message;
    EXPECT_EQ(varve_check(image, nullptr, &report, error()), VARVE_OK) << error_.message;
    EXPECT_EQ(report.corruptions, 0u);
    EXPECT_TRUE(report.leaks <= kLeaksMax || is_out_of_memory) << report.leaks;
    varve_snapshot_list* list = nullptr;
    EXPECT_EQ(varve_snapshot_list_make(image, &list, error()), VARVE_OK);
    EXPECT_EQ(varve_snapshot_list_get_count(list), 0u);
    varve_snapshot_list_free(list);
  }

  bool is_synchronous_;
  bool was_refused_ = false;
  bool is_quiesced_ = false;
  bool is_poisoned_ = false;
  std::uint64_t allocations_ = 0;
  varve_error error_ = {};
  varve_engine* engine_ = nullptr;
  std::array<varve_image*, kDisks> images_ = {};
  varve_service* service_ = nullptr;
  varve_service_path system_ = {};
  varve_service_path made_ = {};
  varve_service_path job_ = {};
  std::uint16_t state_ = kRunning;
  std::pair<void (*)(void*), void*> posted_ = {};
  std::array<unsigned char, 70'000> ram_ = {};
};

class CServices : public ::testing::TestWithParam<bool> {};

TEST_P(CServices, TellWhatHappenedWhicheverAllocationFails) {
  const std::uint64_t seed = sim::seed_from_environment();
  std::uint64_t allocations = 0;
  {
    MachineLife life(GetParam());
    life.run(sim::AllocationFaults::kNever, false);
    ASSERT_FALSE(life.was_refused()) << "already without a fault";
    allocations = life.allocations();
  }
  ASSERT_GT(allocations, 200u) << "nothing was counted";

  const std::uint64_t limit = sim::environment_number("VARVE_ALLOCATION_RUNS", kMachineRuns);
  std::uint64_t left = 2 * allocations;
  std::uint64_t wanted = limit == 0 ? left : std::min(limit, left);
  std::uint64_t refused = 0;
  std::uint64_t poisoned = 0;
  sim::Random choice(seed);
  for (std::uint64_t index = 0; index < allocations && !HasFailure(); ++index) {
    for (const bool from_then_on : {false, true}) {
      if (choice.below(left--) >= wanted) {
        continue;
      }
      --wanted;
      SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed) + ", allocation " + std::to_string(index) +
                   " of " + std::to_string(allocations) +
                   (from_then_on ? " and all later ones" : ""));
      MachineLife life(GetParam());
      life.run(index, from_then_on);
      refused += life.was_refused() ? 1 : 0;
      poisoned += life.is_poisoned() ? 1 : 0;
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_LE(poisoned, refused / 4);
}

INSTANTIATE_TEST_SUITE_P(Modes, CServices, ::testing::Bool(),
                         [](const ::testing::TestParamInfo<bool>& parameter) {
                           return parameter.param ? "Synchronous" : "WithJobs";
                         });

}  // namespace
}  // namespace varve::test
