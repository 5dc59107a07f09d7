// Applying and deleting a group: the intent is recorded in every member, the first one last; then
// each image switches, the first one last; then each gives back what it had. So after a crash the
// first member that is there tells: with the intent everything goes on, without it nothing had
// begun.
#include <algorithm>
#include <new>
#include <utility>

#include <varve/snapshot_operation.h>

#include "base/failure.h"
#include "base/try.h"
#include "snapshot/group_edit.h"

namespace varve {
namespace {

Result<void> perform(std::span<Image* const> images, FoundGroup group, SnapshotFacts::Flag intent) {
  std::reverse(group.members.begin(), group.members.end());
  OperationOptions stepwise;
  stepwise.stepwise = true;
  std::vector<std::unique_ptr<SnapshotOperation>> operations;
  for (const FoundMember& member : group.members) {
    if (!member.facts.has(intent)) {
      continue;
    }
    Image& image = *images[member.position];
    auto started = intent == SnapshotFacts::kApplying ? start_apply(image, member.index, stepwise)
                                                      : start_delete(image, member.index, stepwise);
    operations.push_back(VARVE_TRY(std::move(started)));
    VARVE_TRY(operations.back()->wait_for(SnapshotPhase::reclaiming));
  }
  // Every image has switched.
  Result<void> result;
  for (const auto& operation : operations) {
    static_cast<void>(operation->publish());
  }
  for (const auto& operation : operations) {
    const Result<void> done = operation->wait();
    result = result ? done : result;
  }
  return result;
}

Result<void> change(std::span<Image* const> images, const Uuid& uuid,
                    SnapshotFacts::Flag intent) noexcept {
  try {
    const auto cores = VARVE_TRY(qcow2_of_all(images));
    const FoundGroup found = VARVE_TRY(find_group(cores, uuid));
    if (found.has_any(SnapshotFacts::kPending) || found.has_any(SnapshotFacts::kApplying) ||
        found.has_any(SnapshotFacts::kDeleting)) {
      return failure(ErrorCode::busy, "the group is not settled");
    }
    VARVE_TRY(flag_members(cores, uuid, intent, true, true));
    FoundGroup meant = VARVE_TRY(find_group(cores, uuid));
    return perform(images, std::move(meant), intent);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a group operation");
  }
}

class Settling {
 public:
  Settling(std::span<Image* const> images, const std::vector<Qcow2Image*>& cores)
      : images_(images), cores_(cores) {}

  GroupSettlement result;

  Result<void> settle(const FoundGroup& group) {
    for (const SnapshotFacts::Flag intent : {SnapshotFacts::kApplying, SnapshotFacts::kDeleting}) {
      if (group.has_any(intent)) {
        note_missing(group);
        if (!group.leader().has(intent)) {
          return flag_members(cores_, group.uuid, intent, false, false);
        }
        result.completed.push_back(group.uuid);
        return perform(images_, group, intent);
      }
    }
    return group.has_any(SnapshotFacts::kPending) ? settle_creation(group) : Result<void>();
  }

 private:
  Result<void> settle_creation(const FoundGroup& group) {
    if (!group.has_first() && !may_have_been_deleted(group)) {
      result.undecided.push_back(group.uuid);
      return {};
    }
    note_missing(group);
    if (group.has_first() && group.leader().has(SnapshotFacts::kPending)) {
      result.removed.push_back(group.uuid);
      return remove_members(images_, cores_, group.uuid);
    }
    // The first was there before any other: where it is missing somebody deleted it, which costs
    // the others nothing.
    result.completed.push_back(group.uuid);
    return complete_members(cores_, group.uuid);
  }

  // The first member's image is given, as far as can be known: by its UUID, or because an image
  // has no facts left that would tell its UUID.
  [[nodiscard]] bool may_have_been_deleted(const FoundGroup& group) const {
    const Uuid& first = group.leader().members.front();
    for (const Qcow2Image* core : cores_) {
      const Uuid uuid = image_uuid_in(core->metadata().snapshots);
      if (uuid.is_null() || uuid == first) {
        return true;
      }
    }
    return false;
  }

  void note_missing(const FoundGroup& group) {
    for (const GroupMember& member : describe_group(group).members) {
      if (member.position == GroupMember::kMissing) {
        result.missing.push_back(member);
      }
    }
  }

  std::span<Image* const> images_;
  const std::vector<Qcow2Image*>& cores_;
};

}  // namespace

Result<std::vector<Group>> list_groups(std::span<Image* const> images) noexcept {
  try {
    const auto cores = VARVE_TRY(qcow2_of_all(images));
    std::vector<Group> list;
    for (const FoundGroup& group : find_groups(cores)) {
      list.push_back(describe_group(group));
    }
    return list;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot list the groups");
  }
}

Result<void> apply_group_snapshot(std::span<Image* const> images, const Uuid& group) noexcept {
  return change(images, group, SnapshotFacts::kApplying);
}

Result<void> delete_group_snapshot(std::span<Image* const> images, const Uuid& group) noexcept {
  return change(images, group, SnapshotFacts::kDeleting);
}

Result<GroupSettlement> settle_group(std::span<Image* const> images) noexcept {
  try {
    const auto cores = VARVE_TRY(qcow2_of_all(images));
    Settling settling(images, cores);
    // Settling one group moves the others' entries: look again after each.
    std::vector<Uuid> uuids;
    for (const FoundGroup& group : find_groups(cores)) {
      uuids.push_back(group.uuid);
    }
    for (const Uuid& uuid : uuids) {
      const FoundGroup group = VARVE_TRY(find_group(cores, uuid));
      VARVE_TRY(settling.settle(group));
    }
    return settling.result;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot settle the groups");
  }
}

}  // namespace varve
