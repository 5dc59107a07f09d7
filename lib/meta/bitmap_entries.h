// Reading an image's bitmap directory, in straight-line code that runs the engine. Threads: the
// engine's thread only.
#pragma once

#include <vector>

#include <varve/result.h>

#include "format/bitmap_directory.h"
#include "meta/metadata.h"

namespace varve {

// The entries of the directory that `extension` names; `held` is what they take while they are
// kept. REQUIRES: it has bytes. Errors: corrupt (the rule an entry breaks), over_budget, io,
// no_memory.
[[nodiscard]] Result<std::vector<BitmapEntry>> read_bitmap_entries(
    Metadata& metadata, const BitmapsExtension& extension, MeteredMemory& held) noexcept;

}  // namespace varve
