// Goal: discards, zeroes and writes that race for the same clusters leave what some order of them
// leaves, subcluster by subcluster. Method: many of them at once in four clusters with extended L2
// entries, against the model (model/model_runner.h): whatever a read shows, and the disk at rest,
// is compared.
//
// An ordinary run has 100,000 requests for each of two seeds; VARVE_LONG has ten times as many for
// each of sixteen. VARVE_MODEL_OPERATIONS sets the number per case; VARVE_SEED chooses them.
#include <cstdio>

#include <gtest/gtest.h>

#include "base/units.h"
#include "model/missing.h"
#include "model/model_runner.h"

namespace varve::model {
namespace {

// Of each case of a seed; the case on disk has a third of it.
constexpr std::uint64_t kRacingRequests = 30'000;
constexpr std::uint64_t kRacingLongTimes = 10;
constexpr unsigned kRacingSeeds = 2;
constexpr unsigned kRacingLongSeeds = 16;

bool is_long_race() {
  return sim::environment_number("VARVE_LONG", 0) != 0;
}

class Races : public testing::TestWithParam<ModelOptions> {};

// History: discard beside write.
TEST_P(Races, LeaveWhatSomeOrderOfThemLeaves) {
  ModelOptions options = with_environment(GetParam());
  const std::uint64_t ordinary =
      options.storage == StorageKind::uring_file ? kRacingRequests / 3 : kRacingRequests;
  options.operations = sim::environment_number("VARVE_MODEL_OPERATIONS",
                                               ordinary * (is_long_race() ? kRacingLongTimes : 1));
  ModelRunner runner(options);
  const auto wrong = runner.run();
  if (runner.is_unsupported()) {
    VARVE_MACHINE_LACKS("this machine has no such storage");
  }
  ASSERT_FALSE(wrong) << *wrong << "replay: VARVE_SEED=" << sim::seed_from_environment()
                      << " VARVE_MODEL_OPERATIONS=" << options.operations
                      << " bin/model_test --gtest_filter='*SomeOrderOfThemLeaves/" << options.name
                      << "'";
  std::printf("raced: %llu requests\n", static_cast<unsigned long long>(options.operations));
}

ModelOptions race_case(const std::string& name, StorageKind storage, DiscardMode discard) {
  constexpr std::uint32_t kRacingCluster = 16384;
  ModelOptions options = make_model_case(name.c_str(), kRacingCluster, 5 * kRacingCluster + 1024,
                                         storage, 32, kRacingCluster);
  options.geometry.create.extended_l2 = true;
  options.discard = discard;
  options.races = true;
  options.compressed = false;  // Half of the time, where they are.
  options.ask_qemu = false;
  return options;
}

// Four cases for each seed: with a backing file and snapshots, and without.
std::vector<ModelOptions> race_cases() {
  using enum StorageKind;
  std::vector<ModelOptions> cases;
  for (unsigned seed = 1; seed <= (is_long_race() ? kRacingLongSeeds : kRacingSeeds); ++seed) {
    const std::string number = std::to_string(seed);
    cases.push_back(race_case("Delay_" + number, delay, DiscardMode::ignore));
    cases.back().snapshots = false;
    cases.push_back(race_case("DelayUnmap_" + number, delay, DiscardMode::unmap));
    cases.push_back(race_case("DelayBacking_" + number, delay, DiscardMode::unmap));
    cases.back().compressed = true;
    cases.back().geometry = with_backing(cases.back().geometry, 4 * 16 * kKiB + 512);
    cases.push_back(race_case("UringUnmap_" + number, uring_file, DiscardMode::unmap));
    cases.back().snapshots = false;
    cases.back().ask_qemu = true;
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, Races, testing::ValuesIn(race_cases()),
                         [](const testing::TestParamInfo<ModelOptions>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
