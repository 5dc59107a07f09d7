#include "model/crash_explorer.h"

#include <algorithm>

#include "sim/random.h"

namespace varve::model {

namespace {

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

Exploration explore_cuts(Lab& lab, const sim::CrashDisk& disk, const Guest& guest,
                         const ExplorationLimits& limits) {
  Exploration result;
  sim::CrashOptions options;
  options.seed = limits.seed;
  sim::for_each_crash_state(disk, options, [&](const sim::CrashState& state, const auto&) {
    result.possible += state.moment >= limits.from ? 1 : 0;
    return true;
  });
  sim::Random choice(limits.seed ^ 0x63757473u);
  std::uint64_t left = result.possible;
  std::uint64_t wanted = limits.states_max == 0 ? left : std::min(left, limits.states_max);
  sim::for_each_crash_state(
      disk, options, [&](const sim::CrashState& state, const sim::SparseBytes& content) {
        if (state.moment < limits.from || choice.below(left--) >= wanted) {
          return true;
        }
        --wanted;
        Examination examination;
        examination.excuse_mismatches = limits.excuse_mismatches;
        examination.may_apply = limits.may_apply;
        examination.ask_qemu =
            limits.ask_qemu_each > 0 && result.examined % limits.ask_qemu_each == 0;
        ++result.examined;
        if (const auto verdict = examine(lab, guest, content, state.moment, examination)) {
          result.wrong = state.description + ": " + *verdict + describe_changes(disk, state.moment);
        }
        return !result.wrong.has_value();
      });
  return result;
}

CrashRun::CrashRun(Lab& lab, const Scenario& scenario, const Prepared& prepared)
    : lab_(lab),
      scenario_(scenario),
      disk_(prepared.file),
      guest_(
          lab.rules(), prepared.version, [this] { return disk_.mark(); }, prepared.next_stamp) {}

std::optional<std::string> CrashRun::run(sim::FaultPlan* plan) {
  std::unique_ptr<Storage> storage = std::make_unique<sim::CrashStorage>(lab_.engine(), disk_);
  if (plan != nullptr) {
    storage = std::make_unique<sim::FaultyStorage>(std::move(storage), *plan);
  }
  auto image = lab_.open(std::move(storage), lab_.open_options(true, scenario_.discard));
  if (!image) {
    return "open: " + describe(image.error());
  }
  Session session(**image, guest_, lab_.geometry());
  scenario_.act(session);
  if (session.failure()) {
    return "act: " + describe(*session.failure());
  }
  if (const auto verdict = guest_.judge_now(view_of(**image))) {
    return verdict;
  }
  const Result<void> closed = guest_.close(**image);
  return closed ? std::nullopt : std::optional("close: " + describe(closed.error()));
}

}  // namespace varve::model
