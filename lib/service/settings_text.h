// SnapshotSettings: what the text given to CreateSnapshot asks for, judged by the class it is of.
//
// Threads: plain values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <varve/service_codes.h>

namespace varve {

// A snapshot's name is also its name in the image, where QEMU cuts at 255 bytes.
inline constexpr std::size_t kElementNameCharactersMax = 100;
inline constexpr std::size_t kElementNameBytesMax = 255;
// Notes are kept with the snapshot: this many bytes in at most so many strings.
inline constexpr std::size_t kNotesBytesMax = 512;
inline constexpr std::size_t kNotesCountMax = 32;

struct RequestedSettings {
  std::string element_name;  // Empty: the service makes one.
  std::vector<std::string> notes;
  ConsistencyLevel consistency = ConsistencyLevel::unknown;
  GuestBackupType guest_backup = GuestBackupType::undefined;
  bool ignore_non_snapshottable_disks = false;
};

// Null or empty: the defaults. Nothing: the text is refused, whatever the reason (code 4).
[[nodiscard]] std::optional<RequestedSettings> parse_snapshot_settings(
    std::optional<std::string_view> text);

// Whether it may be a snapshot's name.
[[nodiscard]] bool is_element_name(std::string_view name) noexcept;

}  // namespace varve
