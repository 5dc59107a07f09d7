#include "service/revert_work.h"

#include <algorithm>

#include <varve/snapshot.h>
#include <varve/state.h>

#include "base/failure.h"
#include "base/try.h"
#include "service/guarded.h"
#include "service/image_set.h"

namespace varve {
namespace {

constexpr unsigned kAppliedPercent = 50;  // The rest of an apply is loading states.

Result<void> begin(WorkControl& control) noexcept {
  return control.commit() ? Result<void>() : failure(ErrorCode::cancelled, "the job was stopped");
}

// A reader's bytes for a provider.
class ReaderSource final : public StateSource {
 public:
  ReaderSource(StateReader& reader, WorkControl& control) noexcept
      : reader_(reader), control_(control) {}

  [[nodiscard]] std::uint64_t size() const noexcept override { return reader_.size(); }
  Result<void> read(std::uint64_t offset, std::span<std::byte> target) noexcept override {
    VARVE_TRY(reader_.read_at(offset, target));
    control_.report(offset + target.size(), reader_.size(), kAppliedPercent, 99);
    return {};
  }

 private:
  StateReader& reader_;
  WorkControl& control_;
};

// The reader of a snapshot's state; null: it has none.
Result<std::unique_ptr<StateReader>> open_state(const SnapshotPlan& plan, const OpenDisks& disks) {
  const auto members = VARVE_TRY(find_members(*plan.system, plan.snapshot, disks));
  for (const SetMember& member : members) {
    if (member.info.vm_state_size > 0) {
      return StateReader::open(*member.disk.image, member.index);
    }
  }
  return std::unique_ptr<StateReader>();
}

}  // namespace

std::vector<System*> systems_of(const std::vector<SnapshotPlan>& plans) {
  std::vector<System*> systems;
  systems.reserve(plans.size());
  for (const SnapshotPlan& plan : plans) {
    systems.push_back(plan.system);
  }
  return systems;
}

Result<void> ApplyWork::perform(OpenDisks& disks, WorkControl& control) {
  std::vector<SetMember> members;
  States states;
  for (const SnapshotPlan& plan : plans_) {
    // A state that cannot be read is found before anything changes.
    states.push_back(VARVE_TRY(open_state(plan, disks)));
    const auto more = VARVE_TRY(find_members(*plan.system, plan.snapshot, disks));
    members.insert(members.end(), more.begin(), more.end());
  }
  Result<void> result = stop_systems();
  if (result) {
    result = begin(control);
  }
  if (result) {
    result = guarded([&] { return apply_set(members, calendar_nanoseconds_, control); });
  }
  if (!result) {
    for (StateProvider* provider : quiesced_) {
      provider->resume();
    }
    return result;
  }
  is_applied_ = true;
  control.report(1, 1, 0, kAppliedPercent);
  return load_states(states, control);
}

void ApplyWork::amend(System& system) noexcept {
  for (const SnapshotPlan& plan : plans_) {
    if (plan.system == &system && is_applied_) {
      system.tree.most_current = plan.snapshot.id;
      system.tree.last_applied = plan.snapshot.id;
    }
  }
}

Result<void> ApplyWork::stop_systems() {
  quiesced_.reserve(plans_.size());
  for (const SnapshotPlan& plan : plans_) {
    StateProvider* provider = plan.system->definition.provider;
    if (provider != nullptr && plan.system->enabled_state() == EnabledState::running) {
      VARVE_TRY(provider->quiesce(ConsistencyLevel::unknown, quiesce_timeout_milliseconds_));
      quiesced_.push_back(provider);
    }
  }
  return {};
}

Result<void> ApplyWork::load_states(const States& states, WorkControl& control) {
  Result<void> first;
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    StateProvider* provider = plans_[i].system->definition.provider;
    if (provider == nullptr) {
      continue;
    }
    Result<void> loaded;
    if (states[i]) {
      ReaderSource source(*states[i], control);
      loaded = provider->load(&source, plans_[i].snapshot.settings.state);
    } else {
      loaded = provider->load(nullptr, EnabledState::off);
    }
    if (!loaded && first) {
      first = loaded;
    }
  }
  return first;
}

Result<void> DestroyWork::perform(OpenDisks& disks, WorkControl& control) {
  VARVE_TRY(begin(control));
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    const auto members = VARVE_TRY(find_members(*plans_[i].system, plans_[i].snapshot, disks));
    VARVE_TRY(delete_set(members, control));
    destroyed_ = i + 1;
    control.report(i + 1, plans_.size(), 0, 99);
  }
  return {};
}

void DestroyWork::amend(System& system) noexcept {
  for (std::size_t i = 0; i < destroyed_; ++i) {
    if (plans_[i].system == &system) {
      system.tree.remove(plans_[i].snapshot.id);
    }
  }
}

Result<void> ClearStateWork::perform(OpenDisks& disks, WorkControl& control) {
  VARVE_TRY(begin(control));
  const auto members = VARVE_TRY(find_members(*plan_.system, plan_.snapshot, disks));
  for (const SetMember& member : members) {
    if (member.info.vm_state_size > 0) {
      VARVE_TRY(drop_snapshot_state(*member.disk.image, member.index));
    }
  }
  is_cleared_ = true;
  return {};
}

void ClearStateWork::amend(System& system) noexcept {
  Snapshot* snapshot = is_cleared_ ? system.tree.find(plan_.snapshot.id) : nullptr;
  if (snapshot != nullptr) {
    for (Snapshot::Member& member : snapshot->members) {
      member.state_bytes = 0;
    }
  }
}

Result<void> RenameWork::perform(OpenDisks& disks, WorkControl& control) {
  VARVE_TRY(begin(control));
  const auto members = VARVE_TRY(find_members(*plan_.system, plan_.snapshot, disks));
  VARVE_TRY(rename_set(members, name_));
  is_renamed_ = true;
  return {};
}

void RenameWork::amend(System& system) noexcept {
  Snapshot* snapshot = is_renamed_ ? system.tree.find(plan_.snapshot.id) : nullptr;
  if (snapshot != nullptr) {
    snapshot->element_name = std::move(name_);
  }
}

}  // namespace varve
