// Steps of group operations that change one member after the other, in the order that makes the
// first member's entry the one that decides. Blocking. May throw std::bad_alloc.
#pragma once

#include "snapshot/group_members.h"

namespace varve {

// The group as it stands now. Errors: not_found.
[[nodiscard]] Result<FoundGroup> find_group(const std::vector<Qcow2Image*>& images,
                                            const Uuid& group);

// Sets or clears a flag of every member; the first one last, where `first_last`, else first.
Result<void> flag_members(const std::vector<Qcow2Image*>& images, const Uuid& group,
                          SnapshotFacts::Flag flag, bool on, bool first_last);

// No longer pending: the first (this commits the group), then the others.
Result<void> complete_members(const std::vector<Qcow2Image*>& images, const Uuid& group);

// Deletes the members that are there, the first one last.
Result<void> remove_members(std::span<Image* const> images, const std::vector<Qcow2Image*>& cores,
                            const Uuid& group);

// What cannot work, before anything is touched (snapshot.cc).
[[nodiscard]] Result<void> validate_create(const Qcow2Image& image,
                                           const SnapshotCreateOptions& options) noexcept;

}  // namespace varve
