// Composing snapshot tables whose entries carry facts: who becomes whose child, and which snapshot
// the disk stands on. Every operation that changes the table makes the new one here. Pure values,
// no I/O. May throw std::bad_alloc.
#pragma once

#include <optional>

#include <varve/snapshot.h>

#include "format/header.h"
#include "format/snapshot_facts.h"
#include "format/snapshot_table.h"

namespace varve {

inline constexpr std::size_t kNoSnapshot = ~std::size_t{0};

// Nothing: the entry is another program's, or its facts are not known.
[[nodiscard]] std::optional<SnapshotFacts> facts_of(const SnapshotEntry& entry);
// Replaces the entry's facts. REQUIRES: has_room_for_facts. Errors: out_of_range.
Result<void> set_facts(SnapshotEntry& entry, const SnapshotFacts& facts);
// Whether facts may be put here: the entry has them already, or nothing at all behind QEMU's
// fields. An entry without a disk size is left as it is: writing one down would be a guess.
[[nodiscard]] bool has_room_for_facts(const SnapshotEntry& entry);

// The snapshot the disk stands on, or kNoSnapshot when that is none or not known.
[[nodiscard]] std::size_t current_of(const SnapshotTable& table);
// The UUID the image goes by in its snapshots' facts; null: they tell none.
[[nodiscard]] Uuid image_uuid_in(const SnapshotTable& table);
// The same, else the one in the header, which copies of one file share until a group tells them
// apart. Null: it has none yet.
[[nodiscard]] Uuid image_uuid_of(const Header& header, const SnapshotTable& table);
// The entry with this UUID. kNoSnapshot: none, or several.
[[nodiscard]] std::size_t index_of(const SnapshotTable& table, const Uuid& uuid);

// Adds the entry; the disk stands on it from now on. `facts` brings the UUID, settings, group and
// digest; parent, image and flags of lineage are set here. Errors: out_of_range.
Result<void> append_snapshot(SnapshotTable& table, SnapshotEntry entry, SnapshotFacts facts);
// The disk stands on this one. A snapshot of another program gets facts for it, where there is
// room. Errors: out_of_range.
Result<void> make_current(SnapshotTable& table, std::size_t index);
// The same by an apply, which is remembered whatever is created afterwards; an intent to apply is
// fulfilled.
Result<void> make_applied(SnapshotTable& table, std::size_t index);
// Removes the entry; its children become its parent's. Errors: out_of_range.
Result<void> erase_snapshot(SnapshotTable& table, std::size_t index);

// An entry as the caller's options and the image's present describe it, and its facts. The UUID is
// made when the options bring none.
struct NewSnapshot {
  SnapshotEntry entry;
  SnapshotFacts facts;
};
[[nodiscard]] NewSnapshot describe_new(const SnapshotTable& table,
                                       const SnapshotCreateOptions& options);

// A member of a group snapshot: published as pending.
struct GroupPlace {
  Uuid group;
  std::vector<Uuid> members;  // The images, this one's UUID among them ...
  std::uint16_t index = 0;    // ... here.
};
void join_group(const GroupPlace& place, SnapshotFacts& facts);

[[nodiscard]] SnapshotInfo info_of(const SnapshotEntry& entry);

}  // namespace varve
