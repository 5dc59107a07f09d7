#include "size_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace varve::tool {

namespace {

constexpr ParsedSize kMalformed{SizeStatus::malformed, 0};
constexpr ParsedSize kOutOfRange{SizeStatus::out_of_range, 0};

int digit_value(char c, unsigned base) {
  int value = -1;
  if (c >= '0' && c <= '9') {
    value = c - '0';
  } else if (c >= 'a' && c <= 'f') {
    value = c - 'a' + 10;
  } else if (c >= 'A' && c <= 'F') {
    value = c - 'A' + 10;
  }
  return value < static_cast<int>(base) ? value : -1;
}

// The power of two a suffix stands for, or -1.
int suffix_shift(char c) {
  switch (std::toupper(static_cast<unsigned char>(c))) {
    case 'B':
      return 0;
    case 'K':
      return 10;
    case 'M':
      return 20;
    case 'G':
      return 30;
    case 'T':
      return 40;
    case 'P':
      return 50;
    case 'E':
      return 60;
    default:
      return -1;
  }
}

// Takes digits off the front of `text` into `value`; false when they do not fit 64 bits.
bool take_integer(std::string_view& text, unsigned base, std::uint64_t& value) {
  bool fits = true;
  while (!text.empty() && digit_value(text.front(), base) >= 0) {
    const auto digit = static_cast<std::uint64_t>(digit_value(text.front(), base));
    fits = fits && !__builtin_mul_overflow(value, std::uint64_t{base}, &value) &&
           !__builtin_add_overflow(value, digit, &value);
    text.remove_prefix(1);
  }
  return fits;
}

ParsedSize parse_hexadecimal(std::string_view text) {
  std::uint64_t value = 0;
  if (text.empty()) {
    return kMalformed;
  }
  const bool fits = take_integer(text, 16, value);
  if (!text.empty()) {
    return kMalformed;
  }
  return fits ? ParsedSize{SizeStatus::ok, value} : kOutOfRange;
}

ParsedSize parse_decimal(std::string_view text) {
  std::uint64_t whole = 0;
  const bool has_digits = !text.empty() && digit_value(text.front(), 10) >= 0;
  const bool fits = take_integer(text, 10, whole);
  double fraction = 0;
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    if (!has_digits && digits == 0) {
      return kMalformed;
    }
    // In double precision, as scripts know it: 7.9E is not the nearest byte.
    const std::string decimal = "0." + std::string(text.substr(0, digits)) + "0";
    std::from_chars(decimal.data(), decimal.data() + decimal.size(), fraction);
    text.remove_prefix(digits);
  } else if (!has_digits) {
    return kMalformed;
  }
  int shift = 0;
  if (!text.empty()) {
    shift = suffix_shift(text.front());
    text.remove_prefix(1);
  }
  if (shift < 0 || !text.empty() || (fraction > 0 && shift == 0)) {
    return kMalformed;
  }
  const std::uint64_t unit = std::uint64_t{1} << static_cast<unsigned>(shift);
  std::uint64_t bytes = 0;
  if (!fits || __builtin_mul_overflow(whole, unit, &bytes)) {
    return kOutOfRange;
  }
  const auto part =
      static_cast<std::uint64_t>(std::floor(fraction * static_cast<double>(unit) + 0.5));
  if (__builtin_add_overflow(bytes, part, &bytes)) {
    return kOutOfRange;
  }
  return {SizeStatus::ok, bytes};
}

}  // namespace

ParsedSize parse_size(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) {
    text.remove_prefix(1);
  }
  bool negative = false;
  if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const bool hexadecimal = text.size() >= 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
  const ParsedSize parsed = hexadecimal ? parse_hexadecimal(text.substr(2)) : parse_decimal(text);
  if (negative && parsed.status == SizeStatus::ok) {
    return kOutOfRange;
  }
  return parsed;
}

std::string format_size(std::uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits = {"B",   "KiB", "MiB", "GiB",
                                                        "TiB", "PiB", "EiB"};
  // A unit is used from 1000 of the next smaller one on, so that three digits always do.
  constexpr double kThousandOfUnit = 1000.0 / 1024.0;
  const double scaled = static_cast<double>(bytes) / kThousandOfUnit;
  std::size_t unit = 0;
  double divisor = 1;
  while (unit + 1 < kUnits.size() && scaled >= divisor * 1024) {
    divisor *= 1024;
    ++unit;
  }
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%0.3g %s", static_cast<double>(bytes) / divisor,
                kUnits[unit]);
  return text.data();
}

}  // namespace varve::tool
