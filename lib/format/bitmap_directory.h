// The bitmap directory: enough of it to keep other programs' bitmaps honest (rule O12) and to list
// them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <varve/result.h>

#include "base/bytes.h"
#include "base/units.h"
#include "format/header.h"

namespace varve {

// An entry's head as it stands on disk; extra data, name and padding to 8 bytes follow.
struct RawBitmapEntry {
  be64 table_offset;
  be32 table_entries;
  be32 flags;
  std::byte type;
  std::byte granularity_bits;
  be16 name_bytes;
  be32 extra_bytes;
};
inline constexpr std::array kBitmapEntryFields = {
    VARVE_FIELD(RawBitmapEntry, table_offset),
    VARVE_FIELD(RawBitmapEntry, table_entries),
    VARVE_FIELD(RawBitmapEntry, flags),
    VARVE_FIELD(RawBitmapEntry, type),
    VARVE_FIELD(RawBitmapEntry, granularity_bits),
    VARVE_FIELD(RawBitmapEntry, name_bytes),
    VARVE_FIELD(RawBitmapEntry, extra_bytes),
};
static_assert(sizeof(RawBitmapEntry) == 24);
static_assert(fields_tile(kBitmapEntryFields, sizeof(RawBitmapEntry)));

struct BitmapEntry {
  static constexpr std::uint32_t kInUse = 1u << 0;
  static constexpr std::uint32_t kAuto = 1u << 1;
  static constexpr std::uint32_t kExtraDataCompatible = 1u << 2;

  HostOffset table_offset;
  std::uint32_t table_entries = 0;
  std::uint32_t flags = 0;
  std::uint8_t type = 1;
  std::uint8_t granularity_bits = 16;
  std::string name;
  std::uint64_t flags_offset =
      0;  // Byte offset of `flags` inside the directory, for in-place IN_USE.
  std::uint32_t extra_bytes = 0;
};

// What reading a directory takes: its bytes, and what is made of them.
[[nodiscard]] inline std::uint64_t bitmap_directory_memory(
    const BitmapsExtension& extension) noexcept {
  // Names in a vector, in a set that finds doubles, and in what callers are told.
  constexpr std::uint64_t kEntryBytes = sizeof(BitmapEntry) + 256;
  return 3 * extension.directory_bytes + kEntryBytes * extension.count;
}

// Errors: corrupt (each rule of the spec), naming the entry by its offset in the file.
[[nodiscard]] Result<std::vector<BitmapEntry>> parse_bitmap_directory(
    ConstBytes directory, const BitmapsExtension& extension, const Geometry& geometry) noexcept;

}  // namespace varve
