// What the service keeps with each image of a snapshot (SnapshotInfo::settings), so that a later
// service tells the same of it. Name, time, UUID and parent stand in the image's own fields.
//
// The encoding is bytes, numbers in big-endian: "VS", a version, then the fields in the order below
// and the notes. Texts of another version or shape are not ours: the snapshot is then another
// program's.
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <varve/service_codes.h>
#include <varve/snapshot.h>
#include <varve/uuid.h>

namespace varve {

// Names of members that are part of something unfinished (image_set.h); no snapshot has them.
inline constexpr std::string_view kPendingName = "varve: pending";
inline constexpr std::string_view kDeletingName = "varve: deleting";
inline constexpr std::string_view kUndoName = "varve: undo";
inline constexpr std::string_view kWithdrawnName = "varve: withdrawn";
[[nodiscard]] constexpr bool is_reserved_name(std::string_view name) noexcept {
  return name == kPendingName || name == kDeletingName || name == kUndoName ||
         name == kWithdrawnName;
}

struct StoredSettings {
  Uuid system;
  Uuid snapshot;             // Of the virtual system's snapshot; the images' own differ.
  Uuid collection;           // Null: not of a collection.
  Uuid snapshot_collection;  // Null with `collection`.
  Uuid first_system;         // Whose disk 0 is published last: the snapshot is there with it.
  VirtualSystemSnapshotType type = VirtualSystemSnapshotType::disk;
  EnabledState state = EnabledState::off;  // Of the system then.
  ConsistencyLevel consistency = ConsistencyLevel::unknown;
  GuestBackupType guest_backup = GuestBackupType::undefined;
  bool ignore_non_snapshottable_disks = false;
  bool holds_state = false;        // This image carries the machine state, unless it was cleared.
  std::uint16_t disk_index = 0;    // Among the snapshot's images.
  std::uint16_t disk_count = 1;    // How many images the snapshot has.
  std::uint16_t system_count = 1;  // How many systems the collection's snapshot has.
  std::vector<std::string> notes;

  friend bool operator==(const StoredSettings&, const StoredSettings&) = default;
};

// Within kSnapshotSettingsBytesMax for notes that parse_snapshot_settings lets pass.
[[nodiscard]] std::string encode_settings(const StoredSettings& settings);
[[nodiscard]] std::optional<StoredSettings> decode_settings(std::string_view bytes);

}  // namespace varve
