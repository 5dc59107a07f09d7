#include "service/image_set.h"

#include <algorithm>

#include <varve/snapshot_operation.h>

#include "base/failure.h"
#include "base/try.h"
#include "service/clock.h"

namespace varve {
namespace {

// The member's place now: other members' changes of the same image move it.
Result<std::size_t> find_now(const SetMember& member) {
  const std::vector<SnapshotInfo> infos = VARVE_TRY(list_snapshots(*member.disk.image));
  for (std::size_t i = 0; i < infos.size(); ++i) {
    if (infos[i].uuid == member.info.uuid) {
      return i;
    }
  }
  return failure(ErrorCode::not_found, "a snapshot's entry is gone");
}

Result<void> rename_member(const SetMember& member, std::string_view name) {
  const std::size_t index = VARVE_TRY(find_now(member));
  return rename_snapshot(*member.disk.image, index, name);
}

// A poisoned image does not know what its file holds.
bool is_poisoned(Image& image) noexcept {
  const Result<void> flushed = image.flush();
  return !flushed && flushed.error().code == ErrorCode::poisoned;
}

// Of applying or deleting. What fails once the change is there and durable costs space at most.
Result<void> wait_for(const SnapshotOperation& operation, Image& image,
                      const WorkControl& control) {
  while (!operation.is_done()) {
    control.wait(image.engine());
  }
  const bool is_visible = operation.times().usable_nanoseconds != 0;
  return is_visible && !is_poisoned(image) ? Result<void>() : operation.result();
}

Result<void> delete_member(const SetMember& member, const WorkControl& control) {
  const std::size_t index = VARVE_TRY(find_now(member));
  const auto operation = VARVE_TRY(start_delete(*member.disk.image, index));
  return wait_for(*operation, *member.disk.image, control);
}

Result<void> apply_member(const SetMember& member, const WorkControl& control) {
  const std::size_t index = VARVE_TRY(find_now(member));
  const auto operation = VARVE_TRY(start_apply(*member.disk.image, index));
  return wait_for(*operation, *member.disk.image, control);
}

// Goes on after a failure: what fails is left for settling.
template <class Action>
Result<void> for_each_member(const std::vector<SetMember>& members, std::size_t first,
                             Action&& action) {
  Result<void> worst;
  for (std::size_t i = first; i < members.size(); ++i) {
    const Result<void> done = action(members[i]);
    if (!done && worst) {
      worst = done;
    }
  }
  return worst;
}

// All but the first.
Result<void> delete_others(const std::vector<SetMember>& members, const WorkControl& control) {
  return for_each_member(members, 1,
                         [&](const SetMember& member) { return delete_member(member, control); });
}

// --- the undo log of an apply

// A snapshot of every disk as it is now, in the members' order.
Result<std::vector<SetMember>> make_undo_set(const std::vector<SetMember>& members,
                                             std::uint64_t calendar_nanoseconds,
                                             const WorkControl& control) {
  std::vector<Image*> images;
  std::vector<SnapshotCreateOptions> options;
  std::vector<SetMember> undo;
  const Uuid set = Uuid::make_random();
  for (const SetMember& member : members) {
    SetMember each = member;
    each.settings.snapshot = set;
    each.settings.snapshot_collection = {};
    each.settings.collection = {};
    each.settings.first_system = members.front().settings.system;
    each.settings.notes.clear();
    each.info.uuid = Uuid::make_random();
    SnapshotCreateOptions& one = options.emplace_back();
    one.name = kUndoName;
    one.uuid = each.info.uuid;
    one.date_seconds = static_cast<std::uint32_t>(calendar_nanoseconds / kNanosecondsPerSecond);
    one.settings = encode_settings(each.settings);
    images.push_back(member.disk.image);
    undo.push_back(std::move(each));
  }
  WorkControl unstoppable;
  unstoppable.set_turn(control.turn());
  VARVE_TRY(create_set(images, std::move(options), {}, unstoppable));
  return undo;
}

// Every disk back to where the undo set was made; the first goes last, so that a crash repeats it.
Result<void> roll_back(const std::vector<SetMember>& undo, const WorkControl& control) {
  const auto apply = [&](const SetMember& member) { return apply_member(member, control); };
  VARVE_TRY(for_each_member(undo, 0, apply));
  VARVE_TRY(delete_others(undo, control));
  return delete_member(undo.front(), control);
}

// --- settling

Result<std::vector<SetMember>> all_members(const OpenDisks& disks) {
  std::vector<SetMember> members;
  for (const OpenDisk& disk : disks.all()) {
    const std::vector<SnapshotInfo> infos = VARVE_TRY(list_snapshots(*disk.image));
    for (std::size_t i = 0; i < infos.size(); ++i) {
      const auto settings = decode_settings(infos[i].settings);
      if (settings && settings->system == disk.system->id()) {
        members.push_back({disk, i, infos[i], *settings});
      }
    }
  }
  return members;
}

Uuid set_of(const StoredSettings& settings) noexcept {
  return settings.snapshot_collection.is_null() ? settings.snapshot : settings.snapshot_collection;
}

// The first member of what `member` is an unfinished part of; null: it is not there.
const SetMember* find_first(const std::vector<SetMember>& members, const SetMember& member) {
  const bool is_deletion = member.info.name == kDeletingName;
  const auto found = std::ranges::find_if(members, [&](const SetMember& other) {
    const bool is_of_set = is_deletion ? other.settings.snapshot == member.settings.snapshot
                                       : set_of(other.settings) == set_of(member.settings);
    const Uuid& system = is_deletion ? member.settings.system : member.settings.first_system;
    return is_of_set && other.settings.disk_index == 0 && other.settings.system == system;
  });
  return found == members.end() ? nullptr : &*found;
}

// Whether everything is here, and to be trusted, that could hold the first member.
bool can_decide(const SetMember& member, const OpenDisks& disks) {
  const Uuid& wanted =
      member.info.name == kDeletingName ? member.settings.system : member.settings.first_system;
  std::ptrdiff_t count = 0;
  std::ptrdiff_t needed = 1;
  for (const OpenDisk& disk : disks.all()) {
    if (disk.system->id() == wanted) {
      needed = std::ranges::count(disk.system->disks, true, &Disk::is_snapshottable);
      count += is_poisoned(*disk.image) ? 0 : 1;
    }
  }
  return count == needed;
}

Result<void> settle_one(const std::vector<SetMember>& members, const SetMember& member,
                        const WorkControl& control) {
  const SetMember* first = find_first(members, member);
  if (first == nullptr) {
    return delete_member(member, control);
  }
  if (member.info.name == kWithdrawnName) {
    return delete_member(*first, control);
  }
  if (member.info.name != kUndoName) {
    return rename_member(member, first->info.name);
  }
  std::vector<SetMember> undo{*first};
  for (const SetMember& other : members) {
    if (set_of(other.settings) == set_of(first->settings) && &other != first) {
      undo.push_back(other);
    }
  }
  return roll_back(undo, control);
}

}  // namespace

Result<std::vector<SetMember>> find_members(const System& system, const Snapshot& snapshot,
                                            const OpenDisks& disks) {
  std::vector<SetMember> found;
  for (const OpenDisk& disk : disks.of(system)) {
    const std::vector<SnapshotInfo> infos = VARVE_TRY(list_snapshots(*disk.image));
    for (std::size_t i = 0; i < infos.size(); ++i) {
      const auto settings = decode_settings(infos[i].settings);
      if (settings && settings->snapshot == snapshot.id && settings->system == system.id()) {
        found.push_back({disk, i, infos[i], *settings});
      }
    }
  }
  std::ranges::stable_sort(found, {},
                           [](const SetMember& member) { return member.settings.disk_index; });
  return found;
}

Result<void> apply_set(const std::vector<SetMember>& members, std::uint64_t calendar_nanoseconds,
                       const WorkControl& control) {
  if (members.size() == 1) {
    return apply_member(members.front(), control);
  }
  const std::vector<SetMember> undo =
      VARVE_TRY(make_undo_set(members, calendar_nanoseconds, control));
  for (const SetMember& member : members) {
    const Result<void> applied = apply_member(member, control);
    if (!applied) {
      static_cast<void>(roll_back(undo, control));  // Else settling does.
      return applied;
    }
  }
  const Result<void> committed = delete_member(undo.front(), control);
  if (!committed) {
    // Where its outcome is not known, settling finds it and decides.
    if (!is_poisoned(*undo.front().disk.image)) {
      static_cast<void>(roll_back(undo, control));
    }
    return committed;
  }
  static_cast<void>(delete_others(undo, control));
  return {};
}

Result<void> delete_set(const std::vector<SetMember>& members, const WorkControl& control) {
  const auto mark = [](const SetMember& member) { return rename_member(member, kDeletingName); };
  const auto unmark = [](const SetMember& member) {
    return rename_member(member, member.info.name);
  };
  Result<void> result = for_each_member(members, 1, mark);
  if (result) {
    result = delete_member(members.front(), control);
  }
  if (!result) {
    // As above: the first member decides.
    if (!is_poisoned(*members.front().disk.image)) {
      static_cast<void>(for_each_member(members, 1, unmark));
    }
    return result;
  }
  // The snapshot is gone; what is left of it is hidden, and settling finds it.
  static_cast<void>(delete_others(members, control));
  return {};
}

Result<void> rename_set(const std::vector<SetMember>& members, std::string_view name) {
  const Result<void> result = for_each_member(
      members, 0, [&](const SetMember& member) { return rename_member(member, name); });
  if (!result) {
    static_cast<void>(for_each_member(members, 0, [](const SetMember& member) {
      return rename_member(member, member.info.name);
    }));
  }
  return result;
}

Result<void> settle_sets(const OpenDisks& disks, const WorkControl& control) {
  while (true) {
    const std::vector<SetMember> members = VARVE_TRY(all_members(disks));
    // Withdrawn ones first: the undo log of an apply that was withdrawn must not be played.
    const auto find = [&](bool is_withdrawn) {
      return std::ranges::find_if(members, [&](const SetMember& member) {
        return is_reserved_name(member.info.name) &&
               (member.info.name == kWithdrawnName) == is_withdrawn && can_decide(member, disks);
      });
    };
    auto unfinished = find(true);
    if (unfinished == members.end()) {
      unfinished = find(false);
    }
    if (unfinished == members.end()) {
      return {};
    }
    VARVE_TRY(settle_one(members, *unfinished, control));
  }
}

}  // namespace varve
