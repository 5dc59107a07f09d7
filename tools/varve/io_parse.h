// The command language of qemu-io: one line is words between spaces; numbers carry suffixes;
// a pattern is one byte. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace varve::tool {

// The words of a line. Only spaces separate them; nothing quotes.
[[nodiscard]] std::vector<std::string> split_words(std::string_view line);

// A number of bytes of at most 2^63 - 1. On failure `complaint` is what qemu-io prints before
// the text.
[[nodiscard]] std::optional<std::uint64_t> parse_count(std::string_view text,
                                                       std::string& complaint);

// A byte to fill or compare with: decimal, octal (0...) or hexadecimal (0x...).
[[nodiscard]] std::optional<unsigned char> parse_pattern(const std::string& text);

// Milliseconds for `sleep`.
enum class SleepStatus : std::uint8_t { ok, malformed, overflow };
struct ParsedSleep {
  SleepStatus status = SleepStatus::ok;
  long milliseconds = 0;
};
[[nodiscard]] ParsedSleep parse_sleep(const std::string& text);

// The elements of a key=value list that have no '=': "read-only" is short for "read-only=on". A
// doubled comma is part of an element.
[[nodiscard]] std::vector<std::string> find_short_booleans(std::string_view list);

// `text` as a value in such a list.
[[nodiscard]] std::string escape_commas(std::string_view text);

}  // namespace varve::tool
