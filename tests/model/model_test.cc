// Goal: under any mix of overlapping requests, snapshots, growth and reopening an image is a disk.
// Method: random operations against the image and a model of it at once (model/model_runner.h).
//
// VARVE_SEED chooses the operations, VARVE_MODEL_OPERATIONS how many there are per case,
// VARVE_MODEL_DEPTH how many are in flight (1 tells a race from a plain mistake).
#include <algorithm>

#include <gtest/gtest.h>

#include "base/units.h"
#include "model/model_runner.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kOperationsPerCase = 5500;  // 100,000 and more over all cases.

class Model : public testing::TestWithParam<ModelOptions> {};

TEST_P(Model, ImageIsADisk) {
  ModelOptions options = GetParam();
  options.seed =
      sim::Random::mix(sim::seed_from_environment() ^ std::hash<std::string>{}(options.name));
  options.operations = sim::environment_number("VARVE_MODEL_OPERATIONS", kOperationsPerCase);
  options.depth =
      static_cast<unsigned>(sim::environment_number("VARVE_MODEL_DEPTH", options.depth));
  ModelRunner runner(options);
  const auto wrong = runner.run();
  if (runner.is_unsupported()) {
    GTEST_SKIP() << "this machine has no such storage";
  }
  ASSERT_FALSE(wrong) << *wrong << "replay: VARVE_SEED=" << sim::seed_from_environment()
                      << " VARVE_MODEL_OPERATIONS=" << options.operations
                      << " bin/model_test --gtest_filter='*ImageIsADisk/" << options.name << "'";
}

ModelOptions make_case(const char* name, std::uint32_t cluster_bytes, std::uint64_t size_bytes,
                       StorageKind storage, unsigned depth) {
  ModelOptions options;
  options.name = name;
  options.geometry = make_geometry(name, cluster_bytes, size_bytes);
  options.storage = storage;
  options.depth = depth;
  options.request_bytes_max = std::max<std::uint64_t>(16 * kKiB, 2 * cluster_bytes);
  return options;
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
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, Model, testing::ValuesIn(model_cases()),
                         [](const testing::TestParamInfo<ModelOptions>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
