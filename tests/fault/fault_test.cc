// Goal: whatever I/O fails, the answer is a clear error or success, nothing crashes or leaks, the
// image goes on or says that it is poisoned, and afterwards the file is whole. Method: each
// scenario runs once to count its I/O, then again with I/O number i failing, for each kind of
// failure (model/fault_run.h). Interrupted and short transfers belong to lib/io: tests/io.
//
// VARVE_FAULT_RUNS bounds the runs per case (0: every index and kind), VARVE_SCENARIO_SHARE thins
// out the cases; VARVE_SEED chooses the runs.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "model/fault_run.h"
#include "model/missing.h"
#include "sim/random.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kFaultRuns = 32;  // In an ordinary run.

struct Kind {
  const char* name;
  int os_errno;
  sim::FaultEffect effect;
  std::uint64_t torn_bytes;
  bool from_then_on;
};
constexpr Kind kKinds[] = {
    {"EIO once", EIO, sim::FaultEffect::error, 0, false},
    {"ENOSPC once", ENOSPC, sim::FaultEffect::error, 0, false},
    {"torn once", EIO, sim::FaultEffect::torn, 512, false},
    {"EIO from then on", EIO, sim::FaultEffect::error, 0, true},
    {"ENOSPC from then on", ENOSPC, sim::FaultEffect::error, 0, true},
};
constexpr std::uint64_t kKindCount = std::size(kKinds);

sim::FaultRule rule_of(const Kind& kind, std::uint64_t index) {
  sim::FaultRule rule;
  rule.nth = index;
  rule.os_errno = kind.os_errno;
  rule.effect = kind.effect;
  rule.torn_bytes = kind.torn_bytes;
  rule.from_then_on = kind.from_then_on;
  return rule;
}

class Faults : public testing::TestWithParam<ScenarioCase> {};

// History: 184581fa4d, 3ede935fdb, 3b5e14c76a, cloud-hypervisor 8606.
TEST_P(Faults, LeaveAWholeImage) {
  const std::uint64_t seed = sim::seed_from_environment();
  FaultRun run(GetParam());
  std::string why;
  if (!run.prepare(why)) {
    VARVE_NOT_PREPARED(why);
  }
  sim::FaultPlan nothing;
  FaultRun::Counts counts;
  ASSERT_EQ(run.run(nothing, {}, counts).value_or(""), "") << "already without a fault";
  const std::uint64_t requests = counts.requests;

  const std::uint64_t limit = sim::environment_number("VARVE_FAULT_RUNS", kFaultRuns);
  std::uint64_t left = requests * kKindCount;
  std::uint64_t wanted = limit == 0 ? left : std::min(limit, left);
  sim::Random choice(seed);
  for (std::uint64_t index = 0; index < requests; ++index) {
    for (const Kind& kind : kKinds) {
      if (choice.below(left--) >= wanted) {
        continue;
      }
      --wanted;
      sim::FaultPlan plan;
      plan.add(rule_of(kind, index));
      ASSERT_EQ(run.run(plan, {}, counts).value_or(""), "")
          << "VARVE_SEED=" << seed << ", I/O " << index << " of " << requests << ": " << kind.name;
      EXPECT_GT(counts.hits, 0u);
    }
  }
}

// O9: after a failed flush nothing is known of what was written; the image says so until it is
// opened again, and nothing more is written (OrderStorage sees to that).
TEST_P(Faults, OfAFlushPoison) {
  FaultRun run(GetParam());
  std::string why;
  if (!run.prepare(why)) {
    VARVE_NOT_PREPARED(why);
  }
  FaultRun::Counts counts;
  for (std::uint64_t index = 0;; ++index) {
    sim::FaultPlan plan;
    sim::FaultRule rule;
    rule.operation = StorageOperation::flush;
    rule.nth = index;
    plan.add(rule);
    ASSERT_EQ(run.run(plan, {}, counts).value_or(""), "") << "flush " << index;
    if (counts.hits == 0) {
      EXPECT_GT(index, 0u);
      return;
    }
    EXPECT_TRUE(run.was_poisoned()) << "flush " << index;
  }
}

// O12: the mark fails, and is in the file all the same. Whoever asks again finds it there, and must
// not take it for durable (OrderStorage sees to that).
// History: b03dd9613b.
TEST(BitmapFaults, AMarkThatFailedButHappenedIsMadeDurableFirst) {
  for (const ScenarioCase& parameter : scenario_cases()) {
    if (!parameter.scenario.add_bitmap || !parameter.geometry.tiny_caches) {
      continue;
    }
    SCOPED_TRACE(parameter.name());
    FaultRun run(parameter);
    std::string why;
    if (!run.prepare(why)) {
      VARVE_NOT_PREPARED(why);
    }
    for (const IoTag tag : {IoTag::bitmap, IoTag::header}) {
      sim::FaultPlan plan;
      sim::FaultRule rule;
      rule.operation = StorageOperation::write;
      rule.tag = tag;
      rule.effect = sim::FaultEffect::torn;
      rule.torn_bytes = 512;
      plan.add(rule);
      FaultRun::Counts counts;
      EXPECT_EQ(run.run(plan, {}, counts).value_or(""), "") << io_tag_name(tag);
      EXPECT_EQ(counts.hits, 1u) << io_tag_name(tag);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Faults, testing::ValuesIn(part_of_scenario_cases(0)),
                         [](const testing::TestParamInfo<ScenarioCase>& parameter) {
                           return parameter.param.name();
                         });

std::set<std::string> names_of(const std::vector<ScenarioCase>& cases) {
  std::set<std::string> names;
  for (const ScenarioCase& parameter : cases) {
    names.insert("scenario " + parameter.scenario.name);
    names.insert("geometry " + parameter.geometry.name);
  }
  return names;
}

TEST(Parts, HoldEveryScenarioAndGeometryAndTogetherAllCases) {
  for (std::size_t parts = 1; parts <= 4; ++parts) {
    std::set<std::string> seen;
    for (std::size_t turn = 0; turn < parts; ++turn) {
      const std::vector<ScenarioCase> part = part_of_scenario_cases(turn, parts);
      EXPECT_EQ(names_of(part), names_of(scenario_cases())) << turn << " of " << parts;
      for (const ScenarioCase& parameter : part) {
        seen.insert(parameter.name());
      }
    }
    EXPECT_EQ(seen.size(), scenario_cases().size()) << parts;
  }
}

}  // namespace
}  // namespace varve::model
