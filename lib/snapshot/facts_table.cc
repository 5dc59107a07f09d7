#include "snapshot/facts_table.h"

#include <algorithm>

#include "base/hash.h"
#include "base/try.h"

namespace varve {
namespace {

void add_big_endian(std::vector<std::byte>& bytes, std::uint64_t value) {
  bytes.resize(bytes.size() + sizeof(value));
  store_be(Bytes(bytes), bytes.size() - sizeof(value), value);
}

// Names the entries of other programs: when they change, somebody took or removed a snapshot
// without moving the mark.
std::uint64_t witness_of(const SnapshotTable& table) {
  std::vector<std::byte> bytes;
  for (const SnapshotEntry& entry : table.entries) {
    if (!facts_of(entry)) {
      const ConstBytes id = std::as_bytes(std::span(entry.id));
      add_big_endian(bytes, id.size());
      bytes.insert(bytes.end(), id.begin(), id.end());
      add_big_endian(bytes, std::uint64_t{entry.date_seconds} << 32 | entry.date_nanoseconds);
    }
  }
  const Hash128 hash = hash128(bytes);
  return load_be<std::uint64_t>(std::as_bytes(std::span(hash)), 0);
}

// The entry, when it has facts, and no other has the flag from now on.
Result<void> move_flag(SnapshotTable& table, std::size_t index, SnapshotFacts::Flag flag,
                       std::uint64_t witness) {
  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    auto facts = facts_of(table.entries[i]);
    if (facts && (i == index || facts->has(flag))) {
      facts->set(flag, i == index);
      if (flag == SnapshotFacts::kCurrent) {
        facts->witness = i == index ? witness : 0;
      }
      VARVE_TRY(set_facts(table.entries[i], *facts));
    }
  }
  return {};
}

}  // namespace

std::optional<SnapshotFacts> facts_of(const SnapshotEntry& entry) {
  return SnapshotFacts::decode(entry.unknown_extra);
}

Result<void> set_facts(SnapshotEntry& entry, const SnapshotFacts& facts) {
  VARVE_ASSERT(has_room_for_facts(entry));
  entry.unknown_extra = VARVE_TRY(facts.encode());
  return {};
}

bool has_room_for_facts(const SnapshotEntry& entry) {
  return entry.has_disk_size && (entry.unknown_extra.empty() || facts_of(entry).has_value());
}

std::size_t current_of(const SnapshotTable& table) {
  std::size_t current = kNoSnapshot;
  std::uint64_t witness = 0;
  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    const auto facts = facts_of(table.entries[i]);
    if (facts && facts->has(SnapshotFacts::kCurrent)) {
      if (current != kNoSnapshot) {
        return kNoSnapshot;
      }
      current = i;
      witness = facts->witness;
    }
  }
  return current != kNoSnapshot && witness == witness_of(table) ? current : kNoSnapshot;
}

Uuid image_uuid_in(const SnapshotTable& table) {
  for (const SnapshotEntry& entry : table.entries) {
    const auto facts = facts_of(entry);
    if (facts && !facts->image.is_null()) {
      return facts->image;
    }
  }
  return {};
}

Uuid image_uuid_of(const Header& header, const SnapshotTable& table) {
  const Uuid told = image_uuid_in(table);
  return told.is_null() ? header.image_uuid() : told;
}

std::size_t index_of(const SnapshotTable& table, const Uuid& uuid) {
  std::size_t found = kNoSnapshot;
  for (std::size_t i = 0; i < table.entries.size() && !uuid.is_null(); ++i) {
    const auto facts = facts_of(table.entries[i]);
    if (facts && facts->uuid == uuid) {
      if (found != kNoSnapshot) {
        return kNoSnapshot;
      }
      found = i;
    }
  }
  return found;
}

Result<void> append_snapshot(SnapshotTable& table, SnapshotEntry entry, SnapshotFacts facts) {
  const std::size_t current = current_of(table);
  // Without snapshots, the disk stands on none for certain.
  facts.set(SnapshotFacts::kParentKnown, current != kNoSnapshot || table.entries.empty());
  if (current != kNoSnapshot) {
    facts.parent = facts_of(table.entries[current])->uuid;
  }
  if (facts.image.is_null()) {
    facts.image = Uuid::make_random();
  }
  VARVE_TRY(set_facts(entry, facts));
  table.entries.push_back(std::move(entry));
  return make_current(table, table.entries.size() - 1);
}

Result<void> make_current(SnapshotTable& table, std::size_t index) {
  SnapshotEntry& chosen = table.entries[index];
  const bool is_markable = has_room_for_facts(chosen);
  if (is_markable && !facts_of(chosen)) {
    SnapshotFacts adopted;
    adopted.uuid = Uuid::make_random();
    adopted.image = image_uuid_in(table);
    VARVE_TRY(set_facts(chosen, adopted));
  }
  const std::uint64_t witness = witness_of(table);
  return move_flag(table, is_markable ? index : kNoSnapshot, SnapshotFacts::kCurrent, witness);
}

Result<void> make_applied(SnapshotTable& table, std::size_t index) {
  VARVE_TRY(make_current(table, index));
  VARVE_TRY(move_flag(table, index, SnapshotFacts::kApplied, 0));
  auto facts = facts_of(table.entries[index]);
  if (!facts) {
    return {};
  }
  facts->set(SnapshotFacts::kApplying, false);
  return set_facts(table.entries[index], *facts);
}

Result<void> erase_snapshot(SnapshotTable& table, std::size_t index) {
  std::size_t current = current_of(table);
  const auto erased = facts_of(table.entries[index]);
  table.entries.erase(table.entries.begin() + static_cast<std::ptrdiff_t>(index));
  if (erased && !erased->uuid.is_null()) {
    for (SnapshotEntry& entry : table.entries) {
      auto facts = facts_of(entry);
      if (facts && facts->parent == erased->uuid) {
        facts->parent = erased->parent;
        facts->set(SnapshotFacts::kParentKnown, erased->has(SnapshotFacts::kParentKnown));
        VARVE_TRY(set_facts(entry, *facts));
      }
    }
  }
  if (current == index) {
    current = index_of(table, erased->parent);
  } else if (current != kNoSnapshot && current > index) {
    --current;
  }
  return current == kNoSnapshot ? Result<void>() : make_current(table, current);
}

NewSnapshot describe_new(const SnapshotTable& table, const SnapshotCreateOptions& options) {
  NewSnapshot made;
  made.entry.id = table.next_id();
  made.entry.name = options.name.empty() ? made.entry.id : options.name;
  made.entry.date_seconds = options.date_seconds;
  made.entry.date_nanoseconds = options.date_nanoseconds;
  made.entry.vm_clock_nanoseconds = options.vm_clock_nanoseconds;
  made.entry.icount = options.icount;
  made.facts.uuid = options.uuid.is_null() ? Uuid::make_random() : options.uuid;
  made.facts.settings = options.settings;
  return made;
}

void join_group(const GroupPlace& place, SnapshotFacts& facts) {
  facts.group = place.group;
  facts.members = place.members;
  facts.member_index = place.index;
  facts.image = place.members[place.index];
  facts.set(SnapshotFacts::kPending, true);
}

SnapshotInfo info_of(const SnapshotEntry& entry) {
  SnapshotInfo info;
  info.id = entry.id;
  info.name = entry.name;
  info.disk_size = entry.disk_size;
  info.vm_state_size = entry.vm_state_bytes;
  info.date_seconds = entry.date_seconds;
  info.date_nanoseconds = entry.date_nanoseconds;
  info.vm_clock_nanoseconds = entry.vm_clock_nanoseconds;
  info.icount = entry.icount;
  if (const auto facts = facts_of(entry)) {
    info.uuid = facts->uuid;
    info.parent = facts->parent;
    info.group = facts->group;
    info.pending = facts->has(SnapshotFacts::kPending);
    info.settings = facts->settings;
    info.has_state_digest = facts->has(SnapshotFacts::kHasStateDigest);
    info.state_digest = facts->state_digest;
  }
  return info;
}

}  // namespace varve
