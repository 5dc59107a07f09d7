// Recounting: what is referenced, set against what is counted. Settles dirty images before they are
// written (O10), and repairs counts.
#pragma once

#include <cstdint>

#include <varve/result.h>

namespace varve {

class Metadata;

// What a recount may change.
enum class Recounted {
  leaks,  // Counts that are too high, and COPIED with them; one that is too low is an error.
  all,
  raised,  // Counts that are too low, and nothing else: space can be claimed safely afterwards.
};
// Clusters recounted at a time: four bytes each.
inline constexpr std::uint64_t kRecountWindow = 16 * 1024 * 1024;

// Makes the counts and COPIED flags of an image true again: counts up first, then flags, then
// counts down, each durable before the next (O1, O5). Nothing of the disk changes, and no count
// goes down while a reference cannot be followed. Blocking; runs the engine; nobody else changes
// the image. Errors: corrupt where a reference breaks a rule, or a count has no place (repair of
// more than counts is needed), io, no_space, no_memory.
[[nodiscard]] Result<void> recount(Metadata& metadata, Recounted what,
                                   std::uint64_t window_clusters = kRecountWindow) noexcept;

// Recounts all of a dirty image and clears the dirty bit. Errors: as recount.
[[nodiscard]] Result<void> settle(Metadata& metadata) noexcept;

// Clears incompatible features in the header, durably. Blocking; runs the engine.
[[nodiscard]] Result<void> clear_features(Metadata& metadata, std::uint64_t features) noexcept;

}  // namespace varve
