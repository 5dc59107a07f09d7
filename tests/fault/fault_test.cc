// Goal: whatever I/O fails, the answer is a clear error or success, nothing crashes or leaks, the
// image goes on or says that it is poisoned, and afterwards the file is whole. Method: each
// scenario runs once to count its I/O, then again with I/O number i failing, for each kind of
// failure.
//
// VARVE_FAULT_RUNS bounds the runs per case (0: every index and kind); VARVE_SEED chooses them.
#include <algorithm>

#include <gtest/gtest.h>

#include "base/units.h"
#include "model/scenarios.h"
#include "sim/faulty_storage.h"
#include "sim/random.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kRunsPerCase = 48;  // In an ordinary run.

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

class Faults : public testing::TestWithParam<ScenarioCase> {
 protected:
  Faults() : lab_(GetParam().geometry) {}

  static sim::FaultRule rule_of(const Kind& kind, std::uint64_t index) {
    sim::FaultRule rule;
    rule.nth = index;
    rule.os_errno = kind.os_errno;
    rule.effect = kind.effect;
    rule.torn_bytes = kind.torn_bytes;
    rule.from_then_on = kind.from_then_on;
    return rule;
  }

  // The scenario under `plan`. The number of requests the storage saw.
  std::uint64_t run(sim::FaultPlan& plan) {
    const Prepared& prepared = *prepared_;
    sim::SimDisk disk;
    disk.content = sim::SparseBytes(&prepared.file);
    sim::Moment clock = 0;
    Guest guest(
        lab_.rules(), prepared.version, [&clock] { return ++clock; }, prepared.next_stamp);
    auto image = lab_.open(std::make_unique<sim::FaultyStorage>(
                               std::make_unique<sim::SimStorage>(lab_.engine(), disk), plan),
                           lab_.open_options(true, GetParam().scenario.discard));
    if (image) {
      Session session(**image, guest, GetParam().geometry);
      GetParam().scenario.act(session);
      if (session.failure()) {
        expect_clear(*session.failure());
      }
      EXPECT_EQ(guest.violation(), "");
      plan.lift();
      use_again(**image, guest);
      if (const Result<void> closed = guest.close(**image); !closed) {
        expect_clear(closed.error());
      }
      image->reset();
    } else {
      expect_clear(image.error());
    }
    Examination examination;
    examination.excuse_mismatches =
        GetParam().scenario.control && GetParam().geometry.create.version < 3;
    examination.may_apply = !GetParam().scenario.add_bitmap;
    examination.ask_qemu = plan.hits() > 0 && plan.seen() % 16 == 0;
    const auto verdict = examine(lab_, guest, disk.content, ++clock, examination);
    EXPECT_FALSE(verdict) << *verdict;
    return plan.seen();
  }

  static void expect_clear(const Error& error) {
    EXPECT_STRNE(error.what, "");
    const bool by_name = error.code == ErrorCode::io || error.code == ErrorCode::no_space ||
                         error.code == ErrorCode::poisoned || error.code == ErrorCode::corrupt ||
                         error.code == ErrorCode::busy;
    EXPECT_TRUE(by_name) << describe(error);
    EXPECT_NE(error.code, ErrorCode::corrupt) << describe(error);
  }

  // With the fault gone the image works, or refuses by name.
  static void use_again(Image& image, Guest& guest) {
    const Result<void> written = guest.write(image, 0, kSectorBytes);
    const Result<void> flushed = guest.flush(image);
    for (const Result<void>* result : {&written, &flushed}) {
      if (!*result) {
        EXPECT_EQ(result->error().code, ErrorCode::poisoned) << describe(result->error());
      }
    }
    std::vector<std::byte> bytes(kSectorBytes);
    const Result<void> read = image.read(0, bytes);
    EXPECT_TRUE(read) << describe(read.error());
  }

  Lab lab_;
  std::optional<Prepared> prepared_;
};

TEST_P(Faults, LeaveAWholeImage) {
  const std::uint64_t seed = sim::seed_from_environment();
  std::string why;
  prepared_ = prepare(lab_, GetParam().scenario, why);
  if (!prepared_) {
    ASSERT_EQ(why, "");
    GTEST_SKIP() << "a program needed is missing";
  }
  sim::FaultPlan nothing;
  const std::uint64_t requests = run(nothing);
  ASSERT_FALSE(HasFailure()) << "already without a fault";

  const std::uint64_t limit = sim::environment_number("VARVE_FAULT_RUNS", kRunsPerCase);
  std::uint64_t left = requests * kKindCount;
  std::uint64_t wanted = limit == 0 ? left : std::min(limit, left);
  sim::Random choice(seed);
  for (std::uint64_t index = 0; index < requests; ++index) {
    for (const Kind& kind : kKinds) {
      if (choice.below(left--) >= wanted) {
        continue;
      }
      --wanted;
      SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed) + ", I/O " + std::to_string(index) +
                   " of " + std::to_string(requests) + ": " + kind.name);
      sim::FaultPlan plan;
      plan.add(rule_of(kind, index));
      run(plan);
      if (HasFailure()) {
        return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Faults, testing::ValuesIn(scenario_cases()),
                         [](const testing::TestParamInfo<ScenarioCase>& parameter) {
                           return parameter.param.name();
                         });

}  // namespace
}  // namespace varve::model
