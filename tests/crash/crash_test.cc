// Goal: after a power cut at any moment the image opens by itself, holds what was flushed and every
// snapshot, and serves on: what goes beyond three operations of sequences_test.cc, or wants an
// image of its own. Method: each scenario runs once on a CrashDisk; then the states a cut may leave
// are examined one by one (model/crash_explorer.h).
//
// Every moment is visited and every subset of few changes is tried. VARVE_CRASH_RANDOM adds that
// many random choices per moment and change, following VARVE_SEED; VARVE_CRASH_LIBRARY bounds the
// states per case that go to the library too (0: every new arrangement of metadata), which costs a
// hundred times what the reference costs. Of live scenarios most geometries get a share, with
// VARVE_CRASH_SHARE states for the library; VARVE_LONG makes them whole. VARVE_SCENARIO_SHARE thins
// out the cases. A failure names the moment and the choice: the same seed finds it again.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <map>

#include <gtest/gtest.h>

#include "model/crash_explorer.h"
#include "model/missing.h"
#include "sim/random.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kLibraryPerCase = 12;  // In an ordinary run ...
constexpr std::uint64_t kLibraryPerShare = 4;  // ... and where a share of a case is explored.

// How many states were examined, by scenario and geometry; printed at the end.
class Summary : public testing::Environment {
 public:
  static void add(const ScenarioCase& parameter, const Exploration& exploration) {
    rows()[parameter.scenario.name][parameter.geometry.name] = exploration;
  }
  void SetUp() override { start_ = std::chrono::steady_clock::now(); }
  void TearDown() override {
    if (rows().empty()) {
      return;
    }
    Exploration all;
    std::printf("crash states judged, by operation and geometry\n");
    for (const auto& [scenario, row] : rows()) {
      std::printf("  %-16s", scenario.c_str());
      for (const auto& [geometry, cell] : row) {
        std::printf("  %s %llu", geometry.c_str(), number(cell.distinct));
        all.add(cell);
      }
      std::printf("\n");
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
    std::printf(
        "  in all %llu distinct states of %llu choices after %llu changes, %llu of them after a "
        "second cut;\n  %llu shown to the library, %llu to qemu-img; %.0f states per second; at "
        "most %llu clusters leaked\n",
        number(all.distinct), number(all.visited), number(all.events), number(all.second),
        number(all.library), number(all.qemu), static_cast<double>(all.distinct) / seconds.count(),
        number(all.leaks));
  }

 private:
  using Row = std::map<std::string, Exploration>;
  static unsigned long long number(std::uint64_t value) { return value; }
  static std::map<std::string, Row>& rows() {
    static std::map<std::string, Row> table;
    return table;
  }
  std::chrono::steady_clock::time_point start_;
};
[[maybe_unused]] const testing::Environment* const kSummary =
    testing::AddGlobalTestEnvironment(std::make_unique<Summary>().release());

ExplorationLimits limits_for(const ScenarioCase& parameter) {
  ExplorationLimits limits;
  limits.cuts.seed = sim::seed_from_environment();
  const auto more = static_cast<unsigned>(sim::environment_number("VARVE_CRASH_RANDOM", 0));
  limits.cuts.random_subsets += more;
  limits.cuts.random_tears += more;
  limits.cuts.pairs_max += more;
  limits.excuse_mismatches = parameter.scenario.control && parameter.geometry.create.version < 3;
  limits.may_apply = !parameter.scenario.add_bitmap;
  limits.library_max = sim::environment_number("VARVE_CRASH_LIBRARY", kLibraryPerCase);
  limits.qemu_max = 1;
  const auto& is_whole = parameter.scenario.is_whole;
  if (!is_whole || is_whole(parameter.geometry) || sim::environment_number("VARVE_LONG", 0) != 0) {
    return limits;
  }
  const std::uint64_t seed = limits.cuts.seed;
  limits.cuts = ExplorationLimits::quick_cuts();
  limits.cuts.seed = seed;
  limits.library_max = sim::environment_number("VARVE_CRASH_SHARE", kLibraryPerShare);
  limits.settle_again = 1;
  limits.go_on_again = 0;
  return limits;
}

void expect_good(const ScenarioCase& parameter, const Exploration& exploration) {
  Summary::add(parameter, exploration);
  EXPECT_FALSE(exploration.wrong) << *exploration.wrong;
  EXPECT_GT(exploration.distinct, 0u) << "an empty cell";
}

// What sequences_test.cc does not do, or not in one go.
std::vector<ScenarioCase> uncovered(std::vector<ScenarioCase> cases) {
  static const std::array<std::string, 8> kNames = {"GrowL1",     "SnapshotCycle", "LiveCreate",
                                                    "LiveCancel", "LiveApply",     "LiveDelete",
                                                    "OpenDirty",  "BitmapInUse"};
  std::erase_if(cases, [](const ScenarioCase& one) {
    return std::find(kNames.begin(), kNames.end(), one.scenario.name) == kNames.end();
  });
  return cases;
}

class Crash : public testing::TestWithParam<ScenarioCase> {};

// History: 43a0cac465.
TEST_P(Crash, LeavesNothingButLeaks) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(sim::seed_from_environment()));
  Lab lab(GetParam().geometry);
  std::string why;
  const auto prepared = prepare(lab, GetParam().scenario, why);
  if (!prepared) {
    VARVE_NOT_PREPARED(why);
  }
  CrashRun run(lab, GetParam().scenario, *prepared);
  const auto wrong = run.run();
  ASSERT_FALSE(wrong) << *wrong;
  EXPECT_EQ(run.order_violation(), "");
  const Exploration exploration = run.explore(limits_for(GetParam()));
  expect_good(GetParam(), exploration);
  EXPECT_EQ(exploration.events, run.disk().events().size());
  EXPECT_GT(exploration.distinct, exploration.events);
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Crash, testing::ValuesIn(uncovered(part_of_scenario_cases(2))),
                         [](const testing::TestParamInfo<ScenarioCase>& parameter) {
                           return parameter.param.name();
                         });

INSTANTIATE_TEST_SUITE_P(Shares, Crash, testing::ValuesIn(part_of_share_cases(2)),
                         [](const testing::TestParamInfo<ScenarioCase>& parameter) {
                           return parameter.param.name();
                         });

class CrashAfterCreate : public testing::TestWithParam<GeometryCase> {};

// What create_image_in returns from is there after any cut.
// History: ba2ab2f2ca.
TEST_P(CrashAfterCreate, FindsTheNewImage) {
  Lab lab(GetParam());
  const sim::SparseBytes nothing;
  sim::CrashDisk disk(nothing);
  {
    sim::CrashStorage storage(lab.engine(), disk);
    sim::CrashStorage data(lab.engine(), disk, 1);
    const Result<void> created = lab.create(storage, &data);
    ASSERT_TRUE(created) << describe(created.error());
  }
  const Guest guest(
      lab.rules(), lab.initial_version(), [] { return sim::Moment{0}; }, Lab::kFirstStamp);
  ScenarioCase parameter;
  parameter.scenario.name = "Create";
  parameter.geometry = GetParam();
  ExplorationLimits limits = limits_for(parameter);
  limits.cuts.from = disk.mark();
  expect_good(parameter, CrashExplorer(lab).explore(disk, guest, limits));
}

INSTANTIATE_TEST_SUITE_P(Geometries, CrashAfterCreate, testing::ValuesIn(geometry_cases()),
                         [](const testing::TestParamInfo<GeometryCase>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
