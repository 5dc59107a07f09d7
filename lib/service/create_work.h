// Taking one snapshot of each of some systems: all of them, or none.
//
//   prepare every image -> quiesce running systems -> freeze every image -> resume those without
//   state -> save the others' states and resume them -> publish
//
// Every failure leaves systems running and images as they were; image_set.h says how, and what
// holds after a crash. Threads: perform() on the work thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <varve/state.h>

#include "service/settings_text.h"
#include "service/work.h"

namespace varve {

// What is made of one system.
struct SystemPlan {
  System* system = nullptr;
  StoredSettings settings;
  std::string element_name;
  [[nodiscard]] bool is_running() const noexcept { return settings.state == EnabledState::running; }
  [[nodiscard]] bool takes_state() const noexcept {
    return settings.type == VirtualSystemSnapshotType::full && settings.state != EnabledState::off;
  }
};

// Nothing: the system cannot have a snapshot of this type (code 1).
[[nodiscard]] std::optional<SystemPlan> plan_snapshot(System& system,
                                                      const RequestedSettings& settings,
                                                      VirtualSystemSnapshotType type,
                                                      EnabledState state);
// Whether a snapshot may be made now (else code 5).
[[nodiscard]] bool is_ready_for_snapshot(const System& system, EnabledState state) noexcept;
// Running, off or saved; not paused and not between states.
[[nodiscard]] bool is_settled(EnabledState state) noexcept;

class CreateWork final : public Work {
 public:
  CreateWork(std::vector<SystemPlan> plans, CreatedElement created,
             std::uint64_t calendar_nanoseconds, unsigned quiesce_timeout_milliseconds);

  Result<void> perform(OpenDisks& disks, WorkControl& control) override;
  void amend(System& system) noexcept override;

 private:
  static std::vector<System*> systems_of(const std::vector<SystemPlan>& plans);
  // What the tree will show, as far as it is known before.
  [[nodiscard]] Snapshot expected_snapshot(const SystemPlan& plan, const OpenDisks& disks) const;
  Result<void> create(const OpenDisks& disks, WorkControl& control);
  Result<void> add_members(const SystemPlan& plan, const OpenDisks& disks);
  Result<void> stop_systems();
  void resume(const SystemPlan& plan) noexcept;
  void resume_without_state() noexcept;
  Result<void> save_states();
  Result<void> save_state(const SystemPlan& plan, StateWriter& writer, unsigned from_percent,
                          unsigned to_percent);

  std::vector<SystemPlan> plans_;
  std::vector<Snapshot> expected_;  // One per plan.
  CreatedElement element_;
  std::uint64_t calendar_nanoseconds_;
  unsigned quiesce_timeout_milliseconds_;
  WorkControl* control_ = nullptr;
  std::vector<Image*> images_;                               // The first system's disk 0 first.
  std::vector<SnapshotCreateOptions> options_;               // One per image.
  std::vector<std::unique_ptr<StateWriter>> state_writers_;  // One per plan; null: no state.
  std::vector<const SystemPlan*> quiesced_;
};

}  // namespace varve
