// A persistent bitmap as another program would have left it.
#pragma once

#include <cstdint>

#include "sim/sparse_bytes.h"

namespace varve::fuzz {

// Adds one bitmap with `flags` (1: in use, 2: enabled) behind the end of a closed image. Leaves the
// image as it is where its counts have no room.
void add_bitmaps(sim::SparseBytes& image, std::uint32_t flags);

}  // namespace varve::fuzz
