// Giving every cluster of a range its place before it is written: straight-line code that runs the
// engine.
#pragma once

#include <varve/create.h>

#include "meta/metadata.h"

namespace varve {

// Maps every unmapped cluster of [begin, end) to space that reads as zeros. falloc: the space is
// reserved; full: it is written. REQUIRES: nothing else uses the image meanwhile; no cluster is
// kept behind an entry that is not allocated. On failure what was mapped by then stays.
[[nodiscard]] Result<void> preallocate_range(Metadata& metadata, GuestOffset begin, GuestOffset end,
                                             Preallocation mode) noexcept;

// The same for a whole image just created in `storage`.
[[nodiscard]] Result<void> preallocate_new(Storage& storage, Storage* data_storage,
                                           Preallocation mode) noexcept;

}  // namespace varve
