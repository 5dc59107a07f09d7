#include "snapshot/group_edit.h"

#include <algorithm>

#include "base/failure.h"
#include "base/try.h"
#include "snapshot/table_operation.h"

namespace varve {
namespace {

// The entry is found again by its UUID: tables change while an operation waits for its turn.
Result<void> set_flag(Qcow2Image& image, const Uuid& uuid, SnapshotFacts::Flag flag, bool on) {
  return edit_table(image, [&](SnapshotTable& table) -> Result<void> {
    const std::size_t index = index_of(table, uuid);
    if (index == kNoSnapshot) {
      return failure(ErrorCode::not_found, "the member of the group has been deleted");
    }
    SnapshotFacts facts = *facts_of(table.entries[index]);
    facts.set(flag, on);
    return set_facts(table.entries[index], facts);
  });
}

}  // namespace

Result<FoundGroup> find_group(const std::vector<Qcow2Image*>& images, const Uuid& group) {
  for (FoundGroup& found : find_groups(images)) {
    if (found.uuid == group) {
      return std::move(found);
    }
  }
  return failure(ErrorCode::not_found, "none of the images has a member of this group");
}

Result<void> flag_members(const std::vector<Qcow2Image*>& images, const Uuid& group,
                          SnapshotFacts::Flag flag, bool on, bool first_last) {
  FoundGroup found = VARVE_TRY(find_group(images, group));
  if (first_last) {
    std::reverse(found.members.begin(), found.members.end());
  }
  for (const FoundMember& member : found.members) {
    if (member.facts.has(flag) != on) {
      VARVE_TRY(set_flag(*images[member.position], member.facts.uuid, flag, on));
    }
  }
  return {};
}

Result<void> complete_members(const std::vector<Qcow2Image*>& images, const Uuid& group) {
  return flag_members(images, group, SnapshotFacts::kPending, false, false);
}

Result<void> remove_members(std::span<Image* const> images, const std::vector<Qcow2Image*>& cores,
                            const Uuid& group) {
  Result<void> result;
  while (result) {
    const Result<FoundGroup> found = find_group(cores, group);
    if (!found) {
      return {};
    }
    const FoundMember& last = found->members.back();
    result = delete_snapshot(*images[last.position], last.index);
  }
  return result;
}

}  // namespace varve
