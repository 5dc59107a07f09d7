// Goal: no allocation that fails brings down the host program, the image or its file: the answer is
// `no_memory`, and the image goes on. Method: operator new and aligned_alloc are replaced here;
// each scenario runs once to count the library's allocations, then again with number i failing,
// once and from then on (model/fault_run.h).
//
// VARVE_ALLOCATION_RUNS bounds the runs per case (0: all), VARVE_SCENARIO_SHARE thins out the
// cases; VARVE_SEED chooses the runs.
#include <algorithm>
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "model/fault_run.h"
#include "model/missing.h"
#include "sim/random.h"

// The linker sends the library's aligned_alloc here (tests/CMakeLists.txt).
extern "C" {
void* __real_aligned_alloc(std::size_t alignment, std::size_t size);   // NOLINT
void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {  // NOLINT
  return varve::sim::AllocationFaults::must_fail() ? nullptr
                                                   : __real_aligned_alloc(alignment, size);
}
}

// GCC takes a pair of which it inlines only one for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (varve::sim::AllocationFaults::must_fail()) {
    throw std::bad_alloc();
  }
  if (void* memory = std::malloc(size == 0 ? 1 : size); memory != nullptr) {
    return memory;
  }
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return varve::sim::AllocationFaults::must_fail() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {  // tidy: allow raw-new: its own
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory,  // tidy: allow raw-new: its own
                                       std::size_t) noexcept {
  std::free(memory);
}

namespace varve::model {
namespace {

constexpr std::uint64_t kAllocationRuns = 24;  // In an ordinary run.

class AllocationFailures : public testing::TestWithParam<ScenarioCase> {};

// History: 3ede935fdb.
TEST_P(AllocationFailures, LeaveAWholeImage) {
  const std::uint64_t seed = sim::seed_from_environment();
  FaultRun run(GetParam());
  std::string why;
  if (!run.prepare(why)) {
    VARVE_NOT_PREPARED(why);
  }
  sim::FaultPlan plan;
  FaultRun::Counts counts;
  ASSERT_EQ(run.run(plan, {}, counts).value_or(""), "") << "already without a fault";
  const std::uint64_t allocations = counts.allocations;
  ASSERT_GT(allocations, 10u) << "nothing was counted";

  const std::uint64_t limit = sim::environment_number("VARVE_ALLOCATION_RUNS", kAllocationRuns);
  std::uint64_t left = 2 * allocations;
  std::uint64_t wanted = limit == 0 ? left : std::min(limit, left);
  sim::Random choice(seed);
  for (std::uint64_t index = 0; index < allocations; ++index) {
    for (const bool from_then_on : {false, true}) {
      if (choice.below(left--) >= wanted) {
        continue;
      }
      --wanted;
      ASSERT_EQ(run.run(plan, {index, from_then_on}, counts).value_or(""), "")
          << "VARVE_SEED=" << seed << ", allocation " << index << " of " << allocations
          << (from_then_on ? " and all later ones" : "");
      EXPECT_GT(counts.hits, 0u);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Scenarios, AllocationFailures,
                         testing::ValuesIn(part_of_scenario_cases(1)),
                         [](const testing::TestParamInfo<ScenarioCase>& parameter) {
                           return parameter.param.name();
                         });

}  // namespace
}  // namespace varve::model
