// Goal: under any mix of overlapping requests, snapshots, growth and reopening an image is a disk.
// Method: random operations against the image and a model of it at once (model/model_runner.h), on
// every storage; and again where the kernel refuses io_uring.
//
// VARVE_SEED chooses the operations, VARVE_MODEL_OPERATIONS how many there are per case,
// VARVE_MODEL_DEPTH how many are in flight (1 tells a race from a plain mistake).
#include <algorithm>

#include <gtest/gtest.h>

#include "base/units.h"
#include "io/sandbox.h"
#include "model/missing.h"
#include "model/model_runner.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kOperationsPerCase = 5500;  // 100,000 and more over all cases.
// Of these, what a case runs where it costs more or has been run already.
constexpr std::uint64_t kCostlyShare = 8;
constexpr std::uint64_t kRefusedShare = 20;

class Model : public ::testing::TestWithParam<ModelOptions> {};

ModelOptions options_of(ModelOptions options, std::uint64_t share) {
  options = with_environment(std::move(options));
  options.operations =
      sim::environment_number("VARVE_MODEL_OPERATIONS", kOperationsPerCase) / share;
  return options;
}

// How to see the same again, for the end of a message.
std::string replay() {
  const ::testing::TestInfo* const test = ::testing::UnitTest::GetInstance()->current_test_info();
  return "replay: VARVE_SEED=" + std::to_string(sim::seed_from_environment()) +
         " VARVE_MODEL_OPERATIONS=" +
         std::to_string(sim::environment_number("VARVE_MODEL_OPERATIONS", kOperationsPerCase)) +
         " bin/model_test --gtest_filter='" + test->test_suite_name() + "." + test->name() + "'";
}

// History: c8bf9a9169, f214978a42, a71835a0cc, 048c5fd1bf, fc6b211f92, a1391444fe,
// cloud-hypervisor 8621, cloud-hypervisor 39e253ff9.
TEST_P(Model, ImageIsADisk) {
  const bool is_costly =
      GetParam().storage == StorageKind::order || GetParam().storage == StorageKind::device;
  ModelRunner runner(options_of(GetParam(), is_costly ? kCostlyShare : 1));
  const auto wrong = runner.run();
  if (runner.is_unsupported()) {
    VARVE_MACHINE_LACKS("this machine has no such storage");
  }
  ASSERT_FALSE(wrong) << *wrong << replay();
}

ModelOptions make_case(const char* name, std::uint32_t cluster_bytes, std::uint64_t size_bytes,
                       StorageKind storage, unsigned depth) {
  return make_model_case(name, cluster_bytes, size_bytes, storage, depth, 16 * kKiB);
}

std::vector<ModelOptions> model_cases() {
  using enum StorageKind;
  std::vector<ModelOptions> cases;
  const auto add = [&](ModelOptions options) -> ModelOptions& {
    cases.push_back(std::move(options));
    return cases.back();
  };
  add(make_case("Serial4k", 4096, 600 * kKiB + 512, memory, 1));
  add(make_case("Memory512", 512, 150 * kKiB + 512, memory, 16));
  add(make_case("Memory64k", 65536, 3 * kMiB, memory, 32)).geometry.tiny_caches = false;
  add(make_case("Delay512Refcount64", 512, 150 * kKiB + 512, delay, 16))
      .geometry.create.refcount_bits = 64;
  ModelOptions& one_bit = add(make_case("Delay512Refcount1", 512, 150 * kKiB, delay, 64));
  one_bit.geometry.create.refcount_bits = 1;
  one_bit.snapshots = false;
  add(make_case("Delay4k", 4096, 900 * kKiB + 1536, delay, 32));
  add(make_case("Delay4kDeep", 4096, 300 * kKiB, delay, 64)).discard = DiscardMode::unmap;
  add(make_case("Delay4kVersion2", 4096, 500 * kKiB + 512, delay, 16)).geometry.create.version = 2;
  ModelOptions& old_backing = add(make_case("Delay4kVersion2Backing", 4096, 500 * kKiB, delay, 16));
  old_backing.geometry = with_backing(old_backing.geometry, 300 * kKiB + 512);
  old_backing.geometry.create.version = 2;
  ModelOptions& backing = add(make_case("Delay4kBacking", 4096, 500 * kKiB, delay, 16));
  backing.geometry = with_backing(backing.geometry, 700 * kKiB + 512);
  backing.geometry.tiny_caches = false;
  add(make_case("Delay4kLazy", 4096, 500 * kKiB, delay, 16)).geometry.create.lazy_refcounts = true;
  add(make_case("Delay16kExtended", 16384, 1 * kMiB, delay, 32)).geometry.create.extended_l2 = true;
  ModelOptions& extended = add(make_case("Delay16kExtendedBacking", 16384, 1 * kMiB, delay, 16));
  extended.geometry = with_backing(extended.geometry, 700 * kKiB + 512);
  extended.geometry.create.extended_l2 = true;
  add(make_case("Delay64kZstd", 65536, 2 * kMiB + 512, delay, 16)).geometry.create.compression =
      Compression::zstd;
  add(make_case("Uring4k", 4096, 900 * kKiB, uring_file, 64)).discard = DiscardMode::unmap;
  add(make_case("Uring64k", 65536, 3 * kMiB, uring_file, 32)).geometry.tiny_caches = false;
  add(make_case("Threads4k", 4096, 900 * kKiB, threads_file, 16));
  add(make_case("Direct512", 512, 150 * kKiB, direct_file, 16));
  add(make_case("Direct64k", 65536, 2 * kMiB, direct_file, 32));
  add(make_case("Device4k", 4096, 900 * kKiB, device, 32));
  add(make_case("Order512", 512, 60 * kKiB + 512, order, 16));
  add(make_case("Order4k", 4096, 300 * kKiB, order, 32)).discard = DiscardMode::unmap;
  return cases;
}

// In a child process, as in a container that denies the system call.
TEST(ModelWithoutIoUring, ImageIsADisk) {
  const int answer = test::run_in_sandbox({{SYS_io_uring_setup, EPERM}}, [] {
    bool is_good = !Engine::create({.backend = AioBackend::io_uring});
    for (ModelOptions options : model_cases()) {
      options = options_of(options, kRefusedShare);
      options.ask_qemu = false;
      if (options.storage == StorageKind::uring_file) {
        options.storage = StorageKind::automatic_file;
      }
      ModelRunner runner(options);
      if (const auto wrong = runner.run()) {
        std::fprintf(stderr, "%s: %s", options.name.c_str(), wrong->c_str());
        is_good = false;
      }
    }
    return is_good ? 0 : 1;
  });
  EXPECT_EQ(answer, 0) << replay();
}

INSTANTIATE_TEST_SUITE_P(Cases, Model, ::testing::ValuesIn(model_cases()),
                         [](const ::testing::TestParamInfo<ModelOptions>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
