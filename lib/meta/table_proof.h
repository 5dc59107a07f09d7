// What an image must show before an untrusted one is used: every table lies inside the file, apart
// from all others and from the header; every entry obeys the format's rules and leads into the file
// and to no table. Straight-line code that runs the engine; nobody else changes the image
// meanwhile. Cost: every table once, and one bit for each cluster of the file.
#pragma once

#include <varve/result.h>

#include "meta/metadata.h"

namespace varve {

// Errors: corrupt (the first place that breaks a rule), over_budget, io, no_memory.
[[nodiscard]] Result<void> prove_tables(Metadata& metadata) noexcept;

}  // namespace varve
