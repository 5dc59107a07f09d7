// Goal: snapshots taken, applied, deleted and cancelled while the guest reads, writes, zeroes,
// discards, flushes and grows show the disk as it was at their freeze, and the disk stays a disk.
// Method: ModelRunner with operations beside its requests (model/model_live.cc), on storage whose
// completions come in seeded random order, with caches of two tables, under the order watch; and on
// real files.
//
// VARVE_SEED chooses the operations, VARVE_LIVE_OPERATIONS how many requests there are per case,
// VARVE_MODEL_DEPTH how many are in flight; VARVE_LONG makes it 20 times as many.
#include <algorithm>

#include <gtest/gtest.h>

#include "base/units.h"
#include "model/missing.h"
#include "model/model_runner.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kRequestsPerCase = 1500;
constexpr std::uint64_t kLongTimes = 20;

class Live : public testing::TestWithParam<ModelOptions> {};

TEST_P(Live, SnapshotsShowTheDiskAtTheirFreeze) {
  ModelOptions options = with_environment(GetParam());
  options.live = true;
  const bool is_long = sim::environment_number("VARVE_LONG", 0) != 0;
  options.operations = sim::environment_number("VARVE_LIVE_OPERATIONS",
                                               kRequestsPerCase * (is_long ? kLongTimes : 1));
  options.publications = options.geometry.create.refcount_bits >= 16 ? 1 : 0;
  ModelRunner runner(options);
  const auto wrong = runner.run();
  if (runner.is_unsupported()) {
    VARVE_MACHINE_LACKS("this machine has no such storage");
  }
  ASSERT_FALSE(wrong) << *wrong << "replay: VARVE_SEED=" << sim::seed_from_environment()
                      << " VARVE_LIVE_OPERATIONS=" << options.operations
                      << " bin/model_test --gtest_filter='*AtTheirFreeze/" << options.name << "'";
  EXPECT_GE(runner.published(), options.publications);
}

ModelOptions live_case(const char* name, std::uint32_t cluster_bytes, std::uint64_t size_bytes,
                       StorageKind storage, unsigned depth) {
  ModelOptions options = make_model_case(name, cluster_bytes, size_bytes, storage, depth, 4 * kKiB);
  options.ask_qemu = false;
  return options;
}

std::vector<ModelOptions> live_cases() {
  using enum StorageKind;
  std::vector<ModelOptions> cases;
  const auto add = [&](ModelOptions options) -> ModelOptions& {
    cases.push_back(std::move(options));
    return cases.back();
  };
  add(live_case("Order512", 512, 60 * kKiB + 512, order, 12));
  add(live_case("Order512Refcount64", 512, 40 * kKiB, order, 6)).geometry.create.refcount_bits = 64;
  add(live_case("Order512Refcount2", 512, 30 * kKiB, order, 8)).geometry.create.refcount_bits = 2;
  add(live_case("Order4kUnmap", 4096, 200 * kKiB + 1536, order, 16)).discard = DiscardMode::unmap;
  add(live_case("Order4kVersion2", 4096, 200 * kKiB, order, 12)).geometry.create.version = 2;
  ModelOptions& extended = add(live_case("Order16kExtendedBacking", 16384, 500 * kKiB, order, 12));
  extended.geometry = with_backing(extended.geometry, 700 * kKiB + 512);
  extended.geometry.create.extended_l2 = true;
  add(live_case("Memory64k", 65536, 2 * kMiB, memory, 16)).geometry.tiny_caches = false;
  add(live_case("Uring4k", 4096, 900 * kKiB, uring_file, 32)).ask_qemu = true;
  add(live_case("Threads512", 512, 60 * kKiB, threads_file, 16));
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, Live, testing::ValuesIn(live_cases()),
                         [](const testing::TestParamInfo<ModelOptions>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
