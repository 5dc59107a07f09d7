// The checks methods share, in the order 4, 6, 1, 5: all of them come before any work.
//
// Threads: with the core's mutex held.
#pragma once

#include <optional>
#include <vector>

#include "service/core.h"
#include "service/revert_work.h"

namespace varve {

enum class SnapshotLookup : std::uint8_t {
  found,
  unknown,          // No reference, or of nothing that exists (4, 32773).
  active_settings,  // Of a system as it is now (6, 32776).
};
struct SnapshotAnswer {
  SnapshotLookup lookup = SnapshotLookup::unknown;
  FoundSnapshot found;
};
[[nodiscard]] SnapshotAnswer find_snapshot(ServiceCore& core, CimText reference);

// Whether the snapshots of every plan can be applied now (else code 5): the systems are settled and
// free, the snapshots whole, and whoever holds a state or takes one has a provider.
[[nodiscard]] bool is_ready_for_apply(const std::vector<SnapshotPlan>& plans);
// Whether a system's snapshots may be changed now: none but the first is an error of state.
enum class Readiness : std::uint8_t { ready, in_use, wrong_state };
[[nodiscard]] Readiness readiness_for_change(const System& system);

[[nodiscard]] inline SnapshotPlan plan_of(const FoundSnapshot& found) {
  return {found.system, *found.snapshot};
}

}  // namespace varve
