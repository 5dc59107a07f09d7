#include "snapshot/group_members.h"

#include <algorithm>
#include <map>

#include "base/failure.h"
#include "base/try.h"
#include "snapshot/entries.h"

namespace varve {
bool FoundGroup::has_any(SnapshotFacts::Flag flag) const noexcept {
  return std::any_of(members.begin(), members.end(),
                     [&](const FoundMember& member) { return member.facts.has(flag); });
}

Result<std::vector<Qcow2Image*>> qcow2_of_all(std::span<Image* const> images) {
  std::vector<Qcow2Image*> all;
  for (Image* image : images) {
    Qcow2Image* core = VARVE_TRY(qcow2_of(*image));
    if (std::find(all.begin(), all.end(), core) != all.end()) {
      return failure(ErrorCode::invalid_argument, "an image is in the group twice");
    }
    all.push_back(core);
  }
  if (all.empty()) {
    return failure(ErrorCode::invalid_argument, "a group has no image");
  }
  return all;
}

std::vector<FoundGroup> find_groups(const std::vector<Qcow2Image*>& images) {
  std::vector<FoundGroup> groups;
  std::map<std::array<std::uint8_t, 16>, std::size_t> known;
  for (std::size_t position = 0; position < images.size(); ++position) {
    const SnapshotTable& table = images[position]->metadata().snapshots;
    for (std::size_t index = 0; index < table.entries.size(); ++index) {
      auto facts = facts_of(table.entries[index]);
      if (facts && !facts->group.is_null()) {
        const auto [at, is_new] = known.emplace(facts->group.bytes, groups.size());
        if (is_new) {
          groups.push_back({facts->group, {}});
        }
        groups[at->second].members.push_back({position, index, std::move(*facts)});
      }
    }
  }
  for (FoundGroup& group : groups) {
    std::stable_sort(group.members.begin(), group.members.end(),
                     [](const FoundMember& a, const FoundMember& b) {
                       return a.facts.member_index < b.facts.member_index;
                     });
  }
  return groups;
}

Group describe_group(const FoundGroup& found) {
  Group group;
  group.uuid = found.uuid;
  group.is_pending = found.has_any(SnapshotFacts::kPending);
  for (const Uuid& image : found.leader().members) {
    group.members.push_back({image});
  }
  for (const FoundMember& member : found.members) {
    if (member.facts.member_index < group.members.size()) {
      GroupMember& told = group.members[member.facts.member_index];
      told.position = member.position;
      told.index = member.index;
    }
  }
  return group;
}

}  // namespace varve
