// CrashExplorer: shows what power cuts may leave of runs on CrashDisks to the oracle: every state
// once to StateJudge, every new arrangement of metadata also to the library (open, check, compare,
// continue), a sample to QEMU, and what a second cut leaves while the library settles or goes on.
//
// One explorer per lab: what it has seen of one run need not be looked at in the next.
// Threads: the engine's. Lifetime: the lab outlives it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/order_storage.h"
#include "model/scenarios.h"
#include "model/state_judge.h"
#include "sim/crash_disk.h"
#include "sim/crash_states.h"
#include "sim/faulty_storage.h"
#include "sim/flat_set.h"
#include "sim/random.h"

namespace varve::model {

struct ExplorationLimits {
  sim::CrashOptions cuts;
  bool excuse_mismatches = false;    // See Examination.
  bool may_apply = true;             // See Examination.
  std::uint64_t leaks_before = 0;    // Clusters an earlier cut has leaked.
  std::uint64_t library_max = 0;     // So many states at most go to the library; 0: all new ones.
  std::uint64_t library_one_in = 1;  // Of new arrangements of metadata, one in so many goes there.
  std::uint64_t qemu_max = 0;        // So many of these also to qemu-img check, spread at random.
  std::uint64_t settle_again = 2;    // A second cut in the settling of so many states at most ...
  std::uint64_t go_on_again = 1;     // ... and in the continued use of so many.
  sim::CrashOptions second_cuts = quick_cuts();

  [[nodiscard]] static sim::CrashOptions quick_cuts() {
    sim::CrashOptions options;
    options.exhaustive_max = 3;
    options.pairs_max = 2;
    options.random_subsets = 1;
    options.random_tears = 0;
    options.tear_all_sectors = 2;
    options.each_max = 12;
    return options;
  }
};

struct Exploration {
  std::uint64_t events = 0;          // Changes of the runs.
  std::uint64_t visited = 0;         // Choices of what survives.
  std::uint64_t judged = 0;          // Of these, judged: new contents, or more was promised.
  std::uint64_t distinct = 0;        // Contents the explorer had not met before.
  std::uint64_t library = 0;         // Of these, shown to the library.
  std::uint64_t second = 0;          // Of the distinct ones, left by a second cut.
  std::uint64_t qemu = 0;            // Shown to qemu-img.
  std::uint64_t leaks = 0;           // The most clusters a state leaked.
  std::vector<std::uint64_t> after;  // Choices by event: while it was the newest one.
  std::optional<std::string> wrong;  // The first state that broke a promise, and the changes made.

  void add(const Exploration& other);
};

class CrashExplorer {
 public:
  explicit CrashExplorer(Lab& lab) : lab_(lab), judge_(lab) {}

  // Examines the states of `disk`, whose image `guest` used; stops at the first that is wrong.
  [[nodiscard]] Exploration explore(const sim::CrashDisk& disk, const Guest& guest,
                                    const ExplorationLimits& limits);
  // The states it has met, each once.
  [[nodiscard]] std::uint64_t states() const noexcept { return contents_.size(); }

 private:
  struct Run;
  [[nodiscard]] bool visit(Run& run, const sim::CrashState& state, sim::CrashContent& content);
  [[nodiscard]] Result<std::unique_ptr<Image>> open_on(sim::CrashDisk& disk);
  void settle_again(Run& run, const FilePair& files);
  void go_on_again(Run& run, const FilePair& files, std::uint64_t leaks);

  Lab& lab_;
  StateJudge judge_;
  sim::FlatSet contents_;
  sim::FlatSet metadata_;  // Arrangements the library has seen.
};

// One run of a scenario on a disk that remembers: open, act, compare, close.
class CrashRun {
 public:
  CrashRun(Lab& lab, const Scenario& scenario, const Prepared& prepared);

  // What went wrong without any power cut. Faults of `plan`, when given, lie between the image and
  // the disk (a lost flush, say).
  // With `is_read_back` the library reads the disk and its snapshots once more before it closes.
  [[nodiscard]] std::optional<std::string> run(sim::FaultPlan* plan = nullptr,
                                               bool is_read_back = true);
  [[nodiscard]] Exploration explore(const ExplorationLimits& limits) {
    return CrashExplorer(lab_).explore(disk_, guest_, limits);
  }
  [[nodiscard]] const sim::CrashDisk& disk() const noexcept { return disk_; }
  [[nodiscard]] const Guest& guest() const noexcept { return guest_; }
  // When the scenario's steps began; see Session::begin_step.
  [[nodiscard]] const std::vector<sim::Moment>& steps() const noexcept { return steps_; }
  [[nodiscard]] bool was_killed() const noexcept { return was_killed_; }
  // The first ordering rule a write of the run broke, and how; empty: none.
  [[nodiscard]] const std::string& order_violation() const noexcept { return order_.violation; }

 private:
  [[nodiscard]] Result<std::unique_ptr<Image>> open(sim::FaultPlan* plan, DiscardMode discard);
  // Does what `qemu-img amend -o lazy_refcounts` does, in place of the verb the library lacks.
  [[nodiscard]] Result<void> switch_lazy();

  Lab& lab_;
  const Scenario& scenario_;
  sim::CrashDisk disk_;
  Guest guest_;
  OrderRecord order_;
  std::vector<sim::Moment> steps_;
  bool was_killed_ = false;
};

}  // namespace varve::model
