#include "service/registry.h"

#include <algorithm>

namespace varve {

const Snapshot* SnapshotTree::find(const Uuid& id) const noexcept {
  const auto found = std::ranges::find(snapshots, id, &Snapshot::id);
  return found == snapshots.end() || found->is_pending() ? nullptr : &*found;
}

std::vector<const Snapshot*> SnapshotTree::branch(const Uuid& id) const {
  std::vector<const Snapshot*> found;
  if (const Snapshot* root = find(id); root != nullptr) {
    found.push_back(root);
  }
  // The list grows while it is walked: children of children follow.
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const Snapshot& each : snapshots) {
      if (!each.is_pending() && each.parent == found[i]->id &&
          std::ranges::find(found, &each) == found.end()) {
        found.push_back(&each);
      }
    }
  }
  std::ranges::reverse(found);
  return found;
}

System* Registry::find_system(const Uuid& id) const noexcept {
  const auto found = systems.find(id);
  return found == systems.end() ? nullptr : found->second.get();
}

FoundSnapshot Registry::find_snapshot(const Uuid& id) const noexcept {
  for (const auto& [key, system] : systems) {
    if (const Snapshot* snapshot = system->tree.find(id); snapshot != nullptr) {
      return {system.get(), snapshot};
    }
  }
  return {};
}

std::vector<FoundSnapshot> Registry::find_snapshot_collection(const Uuid& id) const {
  std::vector<FoundSnapshot> found;
  for (const auto& [key, system] : systems) {
    for (const Snapshot& snapshot : system->tree.snapshots) {
      if (!snapshot.is_pending() && snapshot.settings.snapshot_collection == id) {
        found.push_back({system.get(), &snapshot});
      }
    }
  }
  return found;
}

}  // namespace varve
