// Sizes as people write and read them, the way qemu-img does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace varve::tool {

enum class SizeStatus : std::uint8_t {
  ok,
  malformed,     // Not a number, a bad suffix, or a fraction of a byte.
  out_of_range,  // Negative, or 2^64 and more.
};

struct ParsedSize {
  SizeStatus status = SizeStatus::ok;
  std::uint64_t bytes = 0;
};

// A number of bytes: decimal with an optional fraction and one of the suffixes b k M G T P E in
// either case (powers of 1024), or hexadecimal with 0x and neither. A fraction is rounded to the
// nearest byte.
[[nodiscard]] ParsedSize parse_size(std::string_view text);

// "196 KiB": three significant digits, powers of 1024.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

}  // namespace varve::tool
