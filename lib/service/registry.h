// What the service knows: systems with their disks and snapshots, and collections.
//
// Threads: guarded by the core's mutex. A system's definition and its disks' definitions never
// change, so the work that uses the system reads them without it.
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <varve/service.h>

#include "service/stored_settings.h"

namespace varve {

struct UuidLess {
  bool operator()(const Uuid& a, const Uuid& b) const noexcept { return a.bytes < b.bytes; }
};

struct Disk {
  DiskDefinition definition;
  bool is_snapshottable = false;  // A writable qcow2 image that can have snapshots.
};

// One system's snapshot: an entry in some or all of its disks.
struct Snapshot {
  struct Member {
    std::size_t disk = 0;  // Of the system.
    std::uint64_t state_bytes = 0;
  };
  Uuid id;
  Uuid parent;  // Null: none.
  std::string element_name;
  std::uint64_t creation_nanoseconds = 0;  // Unix time.
  StoredSettings settings;
  std::vector<Member> members;    // In the order of the system's disks.
  bool shows_unfinished = false;  // A member has a reserved name ...
  bool is_first_named = false;    // ... but not the one with disk_index 0, which decides.

  // It does not exist yet, or no longer.
  [[nodiscard]] bool is_pending() const noexcept { return shows_unfinished && !is_first_named; }
  [[nodiscard]] bool is_whole() const noexcept { return members.size() == settings.disk_count; }
  [[nodiscard]] std::uint64_t state_bytes() const noexcept {
    std::uint64_t bytes = 0;
    for (const Member& member : members) {
      bytes += member.state_bytes;
    }
    return bytes;
  }
};

// The snapshots of one system, as its images tell them.
struct SnapshotTree {
  std::vector<Snapshot> snapshots;  // By the order of creation.
  Uuid most_current;                // Null: none, or not known.
  Uuid last_applied;

  [[nodiscard]] const Snapshot* find(const Uuid& id) const noexcept;
  [[nodiscard]] Snapshot* find(const Uuid& id) noexcept;
  // The snapshot and all below it, children before their parents.
  [[nodiscard]] std::vector<const Snapshot*> branch(const Uuid& id) const;

  // What creating and destroying do to the tree. `add` needs room for one more.
  void add(Snapshot&& snapshot) noexcept;
  void remove(const Uuid& id) noexcept;
};

struct System {
  SystemDefinition definition;
  std::vector<Disk> disks;
  SnapshotTree tree;
  bool is_in_use = false;  // By a job or a synchronous method.

  [[nodiscard]] const Uuid& id() const noexcept { return definition.id; }
  [[nodiscard]] EnabledState enabled_state() const {
    return definition.enabled_state ? definition.enabled_state() : EnabledState::off;
  }
};

struct Collection {
  Uuid id;
  std::string element_name;
  std::vector<Uuid> members;  // Systems and collections.
};

// A snapshot and the system it is of.
struct FoundSnapshot {
  System* system = nullptr;
  const Snapshot* snapshot = nullptr;
  explicit operator bool() const noexcept { return snapshot != nullptr; }
};

class Registry {
 public:
  // In the order of their GUIDs.
  std::map<Uuid, std::unique_ptr<System>, UuidLess> systems;
  std::map<Uuid, Collection, UuidLess> collections;

  [[nodiscard]] System* find_system(const Uuid& id) const noexcept;
  [[nodiscard]] FoundSnapshot find_snapshot(const Uuid& id) const noexcept;
  // The systems' snapshots that make up a collection's.
  [[nodiscard]] std::vector<FoundSnapshot> find_snapshot_collection(const Uuid& id) const;
};

}  // namespace varve
