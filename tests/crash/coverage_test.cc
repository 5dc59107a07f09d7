// Goal: that nothing was left out is not just said: every operation of the alphabet comes before
// any comes again, and an operation or an event without a state is found out. Method: the order of
// the sequences as it is, and explorations cut short on purpose.
#include "crash/coverage.h"

#include <set>

#include <gtest/gtest.h>

namespace varve::model {
namespace {

TEST(SequenceOrder, HasEveryOperationBeforeAnyComesAgain) {
  for (const GeometryCase& geometry : geometry_cases()) {
    SCOPED_TRACE(geometry.name);
    const SequenceOrder order(geometry, 7);
    const std::size_t letters = order.letters().size();
    EXPECT_EQ(order.rounds(), 1 + letters + letters * letters);
    EXPECT_EQ(std::set<std::size_t>(order.letters().begin(), order.letters().end()).size(),
              letters);
    std::set<Sequence> seen;
    std::size_t length = 1;
    for (std::size_t round = 0; round < order.rounds(); ++round) {
      for (const std::size_t letter : order.letters()) {
        const Sequence sequence = order.sequence(round, letter);
        ASSERT_EQ(sequence.back(), letter);
        ASSERT_GE(sequence.size(), length) << "a shorter one comes late";
        length = sequence.size();
        ASSERT_TRUE(seen.insert(sequence).second) << "twice: " << name_of(sequence);
      }
    }
    EXPECT_EQ(length, 3u);
  }
}

class CoverageCanary : public testing::Test {
 protected:
  void SetUp() override {
    Scenario scenario;
    scenario.prepare = &prepare_for_sequences;
    std::string why;
    prepared_ = prepare(lab_, scenario, why);
    ASSERT_TRUE(prepared_) << why;
  }
  // Explores the first operation from `from` on, or from where it begins.
  std::optional<std::string> explore(std::optional<sim::Moment> from) {
    const Scenario scenario = scenario_of({0}, lab_.geometry());
    CrashRun run(lab_, scenario, *prepared_);
    const auto wrong = run.run();
    EXPECT_FALSE(wrong) << *wrong;
    ExplorationLimits limits;
    limits.cuts.from = from.value_or(run.steps().back());
    limits.library_max = 1;
    return coverage_.add(0, lab_.geometry().name, run, run.explore(limits));
  }

  Lab lab_{make_geometry("C4k", 4096, 64 * 1024)};
  std::optional<Prepared> prepared_;
  Coverage coverage_;
};

TEST_F(CoverageCanary, AnEventWithoutAStateIsFoundOut) {
  EXPECT_EQ(explore(std::nullopt).value_or(""), "");
  EXPECT_EQ(explore(~sim::Moment{0}).value_or(""), "WriteCluster on C4k, event 0");
}

TEST_F(CoverageCanary, AnOperationThatWasNeverExploredIsFoundOut) {
  EXPECT_EQ(coverage_.missing({0}, "C4k").value_or(""), "WriteCluster on C4k");
  EXPECT_EQ(explore(std::nullopt).value_or(""), "");
  EXPECT_EQ(coverage_.missing({0}, "C4k").value_or(""), "");
  EXPECT_EQ(coverage_.missing({0, 1}, "C4k").value_or(""), "WritePart on C4k");
  EXPECT_EQ(coverage_.missing({0}, "C64k").value_or(""), "WriteCluster on C64k");
}

}  // namespace
}  // namespace varve::model
