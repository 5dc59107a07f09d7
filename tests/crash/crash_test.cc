// Goal: after a power cut at any moment of any operation the image opens by itself, holds what was
// flushed and every snapshot, and serves on. Method: each scenario runs once on a CrashDisk; then
// the states a cut may leave are examined one by one (model/lab.h has the oracle).
//
// VARVE_CRASH_STATES bounds the states examined per case (0: all of them); which ones are chosen
// follows VARVE_SEED. A failure names the moment and the choice: the same seed finds it again.
#include <algorithm>
#include <cstdio>
#include <map>

#include <gtest/gtest.h>

#include "model/scenarios.h"
#include "sim/crash_disk.h"
#include "sim/crash_states.h"
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

// One run of something on a CrashDisk, and the examination of what cuts may leave of it.
class Cuts {
 public:
  Cuts(Lab& lab, const ScenarioCase& parameter) : lab_(lab), parameter_(parameter) {}

  void examine_all(const sim::CrashDisk& disk, const Guest& guest, sim::Moment from) {
    const std::uint64_t limit = sim::environment_number("VARVE_CRASH_STATES", kStatesPerCase);
    sim::CrashOptions options;
    options.seed = sim::seed_from_environment();
    std::uint64_t possible = 0;
    sim::for_each_crash_state(disk, options, [&](const auto& state, const auto&) {
      possible += state.moment >= from ? 1 : 0;
      return true;
    });
    sim::Random choice(options.seed ^ 0x637261736cu);
    std::uint64_t left = possible;
    std::uint64_t wanted = limit == 0 ? possible : std::min(limit, possible);
    std::uint64_t examined = 0;
    sim::for_each_crash_state(disk, options, [&](const auto& state, const auto& content) {
      if (state.moment < from || choice.below(left--) >= wanted) {
        return true;
      }
      --wanted;
      examine_one(guest, state, content, ++examined);
      return !testing::Test::HasFailure();
    });
    Summary::add(parameter_, examined, possible);
    if (testing::Test::HasFailure()) {
      for (const sim::CrashEvent& event : disk.events()) {
        std::printf("  %zu: %s\n", static_cast<std::size_t>(&event - disk.events().data()),
                    event.text().c_str());
      }
    }
  }

 private:
  void examine_one(const Guest& guest, const sim::CrashState& state,
                   const sim::SparseBytes& content, std::uint64_t number) {
    Examination examination;
    examination.excuse_mismatches =
        parameter_.scenario.control && parameter_.geometry.create.version < 3;
    examination.ask_qemu = number % 24 == 1;
    const auto verdict = examine(lab_, guest, content, state.moment, examination);
    EXPECT_FALSE(verdict) << state.description << ": " << *verdict;
  }

  Lab& lab_;
  const ScenarioCase& parameter_;
};

class Crash : public testing::TestWithParam<ScenarioCase> {};

TEST_P(Crash, LeavesNothingButLeaks) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(sim::seed_from_environment()));
  const ScenarioCase& parameter = GetParam();
  Lab lab(parameter.geometry);
  std::string why;
  const auto prepared = prepare(lab, parameter.scenario, why);
  if (!prepared) {
    ASSERT_EQ(why, "");
    GTEST_SKIP() << "a program needed is missing";
  }
  sim::CrashDisk disk(prepared->file);
  Guest guest(
      lab.rules(), prepared->version, [&disk] { return disk.mark(); }, prepared->next_stamp);
  {
    auto image = lab.open(std::make_unique<sim::CrashStorage>(lab.engine(), disk),
                          lab.open_options(true, parameter.scenario.discard));
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    Session session(**image, guest, parameter.geometry);
    parameter.scenario.act(session);
    ASSERT_FALSE(session.failure()) << describe(*session.failure());
    const auto verdict = guest.judge_now(view_of(**image));
    ASSERT_FALSE(verdict) << *verdict;
    const Result<void> closed = guest.close(**image);
    ASSERT_TRUE(closed) << describe(closed.error());
  }
  Cuts(lab, parameter).examine_all(disk, guest, 0);
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
  const sim::Moment created = disk.mark();
  const Guest guest(
      lab.rules(), lab.initial_version(), [] { return sim::Moment{0}; }, Lab::kFirstStamp);
  ScenarioCase parameter;
  parameter.scenario.name = "Create";
  parameter.geometry = GetParam();
  Cuts(lab, parameter).examine_all(disk, guest, created);
}

INSTANTIATE_TEST_SUITE_P(Geometries, CrashAfterCreate, testing::ValuesIn(geometry_cases()),
                         [](const testing::TestParamInfo<GeometryCase>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
