// Recounting: what is referenced, set against what is counted. Settles dirty images before they are
// written (O10).
#pragma once

#include <varve/result.h>

namespace varve {

class Metadata;

// Makes the counts and COPIED flags of a dirty image true again and clears the dirty bit: counts up
// first, then flags, then counts down, each durable before the next (O1, O5). Blocking; runs the
// engine. Errors: corrupt where a reference breaks a rule (repair is needed), io, no_space,
// no_memory.
[[nodiscard]] Result<void> settle(Metadata& metadata) noexcept;

}  // namespace varve
