// Goal: whatever a guest does in a row, a power cut at any moment of it costs nothing that was
// flushed and no snapshot, and the image serves on. Method: every sequence of up to three
// operations of an alphabet (model/alphabet.h) runs once per geometry on a CrashDisk; what a cut
// may leave while its last operation runs, and at the end, is judged state by state
// (model/crash_explorer.h). What a cut leaves earlier belongs to the shorter sequence.
//
// VARVE_CRASH_STATES different states are looked for, more of them where they are cheap. Sequences
// come in rounds with one for each operation, the shorter ones first; VARVE_SEED orders them and
// chooses where not every choice is shown. VARVE_CRASH_ONE_IN: of new arrangements of metadata one
// in so many goes to the library. VARVE_CRASH_NESTED: of sequences of two and three one in so many
// has a second cut, as single operations all have. VARVE_CRASH_SECONDS: in place of a number of
// states, so much CPU.
#include <algorithm>
#include <cstdio>
#include <ctime>

#include <gtest/gtest.h>
#include <malloc.h>

#include "base/mutation.h"
#include "crash/coverage.h"
#include "model/alphabet.h"
#include "model/crash_explorer.h"
#include "sim/random.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kStatesWanted = 100'000;
constexpr std::size_t kLengthMax = 3;
constexpr std::size_t kExhaustive = 12;
constexpr std::uint64_t kLibraryOneIn = 50;
constexpr std::uint64_t kBriefOneIn = 5;
constexpr std::uint64_t kNestedSequences = 20;
constexpr std::uint64_t kNestedOneIn = 5;
constexpr std::uint64_t kStatesPerQemu = 10'000;
constexpr std::uint64_t kLeaksOfKilled = 64;  // Of a process that was killed nobody gives back.

double cpu_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

// Of all geometries; printed at the end.
class Table : public testing::Environment {
 public:
  static Coverage& coverage() {
    static Coverage all;
    return all;
  }
  static double& seconds() {
    static double value = 0;
    return value;
  }
  void TearDown() override {
    if (!coverage().is_empty()) {
      coverage().print(seconds());
    }
  }
};
[[maybe_unused]] const testing::Environment* const kTable =
    testing::AddGlobalTestEnvironment(std::make_unique<Table>().release());

class CrashSequences : public testing::TestWithParam<GeometryCase> {
 protected:
  void SetUp() override {
    // A run allocates and frees a megabyte and more: the memory need not go back each time.
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    Scenario scenario;
    scenario.prepare = &prepare_for_sequences;
    std::string why;
    prepared_ = prepare(lab_, scenario, why);
    ASSERT_TRUE(prepared_) << why;
  }

  // One sequence, of which the last letter's moments are explored.
  void explore(const Sequence& sequence, std::uint64_t seed) {
    const Scenario scenario = scenario_of(sequence, GetParam());
    CrashRun run(lab_, scenario, *prepared_);
    const auto wrong = run.run(nullptr, sequence.size() < kLengthMax);
    ASSERT_FALSE(wrong) << scenario.name << ": " << *wrong;
    if (kHasMutations && !run.order_violation().empty()) {
      // The watch has found it without a cut: the states shall find it too.
      std::printf("order: %s: %s\n", scenario.name.c_str(), run.order_violation().c_str());
    } else {
      ASSERT_EQ(run.order_violation(), "") << scenario.name;
    }
    const std::vector<sim::Moment> promised = run.guest().promised_moments();
    ExplorationLimits limits;
    limits.cuts.seed = seed;
    limits.cuts.from = run.steps().back();
    limits.cuts.promised = &promised;
    limits.cuts.exhaustive_max = kExhaustive;
    limits.cuts.random_subsets = 1;
    limits.cuts.random_tears = 1;
    limits.cuts.pairs_max = 8;
    limits.excuse_mismatches = scenario.control;
    limits.leaks_before = run.was_killed() ? kLeaksOfKilled : 0;
    // In a brief run the dear part is shared out: a seed takes others than the one before.
    const bool is_alone = sequence.size() == 1;
    const bool is_turn = !is_brief_ || (sequence.back() + seed) % kBriefOneIn == 0;
    const bool is_nested = is_alone ? is_turn : is_nested_turn();
    limits.library_one_in = !is_alone ? (is_nested ? kNestedOneIn : one_in_)
                            : is_turn ? 1
                                      : kBriefOneIn;
    const bool qemu_is_due = (qemu_ + 1) * kStatesPerQemu <= explorer_.states() + kStatesPerQemu;
    limits.qemu_max = qemu_is_due ? 1 : 0;
    limits.settle_again = limits.go_on_again = is_nested ? 1 : 0;
    const Exploration exploration = explorer_.explore(run.disk(), run.guest(), limits);
    qemu_ += exploration.qemu;
    const auto empty = Table::coverage().add(sequence.back(), GetParam().name, run, exploration);
    ASSERT_FALSE(exploration.wrong) << scenario.name << ": " << *exploration.wrong;
    ASSERT_FALSE(empty) << scenario.name << ": an empty cell: " << *empty;
  }

  // Whether the next sequence of several operations is also followed by a second cut.
  bool is_nested_turn() {
    return longer_++ % sim::environment_number("VARVE_CRASH_NESTED", kNestedSequences) == 0;
  }

  Lab lab_{GetParam()};
  CrashExplorer explorer_{lab_};
  std::optional<Prepared> prepared_;
  std::uint64_t one_in_ = sim::environment_number("VARVE_CRASH_ONE_IN", kLibraryOneIn);
  // Fewer states wanted than single operations have.
  bool is_brief_ =
      sim::environment_number("VARVE_CRASH_STATES", kStatesWanted) < kStatesWanted / 10 &&
      sim::environment_number("VARVE_CRASH_SECONDS", 0) == 0;
  std::uint64_t qemu_ = 0;
  std::uint64_t longer_ = 0;  // Sequences of several operations.
};

// How much of the whole a geometry gets: large clusters are dear, and without snapshots there are
// few sequences.
std::uint64_t share_of(const GeometryCase& geometry) {
  constexpr std::uint64_t kSmall = 4096;
  constexpr std::uint64_t kMiddle = 16384;
  if (!geometry.can_snapshot()) {
    return 1;
  }
  return geometry.cluster_bytes() <= kSmall ? 8 : geometry.cluster_bytes() <= kMiddle ? 4 : 2;
}

// History: e976c6a1e4, 16fde5f2c2, 43a0cac465, 4c2e5f8f46, snapshot -a, 048c5fd1bf.
TEST_P(CrashSequences, LeaveNothingButLeaks) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  std::uint64_t shares = 0;
  for (const GeometryCase& geometry : geometry_cases()) {
    shares += share_of(geometry);
  }
  const auto seconds = static_cast<double>(sim::environment_number("VARVE_CRASH_SECONDS", 0)) *
                       static_cast<double>(share_of(GetParam())) / static_cast<double>(shares);
  const std::uint64_t wanted =
      sim::environment_number("VARVE_CRASH_STATES", kStatesWanted) * share_of(GetParam()) / shares;
  const SequenceOrder order(GetParam(), seed);
  const double began = cpu_seconds();
  const auto is_enough = [&] {
    return seconds > 0 ? cpu_seconds() - began >= seconds : explorer_.states() >= wanted;
  };
  // With time left all begins anew, with other choices.
  for (std::size_t turn = 0; !HasFailure() && (turn == 0 || !is_enough()); ++turn) {
    if (turn >= order.rounds() && seconds == 0) {
      break;
    }
    for (const std::size_t letter : order.letters()) {
      explore(order.sequence(turn % order.rounds(), letter), seed + turn);
      if (HasFailure() || (turn > 0 && is_enough())) {
        break;
      }
    }
  }
  Table::seconds() += cpu_seconds() - began;
  const auto missing = Table::coverage().missing(order.letters(), GetParam().name);
  EXPECT_TRUE(HasFailure() || !missing) << "an empty cell: " << *missing;
}

INSTANTIATE_TEST_SUITE_P(Geometries, CrashSequences, testing::ValuesIn(geometry_cases()),
                         [](const testing::TestParamInfo<GeometryCase>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
