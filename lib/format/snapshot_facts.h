// What Varve keeps with a snapshot in the extra data of its entry, behind the fields QEMU knows.
// QEMU preserves these bytes for entries it keeps. A record that is not exactly of this version and
// shape is nobody's business: it is preserved and its facts are not known.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <varve/uuid.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "format/fields.h"
#include "format/snapshot_table.h"

namespace varve {

// The record's head as it stands on disk; the members' UUIDs and the settings follow.
struct RawSnapshotFacts {
  be32 magic;
  be16 version;
  be16 length;  // Of the whole record: all of the extra data behind QEMU's fields.
  be32 flags;
  be16 settings_bytes;
  be16 member_count;
  be16 member_index;
  be16 reserved0;  // Zero.
  be32 reserved1;  // Zero.
  be64 witness;
  std::array<std::uint8_t, 16> uuid;
  std::array<std::uint8_t, 16> parent;
  std::array<std::uint8_t, 16> image;
  std::array<std::uint8_t, 16> group;
  std::array<std::uint8_t, 16> state_digest;
};
inline constexpr std::array kSnapshotFactsFields = {
    VARVE_FIELD(RawSnapshotFacts, magic),          VARVE_FIELD(RawSnapshotFacts, version),
    VARVE_FIELD(RawSnapshotFacts, length),         VARVE_FIELD(RawSnapshotFacts, flags),
    VARVE_FIELD(RawSnapshotFacts, settings_bytes), VARVE_FIELD(RawSnapshotFacts, member_count),
    VARVE_FIELD(RawSnapshotFacts, member_index),   VARVE_FIELD(RawSnapshotFacts, reserved0),
    VARVE_FIELD(RawSnapshotFacts, reserved1),      VARVE_FIELD(RawSnapshotFacts, witness),
    VARVE_FIELD(RawSnapshotFacts, uuid),           VARVE_FIELD(RawSnapshotFacts, parent),
    VARVE_FIELD(RawSnapshotFacts, image),          VARVE_FIELD(RawSnapshotFacts, group),
    VARVE_FIELD(RawSnapshotFacts, state_digest),
};
static_assert(sizeof(RawSnapshotFacts) == 112);
static_assert(fields_tile(kSnapshotFactsFields, sizeof(RawSnapshotFacts)));

struct SnapshotFacts {
  static constexpr std::uint32_t kMagic = 0x56614661;  // "VaFa".
  static constexpr std::uint16_t kVersion = 1;
  // Extra data is 1,024 bytes at most (QEMU refuses more), the first 24 are QEMU's.
  static constexpr std::size_t kBytesMax = kSnapshotExtraBytesMax - sizeof(RawSnapshotExtra);
  static constexpr std::size_t kSettingsBytesMax = 768;

  enum Flag : std::uint32_t {
    kPending = 1,         // Of a group that is not committed.
    kCurrent = 2,         // The disk stands on this snapshot: created or applied last.
    kHasStateDigest = 4,  // The machine state has sums behind it.
    kParentKnown = 8,     // Made by Varve: a null parent means "none".
    kApplying = 16,       // A group apply is under way ...
    kDeleting = 32,       // ... or a group delete.
    kApplied = 64,        // Applied last, whatever was created since.
  };
  static constexpr std::uint32_t kKnownFlags =
      kPending | kCurrent | kHasStateDigest | kParentKnown | kApplying | kDeleting | kApplied;

  std::uint32_t flags = 0;
  std::uint64_t witness = 0;  // With kCurrent: of the entries without facts then (see lineage).
  Uuid uuid;
  Uuid parent;
  Uuid image;  // The image it was made in.
  Uuid group;
  Hash128 state_digest{};
  std::uint16_t member_index = 0;  // Place in `members`.
  std::vector<Uuid> members;       // The images of the group, the committing one first.
  std::string settings;

  [[nodiscard]] bool has(Flag flag) const noexcept { return (flags & flag) != 0; }
  void set(Flag flag, bool on) noexcept { flags = on ? flags | flag : flags & ~flag; }

  // `bytes` is an entry's extra data behind QEMU's fields. Nothing: not known.
  [[nodiscard]] static std::optional<SnapshotFacts> decode(ConstBytes bytes);
  [[nodiscard]] std::size_t encoded_bytes() const noexcept {
    return sizeof(RawSnapshotFacts) + members.size() * sizeof(Uuid) + settings.size();
  }
  // Errors: out_of_range (more than kBytesMax, settings too long).
  [[nodiscard]] Result<std::vector<std::byte>> encode() const;
};

}  // namespace varve
