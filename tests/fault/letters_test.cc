// Goal: every fault point of every operation of the explorer's alphabet has been hit, with every
// kind of failure, and nothing of it is left to chance or unsaid. Method: each operation runs on a
// prepared image once to count its I/O, allocations and system calls, then again for each of them
// with that one failing (model/fault_run.h): once and from then on. Afterwards: a clear error, or
// none where nothing may show (interrupted, put off and short transfers); a whole image; nothing
// held, no descriptor open; further use works or is refused by name. What was hit is printed, and
// an operation without a hit of some kind fails.
//
// Every request and every flush is hit by one kind at least. VARVE_LETTER_RUNS bounds the runs per
// operation, geometry and kind for the rest (0, as in a long run: every point with every kind);
// VARVE_SCENARIO_SHARE deals out the geometries; VARVE_SEED chooses. Memory that is lost the leak
// sanitizer tells.
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <map>

#include <gtest/gtest.h>

#include "base/units.h"
#include "fault/call_plan.h"
#include "model/alphabet.h"
#include "model/fault_run.h"
#include "sim/random.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kLetterRuns = 1;  // Of each kind, in an ordinary run.

enum class Point : std::uint8_t { request, flush, allocation, call };

struct FaultKind {
  const char* name;
  Point point;
  int os_errno = 0;
  sim::FaultEffect effect = sim::FaultEffect::error;
  Trouble trouble = Trouble::none;
  bool from_then_on = false;  // Of calls: every other time.
};
constexpr std::array kFaultKinds = {
    FaultKind{"EIO", Point::request, EIO},
    FaultKind{"EIO on", Point::request, EIO, sim::FaultEffect::error, Trouble::none, true},
    FaultKind{"ENOSPC", Point::request, ENOSPC},
    FaultKind{"ENOSPC on", Point::request, ENOSPC, sim::FaultEffect::error, Trouble::none, true},
    FaultKind{"torn", Point::request, EIO, sim::FaultEffect::torn},
    FaultKind{"torn on", Point::request, EIO, sim::FaultEffect::torn, Trouble::none, true},
    FaultKind{"fsync", Point::flush, EIO},
    FaultKind{"fsync on", Point::flush, EIO, sim::FaultEffect::error, Trouble::none, true},
    FaultKind{"memory", Point::allocation},
    FaultKind{"memory on", Point::allocation, 0, sim::FaultEffect::error, Trouble::none, true},
    FaultKind{"EINTR", Point::call, EINTR, sim::FaultEffect::error, Trouble::interrupted},
    FaultKind{"EINTR on", Point::call, EINTR, sim::FaultEffect::error, Trouble::interrupted, true},
    FaultKind{"EAGAIN", Point::call, EAGAIN, sim::FaultEffect::error, Trouble::put_off},
    FaultKind{"EAGAIN on", Point::call, EAGAIN, sim::FaultEffect::error, Trouble::put_off, true},
    FaultKind{"short", Point::call, 0, sim::FaultEffect::error, Trouble::part},
    FaultKind{"short on", Point::call, 0, sim::FaultEffect::error, Trouble::part, true},
    FaultKind{"call EIO", Point::call, EIO, sim::FaultEffect::error, Trouble::broken},
    FaultKind{"call ENOSPC", Point::call, ENOSPC, sim::FaultEffect::error, Trouble::full},
};

struct Row {
  std::map<Point, std::uint64_t> points;
  std::array<std::uint64_t, kFaultKinds.size()> hits{};
};

// By operation and geometry; printed at the end.
class Hits : public testing::Environment {
 public:
  static std::map<std::string, Row>& rows() {
    static std::map<std::string, Row> all;
    return all;
  }
  void TearDown() override {
    Row all;
    if (rows().empty()) {
      return;
    }
    std::printf("fault points (requests/flushes/allocations/calls) and those hit, by kind\n");
    for (const auto& [name, row] : rows()) {
      print(name, row);
      for (const auto& [point, count] : row.points) {
        all.points[point] += count;
      }
      for (std::size_t i = 0; i < kFaultKinds.size(); ++i) {
        all.hits.at(i) += row.hits.at(i);
      }
    }
    print("in all", all);
  }

 private:
  static void print(const std::string& name, const Row& row) {
    std::printf("  %-36s", name.c_str());
    const char* separator = " ";
    for (const auto& [point, count] : row.points) {
      std::printf("%s%llu", separator, static_cast<unsigned long long>(count));
      separator = "/";
    }
    std::printf(":");
    for (std::size_t i = 0; i < kFaultKinds.size(); ++i) {
      std::printf(" %s %llu%s", kFaultKinds.at(i).name,
                  static_cast<unsigned long long>(row.hits.at(i)),
                  i + 1 < kFaultKinds.size() ? "," : "\n");
    }
  }
};
[[maybe_unused]] const testing::Environment* const kHits =
    testing::AddGlobalTestEnvironment(std::make_unique<Hits>().release());

std::ptrdiff_t open_descriptors() {
  const std::filesystem::directory_iterator folder("/proc/self/fd");
  return std::distance(begin(folder), end(folder));
}

// A request that failed for want of room has changed nothing for certain, except where the write is
// the switch itself: of a root its outcome is unknown (O9). An apply that has switched in memory
// has no way back.
bool may_poison(const sim::FaultPlan& plan, const std::string& operation) {
  return plan.hit_flush() || plan.hit_tag() == IoTag::header ||
         plan.hit_tag() == IoTag::refcount_table || operation.starts_with("SnapshotApply") ||
         operation == "SnapshotDeleteInTurn";
}

// Which of `count` points kind number `kind` hits. With a limit the kinds of requests and of
// flushes share theirs, so that every point is hit.
std::vector<std::uint64_t> points_for(std::size_t kind, std::uint64_t count, std::uint64_t limit,
                                      sim::Random& choice) {
  const Point point = kFaultKinds.at(kind).point;
  const bool shares = limit != 0 && (point == Point::request || point == Point::flush);
  std::uint64_t kinds = 0;
  std::uint64_t place = 0;
  for (std::size_t i = 0; i < kFaultKinds.size(); ++i) {
    place += kFaultKinds.at(i).point == point && i < kind ? 1 : 0;
    kinds += kFaultKinds.at(i).point == point ? 1 : 0;
  }
  if (limit != 0 && point == Point::call) {
    count -= count / 8;  // The last ones may not come.
  }
  std::vector<std::uint64_t> points;
  std::uint64_t wanted = limit == 0 ? count : std::min(limit, count);
  for (std::uint64_t index = 0; index < count; ++index) {
    const bool is_drawn = choice.below(count - index) < wanted;
    wanted -= is_drawn ? 1 : 0;
    if (shares ? index % kinds == place : is_drawn) {
      points.push_back(index);
    }
  }
  if (points.empty() && count > 0) {
    points.push_back(choice.below(count));
  }
  return points;
}

class Letters : public testing::TestWithParam<ScenarioCase> {
 protected:
  // What went wrong, or nothing.
  std::string run(const FaultKind& kind, std::uint64_t index, FaultRun& run) {
    sim::FaultPlan plan;
    FaultRun::AllocationFault allocation;
    call_plan.reset(kind.trouble, index, kind.from_then_on);
    run.when_over([this] {
      call_plan.trouble = Trouble::none;
      calls_ = call_plan.seen;
    });
    if (kind.point == Point::allocation) {
      allocation = {index, kind.from_then_on};
    } else if (kind.point != Point::call) {
      sim::FaultRule rule;
      if (kind.point == Point::flush) {
        rule.operation = StorageOperation::flush;
      }
      rule.nth = index;
      rule.os_errno = kind.os_errno;
      rule.effect = kind.effect;
      rule.torn_bytes = kSectorBytes;
      rule.from_then_on = kind.from_then_on;
      plan.add(rule);
    }
    const std::ptrdiff_t before = open_descriptors();
    FaultRun::Counts counts;
    const auto wrong = run.run(plan, allocation, counts);
    const std::uint64_t hits = kind.point == Point::call ? call_plan.hits.load() : counts.hits;
    if (wrong) {
      return *wrong;
    }
    // How many system calls there are is a matter of time as well: calls may be joined.
    was_reached_ = kind.point != Point::call || calls_ > index;
    if (hits == 0 && was_reached_) {
      return "nothing was hit";
    }
    if (open_descriptors() != before) {
      return "a file is left open";
    }
    const bool is_noticed = run.was_refused() || run.was_poisoned();
    const bool must_not_show = kind.trouble == Trouble::interrupted ||
                               kind.trouble == Trouble::put_off || kind.trouble == Trouble::part;
    if (must_not_show && is_noticed) {
      return "it was noticed";
    }
    // Where the image was closed and opened again since, closing has told it.
    const bool is_told = run.was_poisoned() || (run.was_reopened() && run.was_refused());
    if (kind.point == Point::flush && !is_told) {
      return "a failed flush does not poison";
    }
    const bool is_poisoned = run.was_open() && run.was_poisoned();
    if (kind.point == Point::request && kind.os_errno == ENOSPC && !kind.from_then_on &&
        is_poisoned && !may_poison(plan, GetParam().scenario.name)) {
      return std::string("ENOSPC of ") + io_tag_name(plan.hit_tag()) + " poisons";
    }
    return "";
  }
  bool was_reached_ = false;  // The point of the last run.
  std::uint64_t calls_ = 0;   // System calls of the last run.

  // How many there are of each, without a fault.
  bool count(Row& row, FaultRun& simulated, FaultRun& real) {
    sim::FaultPlan plan;
    FaultRun::Counts counts;
    EXPECT_EQ(simulated.run(plan, {}, counts).value_or(""), "") << "already without a fault";
    row.points[Point::request] = counts.requests;
    row.points[Point::flush] = counts.flushes;
    row.points[Point::allocation] = counts.allocations;
    call_plan.reset(Trouble::none, 0, false);
    real.when_over([&] { row.points[Point::call] = call_plan.seen; });
    EXPECT_EQ(real.run(plan, {}, counts).value_or(""), "") << "already without trouble";
    return !HasFailure();
  }
};

TEST_P(Letters, AreWholeWhateverFails) {
  const std::uint64_t seed = sim::seed_from_environment();
  const TemporaryFolder folder;
  FaultRun simulated(GetParam());
  FaultRun real(GetParam());
  real.use_files(folder);
  simulated.spare_qemu();
  real.spare_qemu();
  std::string why;
  ASSERT_TRUE(simulated.prepare(why)) << why;
  ASSERT_TRUE(real.prepare(why)) << why;
  Row row;
  if (!count(row, simulated, real)) {
    return;
  }
  const bool is_long = sim::environment_number("VARVE_LONG", 0) != 0;
  const std::uint64_t limit =
      sim::environment_number("VARVE_LETTER_RUNS", is_long ? 0 : kLetterRuns);
  sim::Random choice(seed);
  for (std::size_t i = 0; i < kFaultKinds.size(); ++i) {
    const FaultKind& kind = kFaultKinds.at(i);
    for (const std::uint64_t index : points_for(i, row.points[kind.point], limit, choice)) {
      ASSERT_EQ(run(kind, index, kind.point == Point::call ? real : simulated), "")
          << "VARVE_SEED=" << seed << ", " << kind.name << " at " << index << " of "
          << row.points[kind.point];
      row.hits.at(i) += was_reached_ ? 1 : 0;
    }
    EXPECT_GT(row.hits.at(i), 0u) << "an empty cell: " << kind.name;
  }
  Hits::rows()[GetParam().name()] = row;
}

// One operation, and a flush of what it and a write leave. The failing flush is one of the kinds.
Scenario scenario_for(std::size_t letter, const GeometryCase& geometry) {
  Scenario scenario = scenario_of({letter}, geometry);
  scenario.act = [act = scenario.act](Session& session) {
    act(session);
    if (session.is_open()) {
      session.write(session.at(5), kSectorBytes);
      session.flush();
    }
  };
  return scenario;
}

// Every operation, on two shapes that have most tables and on a data file; of these it gets one
// where cases are dealt out.
std::vector<ScenarioCase> letter_cases() {
  const bool is_share = sim::environment_number("VARVE_SCENARIO_SHARE", 1) > 1;
  std::vector<GeometryCase> geometries = geometry_cases();
  std::erase_if(geometries, [](const GeometryCase& geometry) {
    return geometry.name != "C512Refcount64" && geometry.name != "C4kDataFileRaw" &&
           geometry.name != "C16kExtendedBacking";
  });
  std::vector<ScenarioCase> cases;
  for (std::size_t i = 0; i < alphabet().size(); ++i) {
    const Letter& letter = alphabet()[i];
    std::vector<ScenarioCase> fitting;
    for (const GeometryCase& geometry : geometries) {
      if ((letter.fits == nullptr || letter.fits(geometry)) &&
          std::string(letter.name) != "FlushFails") {
        fitting.push_back({scenario_for(i, geometry), geometry});
      }
    }
    for (std::size_t k = 0; k < fitting.size(); ++k) {
      if (!is_share || k == i % fitting.size()) {
        cases.push_back(fitting[k]);
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Operations, Letters, testing::ValuesIn(letter_cases()),
                         [](const testing::TestParamInfo<ScenarioCase>& parameter) {
                           return parameter.param.name();
                         });

TEST(LetterCases, HaveEveryOperation) {
  std::map<std::string, std::size_t> cases;
  for (const ScenarioCase& parameter : letter_cases()) {
    ++cases[parameter.scenario.name];
  }
  EXPECT_EQ(cases.size() + 1, alphabet().size());
}

}  // namespace
}  // namespace varve::model
