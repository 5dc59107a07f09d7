#include "model/crash_explorer.h"

#include <algorithm>
#include <array>

#include "base/try.h"
#include "sim/blocking.h"

namespace varve::model {

namespace {

// States after continued use that go to the library, per second cut.
constexpr std::uint64_t kLibraryGoingOn = 4;

std::string describe_changes(const sim::CrashDisk& disk, sim::Moment moment) {
  std::string text = "\nthe changes until then:";
  for (std::size_t i = 0; i < disk.events().size(); ++i) {
    if (disk.events()[i].submitted <= moment) {
      text += "\n  " + std::to_string(i) + ": " + disk.events()[i].text();
    }
  }
  return text + "\n";
}

}  // namespace

void Exploration::add(const Exploration& other) {
  events += other.events;
  visited += other.visited;
  judged += other.judged;
  distinct += other.distinct;
  library += other.library;
  second += other.second;
  qemu += other.qemu;
  leaks = std::max(leaks, other.leaks);
  wrong = wrong ? wrong : other.wrong;
}

// One exploration under way.
struct CrashExplorer::Run {
  Run(const sim::CrashDisk& on_disk, const Guest& by_guest, const ExplorationLimits& within)
      : disk(on_disk), guest(by_guest), limits(within), random(within.cuts.seed ^ 0x63757473u) {}

  const sim::CrashDisk& disk;
  const Guest& guest;
  const ExplorationLimits& limits;
  sim::Random random;
  Exploration result;
  Expectation expected;
  sim::Moment expected_at = ~sim::Moment{0};
  sim::Moment moment = 0;
  sim::FlatSet seen;  // Contents, each with what was expected of it.
  std::uint64_t settled_again = 0;
  std::uint64_t went_on_again = 0;
  bool is_second = false;

  void count_choice() {
    const std::vector<sim::CrashEvent>& events = disk.events();
    while (submitted < events.size() && events[submitted].submitted <= moment) {
      ++submitted;
    }
    if (submitted > 0) {
      ++result.after[submitted - 1];
    }
  }
  std::size_t submitted = 0;  // Events up to the moment.
};

Exploration CrashExplorer::explore(const sim::CrashDisk& disk, const Guest& guest,
                                   const ExplorationLimits& limits) {
  Run run(disk, guest, limits);
  run.result.events = disk.events().size();
  run.result.after.resize(disk.events().size());
  sim::CrashContent content(disk, &identify_sector);
  run.result.visited = sim::for_each_crash_state(
      disk, limits.cuts, content, [&](const sim::CrashState& state, sim::CrashContent& files) {
        return visit(run, state, files);
      });
  return std::move(run.result);
}

bool CrashExplorer::visit(Run& run, const sim::CrashState& state, sim::CrashContent& content) {
  if (!run.is_second) {
    run.moment = state.moment;
    if (run.moment != run.expected_at) {
      run.expected = run.guest.expectation(run.moment);
      run.expected.leaks_max += run.limits.leaks_before;
      run.expected_at = run.moment;
    }
  }
  if (!run.is_second) {
    run.count_choice();
  }
  const std::uint64_t hash = content.hash();
  if (!run.seen.insert(hash ^ sim::Random::mix(run.expected.number))) {
    return true;
  }
  ++run.result.judged;
  run.result.distinct += contents_.insert(hash) ? 1 : 0;
  run.result.second += run.is_second ? 1 : 0;
  StateJudge::Found found;
  auto verdict =
      judge_.judge(content, run.guest, run.expected, run.limits.excuse_mismatches, found);
  run.result.leaks = std::max(run.result.leaks, found.is_dirty ? 0 : found.leaks);
  const bool has_room = run.limits.library_max == 0 || run.result.library < run.limits.library_max;
  const bool is_chosen =
      run.limits.library_one_in <= 1 || run.random.below(run.limits.library_one_in) == 0;
  if (!verdict && has_room && is_chosen && metadata_.insert(found.metadata)) {
    ++run.result.library;
    const FilePair files{content.file.to_sparse(), content.second.to_sparse()};
    Examination examination;
    examination.is_judged = true;
    examination.excuse_mismatches = run.limits.excuse_mismatches;
    examination.may_apply = run.limits.may_apply;
    examination.ask_qemu = run.result.qemu < run.limits.qemu_max && !found.is_dirty &&
                           !found.has_mismatches && run.random.chance(20);
    run.result.qemu += examination.ask_qemu ? 1 : 0;
    verdict = examine(lab_, run.guest, files, run.moment, examination);
    if (!verdict && !run.is_second) {
      const bool settles = found.is_dirty || run.random.chance(5);
      if (settles && run.settled_again < run.limits.settle_again) {
        ++run.settled_again;
        settle_again(run, files);
      }
      if (run.went_on_again < run.limits.go_on_again && run.random.chance(10)) {
        ++run.went_on_again;
        go_on_again(run, files, found.leaks);
      }
    }
  }
  if (verdict) {
    run.result.wrong = state.text() + ": " + *verdict + describe_changes(run.disk, run.moment);
  }
  return !run.result.wrong.has_value();
}

Result<std::unique_ptr<Image>> CrashExplorer::open_on(sim::CrashDisk& disk) {
  return lab_.open(std::make_unique<sim::CrashStorage>(lab_.engine(), disk),
                   lab_.open_options(true),
                   std::make_unique<sim::CrashStorage>(lab_.engine(), disk, 1));
}

// The power goes again while the library opens what the first cut left. Nothing new happened to the
// guest, so the same is expected.
void CrashExplorer::settle_again(Run& run, const FilePair& files) {
  sim::CrashDisk disk(files.image, files.data);
  {
    auto image = open_on(disk);
    const Result<void> closed = image ? (*image)->close() : Result<void>(image.error());
    if (!closed) {
      run.result.wrong = "opened and closed: " + describe(closed.error());
      return;
    }
  }
  run.is_second = true;
  sim::CrashContent content(disk, &identify_sector);
  run.result.visited += sim::for_each_crash_state(
      disk, run.limits.second_cuts, content,
      [&](const sim::CrashState& state, sim::CrashContent& left) {
        if (!visit(run, state, left)) {
          *run.result.wrong += "and in settling:" + describe_changes(disk, state.moment);
        }
        return !run.result.wrong.has_value();
      });
  run.is_second = false;
}

// The guest goes on after the first cut, and the power goes again.
void CrashExplorer::go_on_again(Run& run, const FilePair& files, std::uint64_t leaks) {
  sim::CrashDisk disk(files.image, files.data);
  auto image = open_on(disk);
  Version seen;
  auto verdict = image ? run.guest.judge(view_of(**image), run.moment, &seen)
                       : std::optional("open: " + describe(image.error()));
  if (!verdict) {
    Guest next(
        lab_.rules(), std::move(seen), [&disk] { return disk.mark(); }, run.guest.next_stamp());
    verdict = go_on_using(**image, next, run.limits.may_apply);
    const Result<void> closed = next.close(**image);
    verdict = verdict || closed ? verdict : std::optional("close: " + describe(closed.error()));
    image->reset();
    if (!verdict) {
      ExplorationLimits limits = run.limits;
      limits.cuts = run.limits.second_cuts;
      limits.settle_again = limits.go_on_again = limits.qemu_max = 0;
      limits.library_max = kLibraryGoingOn;
      limits.leaks_before = leaks;
      // Continued use has control operations, which v2 images do not hide behind a dirty bit.
      limits.excuse_mismatches = limits.excuse_mismatches || lab_.geometry().create.version < 3;
      Exploration again = explore(disk, next, limits);
      again.second = again.distinct;
      again.events = 0;
      verdict = again.wrong;
      again.wrong.reset();
      run.result.add(again);
    }
  }
  if (verdict) {
    run.result.wrong = "in continued use: " + *verdict;
  }
}

CrashRun::CrashRun(Lab& lab, const Scenario& scenario, const Prepared& prepared)
    : lab_(lab),
      scenario_(scenario),
      disk_(prepared.files.image, prepared.files.data),
      guest_(
          lab.rules(), prepared.version, [this] { return disk_.mark(); }, prepared.next_stamp) {}

Result<std::unique_ptr<Image>> CrashRun::open(sim::FaultPlan* plan, DiscardMode discard) {
  std::unique_ptr<Storage> storage = std::make_unique<OrderStorage>(
      std::make_unique<sim::CrashStorage>(lab_.engine(), disk_), disk_.content(), order_);
  std::unique_ptr<Storage> data = std::make_unique<sim::CrashStorage>(lab_.engine(), disk_, 1);
  if (plan != nullptr) {
    storage = std::make_unique<sim::FaultyStorage>(std::move(storage), *plan);
    data = std::make_unique<sim::FaultyStorage>(std::move(data), *plan);
  }
  return lab_.open(std::move(storage), lab_.open_options(true, discard), std::move(data));
}

Result<void> CrashRun::switch_lazy() {
  constexpr std::uint64_t kCompatibleFeatures = 80;
  sim::CrashStorage storage(lab_.engine(), disk_);
  std::array<std::byte, 8> features{};
  VARVE_TRY(sim::blocking_read(storage, kCompatibleFeatures, features, IoTag::header));
  features.back() ^= std::byte{1};
  VARVE_TRY(sim::blocking_write(storage, kCompatibleFeatures, features, IoTag::header));
  return sim::blocking_flush(storage);
}

std::optional<std::string> CrashRun::run(sim::FaultPlan* plan, bool is_read_back) {
  auto image = open(plan, scenario_.discard);
  if (!image) {
    return "open: " + describe(image.error());
  }
  Session session(**image, guest_, lab_.geometry());
  session.watch_steps([this] { steps_.push_back(disk_.mark()); });
  Session::Host host;
  host.reopen = [&](const Session::Host::Opening& opening) -> Result<Image*> {
    image->reset();
    if (opening.forgets_abandoned) {
      disk_.forget_abandoned();
    }
    if (opening.switches_lazy) {
      VARVE_TRY(switch_lazy());
    }
    image = open(plan, opening.discard);
    if (!image) {
      return image.error();
    }
    return image->get();
  };
  host.fail_next_flush = [this] { disk_.fail_next_flush(); };
  session.allow(std::move(host));
  scenario_.act(session);
  was_killed_ = session.was_killed();
  if (session.failure()) {
    return "act: " + describe(*session.failure());
  }
  if (!session.verdict().empty()) {
    return session.verdict();
  }
  auto verdict = is_read_back ? guest_.judge_now(view_of(**image)) : std::nullopt;
  if (verdict) {
    return verdict;
  }
  const Result<void> closed = guest_.close(**image);
  return closed ? std::nullopt : std::optional("close: " + describe(closed.error()));
}

}  // namespace varve::model
