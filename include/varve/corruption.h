// Every rule of the format whose violation the library reports, one enumerator per check.
// Tests assert the reason, never the text.
#pragma once

#include <cstdint>

namespace varve {

enum class Corruption : std::uint8_t {
  none,
};

// Stable word for a reason: "l1_offset_unaligned". Static lifetime.
[[nodiscard]] const char* corruption_name(Corruption reason) noexcept;

}  // namespace varve
