#include "printable.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace varve::tool {

namespace {

// A character of UTF-8: its bytes, 0 where they are none, and its code.
struct Character {
  std::size_t bytes = 0;
  std::uint32_t code = 0;
};

Character first_character(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (at(0) < 0x80) {
    return {1, at(0)};
  }
  const std::size_t bytes = at(0) >= 0xf0 ? 4 : at(0) >= 0xe0 ? 3 : 2;
  if (at(0) < 0xc2 || at(0) > 0xf4 || bytes > text.size()) {
    return {};
  }
  std::uint32_t code = at(0) & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((at(i) & 0xc0u) != 0x80) {
      return {};
    }
    code = code << 6 | (at(i) & 0x3fu);
  }
  constexpr std::uint32_t kFirst[] = {0, 0, 0x80, 0x800, 0x10000};  // Of so many bytes.
  const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
  return code < kFirst[bytes] || code > 0x10ffff || is_surrogate ? Character()
                                                                 : Character{bytes, code};
}

bool is_harmless(std::uint32_t code) {
  const bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  const bool turns_direction = code == 0x200e || code == 0x200f || code == 0x061c ||
                               (code >= 0x2028 && code <= 0x202e) ||
                               (code >= 0x2066 && code <= 0x2069);
  return !is_control && !turns_direction;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const Character character = first_character(text);
    const std::size_t bytes = std::max<std::size_t>(character.bytes, 1);
    if (character.bytes != 0 && is_harmless(character.code)) {
      result += text.substr(0, bytes);
    } else {
      for (const char byte : text.substr(0, bytes)) {
        result += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
    }
    text.remove_prefix(bytes);
  }
  return result;
}

}  // namespace varve::tool
