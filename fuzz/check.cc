// Checking damaged images: the answer does not depend on how often it is asked or how much memory
// there is, a budget is kept and named, nothing is written, and what is called whole the reference
// calls whole as well.
#include <varve/check.h>

#include "judge.h"
#include "player.h"

namespace varve::fuzz {
namespace {

Result<CheckReport> run(World& world, const OpenOptions& options, const CheckOptions& how) {
  auto image = world.open(options);
  if (!image) {
    return image.error();
  }
  Result<CheckReport> report = check(**image, how);
  must_succeed("closing", (*image)->close());
  return report;
}

std::string numbers_of(const CheckReport& report) {
  std::string text;
  for (const std::uint64_t number :
       {report.leaks, report.corruptions, report.failures, report.total_clusters,
        report.allocated_clusters, report.compressed_clusters, report.image_end_offset}) {
    text += std::to_string(number) + " ";
  }
  return text;
}

void expect_same(const Result<CheckReport>& other, const CheckReport& report, const char* what) {
  must(other.has_value(),
       what + std::string(" fails: ") + (other ? std::string() : describe(other.error())));
  must(numbers_of(*other) == numbers_of(report),
       what + std::string(" differs: ") + numbers_of(*other) + "instead of " + numbers_of(report));
}

// A smaller budget changes the answer only to its own name.
void check_on_budgets(World& world, const CheckReport& report) {
  OpenOptions options = world.options(false);
  options.allow_corrupt = true;
  for (std::uint64_t Budget::*which :
       {&Budget::memory_bytes, &Budget::read_bytes, &Budget::steps}) {
    Budget budget;
    budget.*which = std::uint64_t{1000} << (2 * (world.recipe().budget_number % 12));
    options.budget = budget;
    const Result<CheckReport> limited = run(world, options, {});
    if (limited || limited.error().code != ErrorCode::over_budget) {
      expect_same(limited, report, "a check on a budget");
    } else {
      expect_named(limited.error());
    }
  }
}

}  // namespace
}  // namespace varve::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  using namespace varve::fuzz;
  World world(read_recipe(data, size));
  if (!make_image(world)) {
    return 0;
  }
  OpenOptions options = world.options(false);
  options.allow_corrupt = true;
  OpenOptions untrusted = options;
  untrusted.untrusted = true;
  MemoryPeak::begin();
  static_cast<void>(is_good(run(world, untrusted, {})));
  must(MemoryPeak::bytes() <= kUntrustedMemoryMax, "checking costs too much memory");
  MemoryPeak::begin();
  const Result<CheckReport> report = run(world, options, {});
  must(MemoryPeak::bytes() <= kTrustedMemoryMax, "checking costs too much memory");
  if (!is_good(report)) {
    return 0;
  }
  must(report->findings.size() <= CheckOptions().findings_max, "more findings than asked for");
  CheckOptions frugal;
  frugal.memory_bytes = 1;
  frugal.findings_max = 1;
  expect_same(run(world, options, frugal), *report, "a check with little memory");
  check_on_budgets(world, *report);
  // Without allow_corrupt opening may refuse, and counts snapshots that repairing would give up.
  options.allow_corrupt = false;
  if (const auto strict = run(world, options, {}); is_good(strict)) {
    const bool is_whole = report->corruptions + report->failures == 0;
    must((strict->corruptions + strict->failures == 0) == is_whole,
         "whole or not, depending on how it is opened");
    // Others the reference takes its time with. Counts of clusters the file does not have are leaks
    // to it alone.
    if (is_whole && can_be_judged(world)) {
      must(expect_whole(world, "called whole, and ") >= report->leaks,
           "the reference misses leaks");
    }
  }
  return 0;
}
