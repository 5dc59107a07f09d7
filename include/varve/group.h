// Group snapshots: several images of one machine, taken, applied and deleted together.
//
// All or nothing, also across a crash. Members are published as `pending`; one write in the first
// image commits the group. Opening a group again calls settle_group, which finishes or undoes what
// a crash interrupted. A member opened alone says what is pending (SnapshotInfo::pending) and
// changes nothing. Members know each other by the images' UUIDs, kept in the snapshots' entries.
//
// Threads: all images belong to the calling thread; they may have engines of their own. Calls are
// blocking and work beside guest I/O submitted from elsewhere in the loop.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <varve/image.h>
#include <varve/result.h>
#include <varve/snapshot.h>
#include <varve/uuid.h>

namespace varve {

struct GroupCreated {
  Uuid group;
  std::vector<SnapshotCreated> members;  // In the order of the images.
  std::uint64_t pause_nanoseconds = 0;   // From the first freeze to the last.
};

// What the caller does between the steps of a creation: stop the guest, save its state.
struct GroupSteps {
  void* owner = nullptr;
  // Everything is prepared: stop the guest. An error cancels the creation.
  Result<void> (*stop)(void* owner) = nullptr;
  // Every image is frozen: the guest may go on.
  void (*resume)(void* owner) = nullptr;
  // Before the first image is published: the state, where options name one, must be finished by the
  // end of this call. An error cancels the creation.
  Result<void> (*save)(void* owner) = nullptr;
};

// Takes one snapshot of each image; the state goes with the first. `options.uuid` is the first
// member's. Errors: those of create_snapshot and of the steps; invalid_argument (no image, or one
// twice); out_of_range (more members than an entry names beside the settings: at least 7). On error
// no image keeps a member, except after a failure of the device itself: settle_group then.
[[nodiscard]] Result<GroupCreated> create_group_snapshot(std::span<Image* const> images,
                                                         const SnapshotCreateOptions& options,
                                                         const GroupSteps& steps = {}) noexcept;

// One member of a group, as found.
struct GroupMember {
  static constexpr std::size_t kMissing = ~std::size_t{0};
  Uuid image;                       // The image's UUID as the group remembers it.
  std::size_t position = kMissing;  // Which of the images given has it ...
  std::size_t index = kMissing;     // ... and where in that image's list of snapshots.
};
struct Group {
  Uuid uuid;
  bool is_pending = false;           // A creation that is not committed, or not completed.
  std::vector<GroupMember> members;  // The committing one first. Missing: deleted elsewhere, or its
                                     // image is not among those given.
};
// The groups that have members in these images. No I/O.
[[nodiscard]] Result<std::vector<Group>> list_groups(std::span<Image* const> images) noexcept;

// Apply and delete work on the members that are there; missing ones cost the others nothing. The
// intent is recorded in every image first, so that a crash is rolled forward by settle_group.
// Errors: not_found (no member in any of the images), busy (the group is pending: settle first),
// and those of apply_snapshot and delete_snapshot.
Result<void> apply_group_snapshot(std::span<Image* const> images, const Uuid& group) noexcept;
Result<void> delete_group_snapshot(std::span<Image* const> images, const Uuid& group) noexcept;

struct GroupSettlement {
  std::vector<Uuid> completed;       // Committed or begun before the crash: now whole.
  std::vector<Uuid> removed;         // Not committed: their pending members are gone.
  std::vector<Uuid> undecided;       // The committing image is not among those given: left alone.
  std::vector<GroupMember> missing;  // Of the groups settled: members that nobody has.
};
// Finishes what a crash left between these images. Give all images of the machine; no guest I/O may
// be in flight. Calling it again changes nothing. Errors: those of delete_snapshot and
// apply_snapshot; what was settled before stays settled.
[[nodiscard]] Result<GroupSettlement> settle_group(std::span<Image* const> images) noexcept;

}  // namespace varve
