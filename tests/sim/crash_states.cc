#include "sim/crash_states.h"

#include <algorithm>

#include "sim/random.h"

namespace varve::sim {

namespace {

constexpr std::uint64_t kAllSectors = ~std::uint64_t{0};

class Enumerator {
 public:
  Enumerator(const CrashDisk& disk, const CrashOptions& options,
             const std::function<bool(const CrashState&, const SparseBytes&)>& visit)
      : disk_(disk),
        options_(options),
        visit_(visit),
        random_(options.seed),
        durable_(&disk.start()) {}

  std::uint64_t run();

 private:
  // Says which sectors of a change survive: calls back with ranges.
  using Chooser = std::function<void(std::size_t event, SparseBytes& content)>;

  void advance_to(Moment moment);
  void visit_choices(bool at_event);
  void visit_torn();
  void visit_state(const std::string& choice, const Chooser& chooser);
  void keep_all(std::size_t event, SparseBytes& content) const {
    apply_event(disk_.events()[event], 0, kAllSectors / kCrashSectorBytes / 2, content);
  }
  void keep_some(std::size_t event, SparseBytes& content, Random& random) const;
  [[nodiscard]] std::vector<std::size_t> sample_in_the_air();

  const CrashDisk& disk_;
  const CrashOptions& options_;
  const std::function<bool(const CrashState&, const SparseBytes&)>& visit_;
  Random random_;
  SparseBytes durable_;           // Everything durable at moment_.
  std::vector<std::size_t> air_;  // Changes submitted and not durable at moment_.
  std::size_t next_event_ = 0;
  Moment moment_ = 0;
  std::uint64_t visited_ = 0;
  bool stopped_ = false;
};

void Enumerator::advance_to(Moment moment) {
  moment_ = moment;
  const std::vector<CrashEvent>& events = disk_.events();
  while (next_event_ < events.size() && events[next_event_].submitted <= moment) {
    air_.push_back(next_event_++);
  }
  std::vector<std::size_t> still;
  for (const std::size_t event : air_) {
    if (events[event].durable <= moment) {
      keep_all(event, durable_);
    } else {
      still.push_back(event);
    }
  }
  air_ = std::move(still);
}

void Enumerator::visit_state(const std::string& choice, const Chooser& chooser) {
  if (stopped_) {
    return;
  }
  SparseBytes content(&durable_);
  for (const std::size_t event : air_) {
    chooser(event, content);
  }
  CrashState state;
  state.moment = moment_;
  state.description = "moment " + std::to_string(moment_) + ", " + choice;
  ++visited_;
  stopped_ = !visit_(state, content);
}

void Enumerator::keep_some(std::size_t event, SparseBytes& content, Random& random) const {
  const std::uint64_t sectors = disk_.events()[event].sectors();
  const std::uint64_t style = random.below(3);
  if (style == 0) {
    return;
  }
  if (style == 1 || sectors == 1) {
    keep_all(event, content);
    return;
  }
  // Runs of sectors, so that large writes cost little.
  std::uint64_t at = 0;
  while (at < sectors) {
    const std::uint64_t run = random.between(1, 1 + sectors / 2);
    if (random.chance(50)) {
      apply_event(disk_.events()[event], at, std::min(sectors, at + run), content);
    }
    at += run;
  }
}

std::vector<std::size_t> Enumerator::sample_in_the_air() {
  std::vector<std::size_t> sample = air_;
  while (sample.size() > options_.each_max) {
    const auto index = static_cast<std::size_t>(random_.below(sample.size()));
    sample[index] = sample.back();
    sample.pop_back();
  }
  return sample;
}

void Enumerator::visit_torn() {
  const std::size_t last = air_.back();
  const std::uint64_t sectors = disk_.events()[last].sectors();
  if (sectors < 2) {
    return;
  }
  const auto tear = [&](const char* name, std::uint64_t first, std::uint64_t end) {
    visit_state(name + std::to_string(last), [&](std::size_t event, SparseBytes& content) {
      if (event == last) {
        apply_event(disk_.events()[event], first, end, content);
      } else {
        keep_all(event, content);
      }
    });
  };
  const std::uint64_t middle = random_.between(1, sectors - 1);
  tear("front sectors of change ", 0, middle);
  tear("back sectors of change ", middle, sectors);
}

void Enumerator::visit_choices(bool at_event) {
  visit_state("everything",
              [&](std::size_t event, SparseBytes& content) { keep_all(event, content); });
  if (air_.empty()) {
    return;
  }
  const std::size_t newest = air_.back();
  if (!at_event || air_.size() == 1) {
    visit_state("nothing", [](std::size_t, SparseBytes&) {});
  }
  for (const std::size_t one : sample_in_the_air()) {
    // Losing only the newest change is the state of the moment before.
    if (options_.lose_each && (!at_event || one != newest)) {
      visit_state("without change " + std::to_string(one),
                  [&](std::size_t event, SparseBytes& content) {
                    if (event != one) {
                      keep_all(event, content);
                    }
                  });
    }
    // Older changes alone were seen at their own moment.
    if (options_.keep_each && air_.size() > 1 && (!at_event || one == newest)) {
      visit_state("only change " + std::to_string(one),
                  [&](std::size_t event, SparseBytes& content) {
                    if (event == one) {
                      keep_all(event, content);
                    }
                  });
    }
  }
  if (options_.tear && at_event) {
    visit_torn();
  }
  for (unsigned i = 0; i < options_.random_subsets && !stopped_; ++i) {
    const std::uint64_t seed = random_.next();
    Random random(seed);
    visit_state(
        "random subset " + std::to_string(seed),
        [&](std::size_t event, SparseBytes& content) { keep_some(event, content, random); });
  }
}

std::uint64_t Enumerator::run() {
  visit_choices(false);
  const std::vector<Moment>& marks = disk_.marks();
  std::size_t mark = 0;
  for (Moment moment = 1; moment <= disk_.now() && !stopped_; ++moment) {
    const bool at_mark = mark < marks.size() && marks[mark] == moment;
    mark += at_mark ? 1 : 0;
    advance_to(moment);
    visit_choices(!at_mark);
  }
  return visited_;
}

}  // namespace

std::uint64_t for_each_crash_state(
    const CrashDisk& disk, const CrashOptions& options,
    const std::function<bool(const CrashState& state, const SparseBytes& content)>& visit) {
  return Enumerator(disk, options, visit).run();
}

}  // namespace varve::sim
