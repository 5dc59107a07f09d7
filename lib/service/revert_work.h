// Applying snapshots, destroying them, and dropping their machine state.
//
// Threads: perform() on the work thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <varve/state.h>

#include "service/work.h"

namespace varve {

// A system and the snapshot of it that is meant.
struct SnapshotPlan {
  System* system = nullptr;
  Snapshot snapshot;  // A copy: the registry's may change.
};
[[nodiscard]] std::vector<System*> systems_of(const std::vector<SnapshotPlan>& plans);

// Quiesces running systems, reverts every disk, loads the states. The systems are in the order of
// their GUIDs.
class ApplyWork final : public Work {
 public:
  ApplyWork(std::vector<SnapshotPlan> plans, std::uint64_t calendar_nanoseconds,
            unsigned quiesce_timeout_milliseconds)
      : Work(systems_of(plans)),
        plans_(std::move(plans)),
        calendar_nanoseconds_(calendar_nanoseconds),
        quiesce_timeout_milliseconds_(quiesce_timeout_milliseconds) {}
  Result<void> perform(OpenDisks& disks, WorkControl& control) override;
  void amend(System& system) noexcept override;

 private:
  Result<void> stop_systems();
  // One reader per plan; null: it has no state.
  using States = std::vector<std::unique_ptr<StateReader>>;
  Result<void> load_states(const States& states, WorkControl& control);

  std::vector<SnapshotPlan> plans_;
  std::uint64_t calendar_nanoseconds_;
  unsigned quiesce_timeout_milliseconds_;
  std::vector<StateProvider*> quiesced_;
  bool is_applied_ = false;
};

// Destroys snapshots one by one, in the order given: children before their parents.
class DestroyWork final : public Work {
 public:
  DestroyWork(std::vector<System*> systems, std::vector<SnapshotPlan> plans)
      : Work(std::move(systems)), plans_(std::move(plans)) {}
  Result<void> perform(OpenDisks& disks, WorkControl& control) override;
  void amend(System& system) noexcept override;

 private:
  std::vector<SnapshotPlan> plans_;
  std::size_t destroyed_ = 0;  // So many of them.
};

class ClearStateWork final : public Work {
 public:
  explicit ClearStateWork(SnapshotPlan plan) : Work({plan.system}), plan_(std::move(plan)) {}
  Result<void> perform(OpenDisks& disks, WorkControl& control) override;
  void amend(System& system) noexcept override;

 private:
  SnapshotPlan plan_;
  bool is_cleared_ = false;
};

// Gives a snapshot another name on every disk, or on none.
class RenameWork final : public Work {
 public:
  RenameWork(SnapshotPlan plan, std::string name)
      : Work({plan.system}), plan_(std::move(plan)), name_(std::move(name)) {}
  Result<void> perform(OpenDisks& disks, WorkControl& control) override;
  void amend(System& system) noexcept override;

 private:
  SnapshotPlan plan_;
  std::string name_;
  bool is_renamed_ = false;
};

}  // namespace varve
