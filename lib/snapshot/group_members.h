// The members of group snapshots as they stand in several images' tables. Pure values, no I/O. May
// throw std::bad_alloc.
#pragma once

#include <span>
#include <vector>

#include <varve/group.h>

#include "image/qcow2_image.h"
#include "snapshot/facts_table.h"

namespace varve {

struct FoundMember {
  std::size_t position = 0;  // Of the image among those given ...
  std::size_t index = 0;     // ... and of the entry in its table.
  SnapshotFacts facts;
};

struct FoundGroup {
  Uuid uuid;
  std::vector<FoundMember> members;  // By their place in the group; the first one leads.

  [[nodiscard]] bool has_any(SnapshotFacts::Flag flag) const noexcept;
  [[nodiscard]] const SnapshotFacts& leader() const noexcept { return members.front().facts; }
  // The committing member is there; else somebody deleted it, or its image is not given.
  [[nodiscard]] bool has_first() const noexcept { return leader().member_index == 0; }
};

// Errors: unsupported (a raw image), invalid_argument (no image, or one given twice).
[[nodiscard]] Result<std::vector<Qcow2Image*>> qcow2_of_all(std::span<Image* const> images);
[[nodiscard]] std::vector<FoundGroup> find_groups(const std::vector<Qcow2Image*>& images);
// As the interface tells it.
[[nodiscard]] Group describe_group(const FoundGroup& found);

}  // namespace varve
