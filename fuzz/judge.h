// What the reference, which shares no code with the library, says of a world's image.
#pragma once

#include <cstdint>
#include <string>

#include <varve/check.h>

#include "world.h"

namespace varve::fuzz {

// Whether the reference can look at it: it knows no data file, and wants the file in one piece.
[[nodiscard]] bool can_be_judged(World& world);

// The reference opens the image and finds nothing wrong but leaks, which are returned. `said`
// begins the message where it does not: "repaired, and ". REQUIRES: can_be_judged.
std::uint64_t expect_whole(World& world, const std::string& said);

// "0 leaks, 1 corruptions, 0 failures; refcount_too_low in refcount_block at 131072".
[[nodiscard]] std::string text_of(const CheckReport& report);

}  // namespace varve::fuzz
