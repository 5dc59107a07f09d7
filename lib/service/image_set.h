// Snapshots of several images that are one: created, applied and deleted all or nothing, also
// across a crash. What is unfinished shows in the images themselves, by the members' names:
//
//   creation   every member but the first is published first, as kPendingName; publishing the first
//              commits; then the others get its name
//              (where the first's device failed so that its outcome is not known, the others are
//              renamed to kWithdrawnName: the creation was told to have failed)
//   deletion   every member but the first is renamed to kDeletingName; deleting the first commits;
//              then the others follow
//   apply      a set called kUndoName keeps every disk as it was; disks are reverted one by one;
//              deleting the first undo member commits, then the others follow
//
// So settle_sets finds after a crash at any moment: pending members whose first is there (they get
// its name) or not (they go), withdrawn ones whose first is there (it goes, then they), deleted
// ones whose first is there (they get their name back) or not (they go), undo members whose first
// is there (every disk goes back) or not (they go). A set that lost a member to another program
// shows no such name and is left alone.
//
// The first member of a creation or an apply is disk 0 of StoredSettings::first_system; of a
// deletion, which is of one system, that system's disk 0.
//
// Threads: the work thread. Blocking, behind guest requests; `control` says who runs the loop while
// tables are walked.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <varve/snapshot.h>

#include "service/jobs.h"
#include "service/open_disks.h"
#include "service/stored_settings.h"

namespace varve {

// A member's entry in an open image.
struct SetMember {
  OpenDisk disk;
  std::size_t index = 0;  // In list_snapshots.
  SnapshotInfo info;
  StoredSettings settings;
};

// What the caller does between the steps of a creation; empty: nothing.
struct CreationSteps {
  std::function<Result<void>()> stop;    // Everything is prepared: stop the guests.
  std::function<Result<void>()> frozen;  // Every image is frozen. Both: an error cancels.
};

// One snapshot per image, the first one's being the set's first. Publishing it cannot be cancelled:
// `control` is committed then. On error no image keeps a member, as far as the images let it.
Result<void> create_set(const std::vector<Image*>& images,
                        std::vector<SnapshotCreateOptions> options, const CreationSteps& steps,
                        WorkControl& control);

// The members of a snapshot, by UUID, in the order of their disk_index.
[[nodiscard]] Result<std::vector<SetMember>> find_members(const System& system,
                                                          const Snapshot& snapshot,
                                                          const OpenDisks& disks);

// Reverts the members' disks, the set's first member first. On error every disk is as before.
Result<void> apply_set(const std::vector<SetMember>& members, std::uint64_t calendar_nanoseconds,
                       const WorkControl& control);
// Of one system. On error before the first is deleted every member is as before.
Result<void> delete_set(const std::vector<SetMember>& members, const WorkControl& control);
// Gives every member the name, or none.
Result<void> rename_set(const std::vector<SetMember>& members, std::string_view name);

// Finishes or undoes what a crash, or a failing device, left unfinished. Sets whose first system
// has not all of its disks here are left for later. Errors: those of the calls it makes.
Result<void> settle_sets(const OpenDisks& disks, const WorkControl& control);

}  // namespace varve
