#include "service/utf8.h"

namespace varve {
namespace {

// Bytes of the well-formed character at the start of `text`; 0: there is none (RFC 3629, the table
// of its section 4).
std::size_t character_bytes(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto is_tail = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned first = byte(0);
  const unsigned second = byte(1);
  if (text.empty()) {
    return 0;
  }
  if (first < 0x80) {
    return 1;
  }
  if (first >= 0xc2 && first <= 0xdf) {
    return is_tail(1) ? 2 : 0;
  }
  if (first >= 0xe0 && first <= 0xef) {
    const bool is_overlong = first == 0xe0 && second < 0xa0;
    const bool is_surrogate = first == 0xed && second > 0x9f;
    return is_tail(1) && is_tail(2) && !is_overlong && !is_surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool is_overlong = first == 0xf0 && second < 0x90;
    const bool is_beyond = first == 0xf4 && second > 0x8f;
    return is_tail(1) && is_tail(2) && is_tail(3) && !is_overlong && !is_beyond ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::optional<std::size_t> count_utf8(std::string_view text) noexcept {
  std::size_t characters = 0;
  while (!text.empty()) {
    const std::size_t bytes = character_bytes(text);
    if (bytes == 0) {
      return std::nullopt;
    }
    text.remove_prefix(bytes);
    ++characters;
  }
  return characters;
}

std::string_view cut_utf8(std::string_view text, std::size_t characters_max,
                          std::size_t bytes_max) noexcept {
  std::size_t end = 0;
  for (std::size_t characters = 0; characters < characters_max; ++characters) {
    const std::size_t bytes = character_bytes(text.substr(end));
    if (bytes == 0 || end + bytes > bytes_max) {
      break;
    }
    end += bytes;
  }
  return text.substr(0, end);
}

}  // namespace varve
