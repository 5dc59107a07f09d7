#include "service/registry.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace varve {

namespace {

template <class Snapshots>
auto* find_published(Snapshots& snapshots, const Uuid& id) noexcept {
  const auto found = std::ranges::find(snapshots, id, &Snapshot::id);
  return found == snapshots.end() || found->is_pending() ? nullptr : &*found;
}

}  // namespace

const Snapshot* SnapshotTree::find(const Uuid& id) const noexcept {
  return find_published(snapshots, id);
}

Snapshot* SnapshotTree::find(const Uuid& id) noexcept {
  return find_published(snapshots, id);
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

void SnapshotTree::add(Snapshot&& snapshot) noexcept {
  VARVE_ASSERT(snapshots.size() < snapshots.capacity());
  snapshot.parent = std::exchange(most_current, snapshot.id);
  const auto place = std::ranges::upper_bound(snapshots, snapshot.creation_nanoseconds, {},
                                              &Snapshot::creation_nanoseconds);
  snapshots.insert(place, std::move(snapshot));
}

void SnapshotTree::remove(const Uuid& id) noexcept {
  const auto found = std::ranges::find(snapshots, id, &Snapshot::id);
  if (found == snapshots.end()) {
    return;
  }
  const Uuid parent = found->parent;
  snapshots.erase(found);
  for (Snapshot& each : snapshots) {
    each.parent = each.parent == id ? parent : each.parent;
  }
  most_current = most_current == id ? parent : most_current;
  last_applied = last_applied == id ? Uuid() : last_applied;
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
