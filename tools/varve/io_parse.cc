#include "io_parse.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <limits>

#include "size_text.h"

namespace varve::tool {

namespace {

constexpr std::uint64_t kIoCountMax = std::numeric_limits<std::int64_t>::max();

}  // namespace

std::vector<std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    const std::size_t end = line.find(' ');
    const std::string_view word = line.substr(0, end);
    if (!word.empty()) {
      words.emplace_back(word);
    }
    line = end == std::string_view::npos ? std::string_view{} : line.substr(end + 1);
  }
  return words;
}

std::optional<std::uint64_t> parse_count(std::string_view text, std::string& complaint) {
  const ParsedSize parsed = parse_size(text);
  if (parsed.status == SizeStatus::ok && parsed.bytes <= kIoCountMax) {
    return parsed.bytes;
  }
  complaint = parsed.status == SizeStatus::malformed
                  ? "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- "
                  : "Parsing error: argument too large -- ";
  return std::nullopt;
}

std::optional<unsigned char> parse_pattern(const std::string& text) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 0);
  if (*end != '\0' || value < 0 || value > UCHAR_MAX) {
    return std::nullopt;
  }
  return static_cast<unsigned char>(value);
}

ParsedSleep parse_sleep(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text.c_str(), &end, 0);
  if (*end != '\0' || end == text.c_str() || value < 0) {
    return {SleepStatus::malformed, 0};
  }
  return {errno == ERANGE ? SleepStatus::overflow : SleepStatus::ok, value};
}

std::vector<std::string> find_short_booleans(std::string_view list) {
  std::vector<std::string> found;
  std::string element;
  const auto finish = [&] {
    if (element.find('=') == std::string::npos) {
      found.push_back(element);
    }
    element.clear();
  };
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i] != ',') {
      element += list[i];
    } else if (i + 1 < list.size() && list[i + 1] == ',') {
      element += list[i++];
    } else {
      finish();
    }
  }
  if (!element.empty()) {
    finish();
  }
  return found;
}

std::string escape_commas(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    escaped.append(c == ',' ? 2 : 1, c);
  }
  return escaped;
}

}  // namespace varve::tool
