// Entries of L1 and L2 tables in which only bits are wrong that say nothing about where the data
// is: they are followed without them, and repaired by clearing them.
#pragma once

#include <varve/error.h>

#include "format/header.h"
#include "format/l1_entry.h"
#include "format/l2_entry.h"

namespace varve {

[[nodiscard]] inline L1Entry mended_entry(L1Entry entry) noexcept {
  return entry.is_allocated() ? L1Entry(entry.raw() & ~L1Entry::kReserved) : L1Entry();
}

[[nodiscard]] inline L2Entry mended_entry(L2Entry entry, const Header& header) noexcept {
  if (entry.is_compressed()) {
    return entry.with_copied(false);
  }
  const L2Entry plain(entry.raw() & ~L2Entry::kReserved, entry.bitmap());
  // COPIED without a cluster: only an external data file has something at offset 0.
  return plain.has_host() || header.has_data_file() ? plain : plain.with_copied(false);
}

// Whether mending an entry removes what was found.
[[nodiscard]] inline bool is_mendable(const Error& error) noexcept {
  switch (error.corruption) {
    case Corruption::l1_entry_reserved_bits:
    case Corruption::l2_entry_reserved_bits:
    case Corruption::copied_without_cluster:
    case Corruption::compressed_entry_copied:
      return true;
    default:
      return false;
  }
}

}  // namespace varve
