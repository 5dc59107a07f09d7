// CrashExplorer: runs a scenario on a CrashDisk and examines what power cuts may leave of it.
//
// Threads: the engine's. Lifetime: the lab outlives it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/scenarios.h"
#include "sim/crash_disk.h"
#include "sim/crash_states.h"
#include "sim/faulty_storage.h"

namespace varve::model {

struct ExplorationLimits {
  std::uint64_t seed = 1;
  std::uint64_t states_max = 0;     // A seeded sample of that size; 0: every state.
  sim::Moment from = 0;             // Cuts before this moment are not looked at.
  bool excuse_mismatches = false;   // See Examination.
  bool may_apply = true;            // See Examination.
  std::uint64_t ask_qemu_each = 0;  // qemu-img check for every n-th state; 0: never.
};

struct Exploration {
  std::uint64_t examined = 0;
  std::uint64_t possible = 0;
  std::optional<std::string> wrong;  // The first state that broke a promise, and the changes made.
};

// Examines the states of `disk`, whose image `guest` used; stops at the first that is wrong.
[[nodiscard]] Exploration explore_cuts(Lab& lab, const sim::CrashDisk& disk, const Guest& guest,
                                       const ExplorationLimits& limits);

// One run of a scenario on a disk that remembers: open, act, compare, close.
class CrashRun {
 public:
  CrashRun(Lab& lab, const Scenario& scenario, const Prepared& prepared);

  // What went wrong without any power cut. Faults of `plan`, when given, lie between the image and
  // the disk (a lost flush, say).
  [[nodiscard]] std::optional<std::string> run(sim::FaultPlan* plan = nullptr);
  [[nodiscard]] Exploration explore(const ExplorationLimits& limits) {
    return explore_cuts(lab_, disk_, guest_, limits);
  }

 private:
  Lab& lab_;
  const Scenario& scenario_;
  sim::CrashDisk disk_;
  Guest guest_;
};

}  // namespace varve::model
