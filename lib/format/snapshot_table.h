// The snapshot table: entries of variable length, padded to 8 bytes, with extra data that is
// preserved byte for byte.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <varve/check.h>
#include <varve/result.h>

#include "base/bytes.h"
#include "base/units.h"
#include "format/header.h"

namespace varve {

// An entry's head as it stands on disk; extra data, id, name and padding follow.
struct RawSnapshotEntry {
  be64 l1_offset;
  be32 l1_entries;
  be16 id_bytes;
  be16 name_bytes;
  be32 date_seconds;
  be32 date_nanoseconds;
  be64 vm_clock_nanoseconds;
  be32 vm_state_bytes;  // 0 where 32 bits are too few; the extra data has it then.
  be32 extra_bytes;
};
inline constexpr std::array kSnapshotEntryFields = {
    VARVE_FIELD(RawSnapshotEntry, l1_offset),
    VARVE_FIELD(RawSnapshotEntry, l1_entries),
    VARVE_FIELD(RawSnapshotEntry, id_bytes),
    VARVE_FIELD(RawSnapshotEntry, name_bytes),
    VARVE_FIELD(RawSnapshotEntry, date_seconds),
    VARVE_FIELD(RawSnapshotEntry, date_nanoseconds),
    VARVE_FIELD(RawSnapshotEntry, vm_clock_nanoseconds),
    VARVE_FIELD(RawSnapshotEntry, vm_state_bytes),
    VARVE_FIELD(RawSnapshotEntry, extra_bytes),
};
static_assert(sizeof(RawSnapshotEntry) == 40);
static_assert(fields_tile(kSnapshotEntryFields, sizeof(RawSnapshotEntry)));

// The known extra data; each field is there when the extra data is long enough.
struct RawSnapshotExtra {
  be64 vm_state_bytes;
  be64 disk_size;
  be64 icount;  // All ones: none.
};
static_assert(sizeof(RawSnapshotExtra) == 24);

struct SnapshotEntry {
  HostOffset l1_offset;
  std::uint32_t l1_entries = 0;
  std::string id;
  std::string name;
  std::uint32_t date_seconds = 0;
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::uint64_t vm_state_bytes = 0;
  std::uint64_t disk_size = 0;  // v2 without extra data: the active disk's size (parse is told).
  std::int64_t icount = -1;
  bool has_disk_size = true;             // The entry itself said so.
  std::vector<std::byte> unknown_extra;  // Extra data past the fields above, preserved.
};

struct SnapshotTable {
  std::vector<SnapshotEntry> entries;

  // Parses `count` entries from `bytes` (which may be longer than the table); `table_offset` is the
  // table's place in the file, for messages. `active_disk_size` fills entries without a size.
  // Checks every limit, alignment included, but not whether the L1 tables lie inside the file.
  // `bytes_used`, when given, receives the table's length. Errors: corrupt; out_of_range with
  // `limit` = bytes needed when `bytes` ends inside an entry.
  [[nodiscard]] static Result<SnapshotTable> parse(ConstBytes bytes, std::uint32_t count,
                                                   std::uint32_t version, const Geometry& geometry,
                                                   HostOffset table_offset,
                                                   std::uint64_t active_disk_size,
                                                   std::uint64_t* bytes_used = nullptr) noexcept;

  // The same for a table that is damaged: the entries that can be read, and what is lost. An L1
  // table must end before `file_end`. `bytes_used` is how far entries were read, `is_cut_only`
  // whether what is left is the beginning of the table, unchanged. Errors: no_memory.
  [[nodiscard]] static Result<SnapshotTable> salvage(ConstBytes bytes, const Header& header,
                                                     std::uint64_t file_end,
                                                     std::vector<Loss>& losses,
                                                     std::uint64_t& bytes_used,
                                                     bool& is_cut_only) noexcept;

  // Bytes the table takes. Entries get the full extra data (VM-state size, disk size, icount,
  // unknown), except one that came without a disk size and has nothing else to store there.
  [[nodiscard]] std::uint64_t serialised_bytes() const noexcept;
  // REQUIRES: target.size() >= serialised_bytes(); the rest is zeroed. Errors: out_of_range for a
  // broken limit.
  [[nodiscard]] Result<void> serialise(Bytes target) const noexcept;

  // The smallest unused decimal id above every numeric one, as QEMU picks it.
  [[nodiscard]] std::string next_id() const;
};

}  // namespace varve
