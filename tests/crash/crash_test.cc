// Goal: after a power cut at any moment of any operation the image opens by itself, holds what was
// flushed and every snapshot, and serves on. Method: each scenario runs once on a CrashDisk; then
// the states a cut may leave are examined one by one (model/lab.h has the oracle).
//
// VARVE_CRASH_STATES bounds the states examined per case (0: all of them); which ones are chosen
// follows VARVE_SEED. A failure names the moment and the choice: the same seed finds it again.
#include <cstdio>
#include <map>

#include <gtest/gtest.h>

#include "model/crash_explorer.h"
#include "sim/random.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kStatesPerCase = 48;  // In an ordinary run.

// How many states were examined, by scenario and geometry; printed at the end.
class Summary : public testing::Environment {
 public:
  static void add(const ScenarioCase& parameter, std::uint64_t examined, std::uint64_t possible) {
    rows()[parameter.scenario.name][parameter.geometry.name] = {examined, possible};
  }
  void TearDown() override {
    std::uint64_t examined = 0;
    std::uint64_t possible = 0;
    std::printf("crash states examined of those possible\n");
    for (const auto& [scenario, row] : rows()) {
      std::printf("  %-16s", scenario.c_str());
      for (const auto& [geometry, counts] : row) {
        std::printf("  %s %llu/%llu", geometry.c_str(),
                    static_cast<unsigned long long>(counts.first),
                    static_cast<unsigned long long>(counts.second));
        examined += counts.first;
        possible += counts.second;
      }
      std::printf("\n");
    }
    std::printf("  in all %llu/%llu\n", static_cast<unsigned long long>(examined),
                static_cast<unsigned long long>(possible));
  }

 private:
  using Row = std::map<std::string, std::pair<std::uint64_t, std::uint64_t>>;
  static std::map<std::string, Row>& rows() {
    static std::map<std::string, Row> table;
    return table;
  }
};
[[maybe_unused]] const testing::Environment* const kSummary =
    testing::AddGlobalTestEnvironment(std::make_unique<Summary>().release());

ExplorationLimits limits_for(const ScenarioCase& parameter) {
  ExplorationLimits limits;
  limits.seed = sim::seed_from_environment();
  limits.states_max = sim::environment_number("VARVE_CRASH_STATES", kStatesPerCase);
  limits.excuse_mismatches = parameter.scenario.control && parameter.geometry.create.version < 3;
  limits.may_apply = !parameter.scenario.add_bitmap;
  limits.ask_qemu_each = 24;
  return limits;
}

void expect_good(const ScenarioCase& parameter, const Exploration& exploration) {
  Summary::add(parameter, exploration.examined, exploration.possible);
  EXPECT_FALSE(exploration.wrong) << *exploration.wrong;
}

class Crash : public testing::TestWithParam<ScenarioCase> {};

TEST_P(Crash, LeavesNothingButLeaks) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(sim::seed_from_environment()));
  Lab lab(GetParam().geometry);
  std::string why;
  const auto prepared = prepare(lab, GetParam().scenario, why);
  if (!prepared) {
    ASSERT_EQ(why, "");
    GTEST_SKIP() << "a program needed is missing";
  }
  CrashRun run(lab, GetParam().scenario, *prepared);
  const auto wrong = run.run();
  ASSERT_FALSE(wrong) << *wrong;
  expect_good(GetParam(), run.explore(limits_for(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Crash, testing::ValuesIn(scenario_cases()),
                         [](const testing::TestParamInfo<ScenarioCase>& parameter) {
                           return parameter.param.name();
                         });

class CrashAfterCreate : public testing::TestWithParam<GeometryCase> {};

// What create_image_in returns from is there after any cut.
TEST_P(CrashAfterCreate, FindsTheNewImage) {
  Lab lab(GetParam());
  const sim::SparseBytes nothing;
  sim::CrashDisk disk(nothing);
  {
    sim::CrashStorage storage(lab.engine(), disk);
    const Result<void> created = lab.create(storage);
    ASSERT_TRUE(created) << describe(created.error());
  }
  const Guest guest(
      lab.rules(), lab.initial_version(), [] { return sim::Moment{0}; }, Lab::kFirstStamp);
  ScenarioCase parameter;
  parameter.scenario.name = "Create";
  parameter.geometry = GetParam();
  ExplorationLimits limits = limits_for(parameter);
  limits.from = disk.mark();
  expect_good(parameter, explore_cuts(lab, disk, guest, limits));
}

INSTANTIATE_TEST_SUITE_P(Geometries, CrashAfterCreate, testing::ValuesIn(geometry_cases()),
                         [](const testing::TestParamInfo<GeometryCase>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
