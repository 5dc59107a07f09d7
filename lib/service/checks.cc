#include "service/checks.h"

#include "service/create_work.h"

namespace varve {

SnapshotAnswer find_snapshot(ServiceCore& core, CimText reference) {
  const std::optional<Uuid> id = core.references.parse(ReferenceKind::setting_data, reference);
  SnapshotAnswer answer;
  if (!id) {
    return answer;
  }
  answer.found = core.registry.find_snapshot(*id);
  if (answer.found) {
    answer.lookup = SnapshotLookup::found;
  } else if (core.registry.find_system(*id) != nullptr) {
    answer.lookup = SnapshotLookup::active_settings;
  }
  return answer;
}

bool is_ready_for_apply(const std::vector<SnapshotPlan>& plans) {
  for (const SnapshotPlan& plan : plans) {
    const EnabledState state = plan.system->enabled_state();
    const bool needs_provider = state != EnabledState::off || plan.snapshot.state_bytes() > 0;
    if (!is_settled(state) || plan.system->is_in_use || !plan.snapshot.is_whole() ||
        (needs_provider && plan.system->definition.provider == nullptr)) {
      return false;
    }
  }
  return true;
}

Readiness readiness_for_change(const System& system) {
  if (system.is_in_use) {
    return Readiness::in_use;
  }
  return is_settled(system.enabled_state()) ? Readiness::ready : Readiness::wrong_state;
}

}  // namespace varve
