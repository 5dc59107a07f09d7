// Adds one reference to everything a set of L2 tables maps, and to the tables: what a snapshot or
// an apply makes shared. COPIED flags in those tables are cleared. Counts in memory only; a flush
// round makes them durable.
//
// The tables must not change meanwhile (they are frozen, or a snapshot's). Every cluster must be
// counted already: a count of 0 means the image is corrupt and the walk stops (O1). Re-entrant like
// every question to meta: a Need is satisfied by the owner, who calls advance() again. Threads: the
// engine's thread only.
#pragma once

#include <compare>
#include <vector>

#include "base/buffer.h"
#include "meta/metadata.h"
#include "meta/need.h"

namespace varve {

// How far a walk over an L1 has come: everything before it is done. Walks back stop here.
struct WalkPosition {
  std::uint64_t slot = 0;
  std::uint64_t entry = 0;    // l2_entries(): the table's own cluster is next.
  std::uint64_t cluster = 0;  // Of a compressed entry's clusters.
  friend constexpr auto operator<=>(const WalkPosition&, const WalkPosition&) noexcept = default;
};

class ShareWalk {
 public:
  explicit ShareWalk(Metadata& metadata) noexcept : metadata_(&metadata) {}

  // Walks the tables of `l1` (raw entries, `where` they stand in the file); with `skip`, slots
  // whose table is the same there are left out. The vectors outlive the walk. Errors: no_memory.
  Result<void> begin(const std::vector<std::uint64_t>& l1, HostOffset where,
                     const std::vector<std::uint64_t>* skip) noexcept;
  // Goes on until done, a need or an error: out_of_range (a count would overflow), corrupt.
  // After an error position() says exactly what has been added.
  [[nodiscard]] Answer<Nothing> advance() noexcept;

  [[nodiscard]] const WalkPosition& position() const noexcept { return position_; }

 private:
  [[nodiscard]] Answer<Nothing> walk_table(HostOffset offset) noexcept;
  [[nodiscard]] Answer<Nothing> share_entry() noexcept;
  [[nodiscard]] Answer<Nothing> clear_flags(HostOffset offset) noexcept;

  Metadata* metadata_;
  const std::vector<std::uint64_t>* l1_ = nullptr;
  HostOffset where_;  // Of that L1 in the file, for messages.
  const std::vector<std::uint64_t>* skip_ = nullptr;
  WalkPosition position_;
  Buffer table_;  // A copy of the table under way.
  bool is_loaded_ = false;
  bool are_flags_clear_ = false;
};

}  // namespace varve
