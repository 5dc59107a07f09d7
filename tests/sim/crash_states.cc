#include "sim/crash_states.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "sim/random.h"

namespace varve::sim {

namespace {

// What survives of one change.
struct Survival {
  enum class Kind : std::uint8_t { none, all, some } kind = Kind::none;
  std::vector<bool> sectors;  // For some: one for each sector of the change.

  [[nodiscard]] static Survival of(bool kept) {
    Survival survival;
    survival.kind = kept ? Kind::all : Kind::none;
    return survival;
  }
};

std::string describe_choice(const CrashState& state) {
  const auto& choice =
      *static_cast<const std::vector<std::pair<std::size_t, Survival>>*>(state.choice);
  std::string kept = "kept:";
  std::string lost = "lost:";
  for (const auto& [event, survival] : choice) {
    const std::string name = " " + std::to_string(event);
    if (survival.kind == Survival::Kind::some) {
      kept += name + "[";
      for (const bool sector : survival.sectors) {
        kept += sector ? "1" : "0";
      }
      kept += "]";
    } else {
      (survival.kind == Survival::Kind::all ? kept : lost) += name;
    }
  }
  return kept + "; " + lost;
}

class Enumerator {
 public:
  using Contents = std::array<SectorImage*, CrashDisk::kFiles>;

  Enumerator(const CrashDisk& disk, const CrashOptions& options, const Contents& contents,
             const std::function<bool(const CrashState&)>& visit)
      : disk_(disk), options_(options), contents_(contents), visit_(visit), random_(options.seed) {
    facts_.resize(disk.events().size());
  }

  std::uint64_t run();

 private:
  using Choice = std::vector<std::pair<std::size_t, Survival>>;

  void advance_to(Moment moment);
  void visit_moment(bool at_event);
  [[nodiscard]] bool is_promised(Moment moment) const noexcept;
  void visit_subsets();
  void visit_news();
  void visit_many();
  void visit_torn(std::size_t torn);
  void visit_tears(std::size_t torn, const std::vector<bool>& sectors);
  void visit_random();
  void visit_choice();
  void keep(std::size_t event);
  void keep(std::size_t event, const Survival& survival);
  void keep_sectors(std::size_t event, std::uint64_t first, std::uint64_t last);
  // Sets the choice: what `kept` says of each change in the air, by its place there.
  template <class Kept>
  void choose(Kept kept);
  [[nodiscard]] Survival some_of(std::size_t event);

  const CrashDisk& disk_;
  const CrashOptions& options_;
  Contents contents_;  // Of each file.
  const std::function<bool(const CrashState&)>& visit_;
  Random random_;
  std::vector<std::vector<SectorFacts>> facts_;  // Of the sectors of each aligned write.
  std::vector<std::size_t> air_;                 // Changes submitted and not durable at moment_.
  Choice choice_;
  std::size_t next_event_ = 0;
  Moment moment_ = 0;
  std::uint64_t visited_ = 0;
  bool must_keep_newest_ = false;
  bool stopped_ = false;
};

void Enumerator::keep_sectors(std::size_t index, std::uint64_t first, std::uint64_t last) {
  const CrashEvent& event = disk_.events()[index];
  SectorImage& content = *contents_.at(event.file);
  const bool aligned =
      event.offset % kCrashSectorBytes == 0 && event.length % kCrashSectorBytes == 0;
  if (event.operation != StorageOperation::write || !aligned) {
    apply_event(event, first, last, content);
    return;
  }
  std::vector<SectorFacts>& facts = facts_[index];
  const auto sector = [&](std::uint64_t i) {
    return ConstBytes(event.data)
        .subspan(static_cast<std::size_t>(i * kCrashSectorBytes), kCrashSectorBytes);
  };
  if (facts.empty()) {
    for (std::uint64_t i = 0; i < event.sectors(); ++i) {
      facts.push_back(content.facts_of(sector(i)));
    }
  }
  for (std::uint64_t i = first; i < std::min(last, event.sectors()); ++i) {
    content.put_sector(event.offset / kCrashSectorBytes + i, sector(i),
                       facts[static_cast<std::size_t>(i)]);
  }
}

void Enumerator::keep(std::size_t event) {
  keep_sectors(event, 0, disk_.events()[event].sectors());
}

void Enumerator::keep(std::size_t event, const Survival& survival) {
  if (survival.kind == Survival::Kind::all) {
    keep(event);
  } else if (survival.kind == Survival::Kind::some) {
    for (std::size_t i = 0; i < survival.sectors.size(); ++i) {
      if (survival.sectors[i]) {
        keep_sectors(event, i, i + 1);
      }
    }
  }
}

void Enumerator::advance_to(Moment moment) {
  moment_ = moment;
  const std::vector<CrashEvent>& events = disk_.events();
  while (next_event_ < events.size() && events[next_event_].submitted <= moment) {
    air_.push_back(next_event_++);
  }
  std::vector<std::size_t> still;
  for (const std::size_t event : air_) {
    if (events[event].durable <= moment) {
      keep(event);
    } else if (events[event].lost > moment) {
      still.push_back(event);
    }
  }
  for (SectorImage* content : contents_) {
    content->forget_changes();
  }
  air_ = std::move(still);
}

void Enumerator::visit_choice() {
  if (stopped_) {
    return;
  }
  const SectorImage::Mark first = contents_[0]->mark();
  const SectorImage::Mark second = contents_[1]->mark();
  for (const auto& [event, survival] : choice_) {
    keep(event, survival);
  }
  CrashState state;
  state.moment = moment_;
  state.describe = &describe_choice;
  state.choice = &choice_;
  ++visited_;
  stopped_ = !visit_(state);
  contents_[0]->rollback(first);
  contents_[1]->rollback(second);
}

template <class Kept>
void Enumerator::choose(Kept kept) {
  choice_.clear();
  for (std::size_t place = 0; place < air_.size(); ++place) {
    const bool is_kept = kept(place) || (must_keep_newest_ && place + 1 == air_.size());
    choice_.emplace_back(air_[place], Survival::of(is_kept));
  }
}

void Enumerator::visit_subsets() {
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << air_.size()) && !stopped_; ++bits) {
    choose([&](std::size_t place) { return ((bits >> place) & 1) != 0; });
    visit_choice();
  }
}

// The subsets with the newest change: the others have been shown.
void Enumerator::visit_news() {
  const std::size_t newest = air_.size() - 1;
  if (air_.size() > options_.exhaustive_max) {
    must_keep_newest_ = true;
    visit_many();
    must_keep_newest_ = false;
    return;
  }
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << newest) && !stopped_; ++bits) {
    choose([&](std::size_t place) { return place == newest || ((bits >> place) & 1) != 0; });
    visit_choice();
  }
}

// Too many in the air for every subset.
void Enumerator::visit_many() {
  const std::size_t count = air_.size();
  for (std::size_t length = must_keep_newest_ ? count : 0; length <= count; ++length) {
    choose([&](std::size_t place) { return place < length; });
    visit_choice();
  }
  std::vector<std::size_t> sample(count);
  for (std::size_t i = 0; i < count; ++i) {
    sample[i] = i;
  }
  while (sample.size() > options_.each_max) {
    std::swap(sample[static_cast<std::size_t>(random_.below(sample.size()))], sample.back());
    sample.pop_back();
  }
  for (const std::size_t one : sample) {
    for (const bool lose : {true, false}) {
      choose([&](std::size_t place) { return (place == one) != lose; });
      visit_choice();
    }
  }
  for (std::size_t i = 0; i < options_.pairs_max; ++i) {
    const std::uint64_t one = random_.below(count);
    const std::uint64_t two = random_.below(count);
    for (const bool lose : {true, false}) {
      choose([&](std::size_t place) { return (place == one || place == two) != lose; });
      visit_choice();
    }
  }
}

void Enumerator::visit_tears(std::size_t torn, const std::vector<bool>& sectors) {
  // The others: all there, none there, some there.
  for (const unsigned others : {0u, 1u, 2u}) {
    if (others > 0 && air_.size() == 1) {
      break;
    }
    choose([&](std::size_t) { return others == 0 || (others == 2 && random_.chance(50)); });
    for (auto& [event, survival] : choice_) {
      if (event == torn) {
        survival.kind = Survival::Kind::some;
        survival.sectors = sectors;
      }
    }
    visit_choice();
  }
}

void Enumerator::visit_torn(std::size_t torn) {
  const auto count = static_cast<std::size_t>(disk_.events()[torn].sectors());
  if (count < 2) {
    return;
  }
  std::vector<bool> sectors(count);
  const auto tear = [&](auto kept) {
    for (std::size_t i = 0; i < count; ++i) {
      sectors[i] = kept(i);
    }
    visit_tears(torn, sectors);
  };
  if (count <= options_.tear_all_sectors) {
    for (std::uint64_t bits = 1; bits + 1 < (std::uint64_t{1} << count); ++bits) {
      tear([&](std::size_t i) { return ((bits >> i) & 1) != 0; });
    }
    return;
  }
  const std::uint64_t middle = random_.between(1, count - 1);
  tear([](std::size_t i) { return i == 0; });
  tear([](std::size_t i) { return i != 0; });
  tear([&](std::size_t i) { return i + 1 == count; });
  tear([&](std::size_t i) { return i + 1 != count; });
  tear([](std::size_t i) { return i % 2 == 0; });
  tear([](std::size_t i) { return i % 2 != 0; });
  tear([&](std::size_t i) { return i < middle; });
  tear([&](std::size_t i) { return i >= middle; });
  for (unsigned i = 0; i < options_.random_tears; ++i) {
    tear([&](std::size_t) { return random_.chance(50); });
  }
}

Survival Enumerator::some_of(std::size_t event) {
  const std::uint64_t style = random_.below(3);
  const auto count = static_cast<std::size_t>(disk_.events()[event].sectors());
  Survival survival = Survival::of(style == 1);
  if (style == 2) {
    survival.kind = Survival::Kind::some;
    survival.sectors.resize(count);
    // Runs of sectors, as a disk's cache writes them.
    for (std::size_t at = 0; at < count;) {
      const auto run = static_cast<std::size_t>(random_.between(1, 1 + count / 2));
      const bool kept = random_.chance(50);
      for (const std::size_t end = std::min(count, at + run); at < end; ++at) {
        survival.sectors[at] = kept;
      }
    }
  }
  return survival;
}

void Enumerator::visit_random() {
  for (unsigned i = 0; i < options_.random_subsets && !stopped_; ++i) {
    choice_.clear();
    for (const std::size_t event : air_) {
      choice_.emplace_back(event, some_of(event));
    }
    visit_choice();
  }
}

bool Enumerator::is_promised(Moment moment) const noexcept {
  return options_.promised == nullptr ||
         std::binary_search(options_.promised->begin(), options_.promised->end(), moment);
}

void Enumerator::visit_moment(bool at_event) {
  const bool is_new = at_event && !air_.empty() && disk_.events()[air_.back()].submitted == moment_;
  if (!is_promised(moment_)) {
    if (is_new) {
      visit_news();
      visit_torn(air_.back());
      visit_random();
    }
    return;
  }
  if (air_.size() <= options_.exhaustive_max) {
    visit_subsets();
  } else {
    visit_many();
  }
  if (air_.empty()) {
    return;
  }
  if (at_event) {
    visit_torn(air_.back());
  }
  visit_random();
}

std::uint64_t Enumerator::run() {
  const std::vector<Moment>& marks = disk_.marks();
  std::size_t mark = 0;
  for (Moment moment = 0; moment <= disk_.now() && !stopped_; ++moment) {
    const bool at_mark = mark < marks.size() && marks[mark] == moment;
    mark += at_mark ? 1 : 0;
    advance_to(moment);
    if (moment >= options_.from) {
      visit_moment(!at_mark && moment > 0);
    }
  }
  return visited_;
}

}  // namespace

std::uint64_t CrashContent::hash() const noexcept {
  return file.hash() + Random::mix(second.hash());
}

std::uint64_t for_each_crash_state(
    const CrashDisk& disk, const CrashOptions& options, CrashContent& content,
    const std::function<bool(const CrashState& state, CrashContent& content)>& visit) {
  const std::function<bool(const CrashState&)> visit_both = [&](const CrashState& state) {
    return visit(state, content);
  };
  return Enumerator(disk, options, {&content.file, &content.second}, visit_both).run();
}

std::uint64_t for_each_crash_state(
    const CrashDisk& disk, const CrashOptions& options, SectorImage& content,
    const std::function<bool(const CrashState& state, SectorImage& content)>& visit) {
  SectorImage second(disk.start(1));
  const std::function<bool(const CrashState&)> visit_first = [&](const CrashState& state) {
    return visit(state, content);
  };
  return Enumerator(disk, options, {&content, &second}, visit_first).run();
}

}  // namespace varve::sim
