#include "messages.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

namespace varve::tool {

namespace {

struct Words {
  Corruption reason;
  const char* text;
  bool with_value;  // `text` is followed by the offending value.
};

// qemu-img's words for headers it refuses.
constexpr std::array<Words, 20> kHeaderWords = {{
    {Corruption::header_too_short, "qcow2 header too short", false},
    {Corruption::bad_magic, "Image is not in qcow2 format", false},
    {Corruption::cluster_bits_out_of_range, "Unsupported cluster size: 2^", true},
    {Corruption::header_length_too_small, "qcow2 header too short", false},
    {Corruption::header_beyond_cluster, "qcow2 header exceeds cluster size", false},
    {Corruption::refcount_order_out_of_range,
     "Reference count entry width too large; may not exceed 64 bits", false},
    {Corruption::l1_table_too_large, "Active L1 table too large", false},
    {Corruption::l1_table_too_small, "L1 table is too small", false},
    {Corruption::l1_offset_unaligned, "Active L1 table offset invalid", false},
    {Corruption::l1_table_out_of_range, "Active L1 table offset invalid", false},
    {Corruption::refcount_table_empty, "Image does not contain a reference count table", false},
    {Corruption::refcount_table_too_large, "Image is too big (reference count table too large)",
     false},
    {Corruption::refcount_table_offset_unaligned, "Reference count table offset invalid", false},
    {Corruption::refcount_table_out_of_range, "Reference count table offset invalid", false},
    {Corruption::snapshot_count_too_large, "Snapshot table too large", false},
    {Corruption::snapshot_table_offset_unaligned, "Snapshot table offset invalid", false},
    {Corruption::snapshot_table_out_of_range, "Snapshot table offset invalid", false},
    {Corruption::backing_name_outside_cluster, "Invalid backing file offset", false},
    {Corruption::backing_name_too_long, "Backing file name too long", false},
    {Corruption::extension_beyond_header, "Header extension too large", false},
}};

// Names the image gives to features, "time travel (bit 40), bit 9", in qemu-img's words.
std::string feature_words(std::string_view names) {
  std::string text;
  std::uint64_t nameless = 0;
  while (!names.empty()) {
    const std::string_view piece = names.substr(0, names.find(", "));
    names.remove_prefix(std::min(names.size(), piece.size() + 2));
    const std::size_t number = piece.rfind("bit ");
    unsigned bit = 0;
    if (number == 0 &&
        std::from_chars(piece.data() + 4, piece.data() + piece.size(), bit).ec == std::errc() &&
        bit < 64) {
      nameless |= std::uint64_t{1} << bit;
      continue;
    }
    text += text.empty() ? "" : ", ";
    text += piece.substr(0, number == std::string_view::npos || number < 2 ? number : number - 2);
  }
  if (nameless != 0) {
    text += fmt::format("{}Unknown incompatible feature: {:x}", text.empty() ? "" : ", ", nameless);
  }
  return text;
}

// Versions and features nobody here knows, told by the field of the header that asks for them.
std::optional<std::string> unsupported_words(const Error& error) {
  constexpr std::uint64_t kVersionOffset = 4;
  constexpr std::uint64_t kIncompatibleOffset = 72;
  if (error.code != ErrorCode::unsupported || error.tag != IoTag::header) {
    return std::nullopt;
  }
  if (error.offset == kVersionOffset) {
    return fmt::format("Unsupported qcow2 version {}", error.value);
  }
  if (error.offset == kIncompatibleOffset) {
    return "Unsupported qcow2 feature(s): " + feature_words(error.detail);
  }
  return std::nullopt;
}

}  // namespace

std::string system_words(int os_errno) {
  return std::generic_category().message(os_errno);
}

std::string short_words(const Error& error) {
  if (error.os_errno != 0) {
    return system_words(error.os_errno);
  }
  switch (error.code) {
    case ErrorCode::no_space:
      return system_words(ENOSPC);
    case ErrorCode::not_found:
      return system_words(ENOENT);
    case ErrorCode::no_memory:
      return system_words(ENOMEM);
    default:
      return describe(error);
  }
}

std::string open_words(const Error& error, const std::string& filename, bool writable) {
  if (error.code == ErrorCode::busy) {
    return fmt::format("Failed to get {}\"write\" lock\nIs another process using the image [{}]?",
                       writable ? "" : "shared ", filename);
  }
  for (const Words& words : kHeaderWords) {
    if (error.code == ErrorCode::corrupt && error.corruption == words.reason) {
      return words.with_value && error.value != Error::kNoOffset
                 ? fmt::format("{}{}", words.text, error.value)
                 : words.text;
    }
  }
  if (const std::optional<std::string> words = unsupported_words(error)) {
    return *words;
  }
  if (error.os_errno != 0 && error.code != ErrorCode::corrupt) {
    return fmt::format("Could not open '{}': {}", filename, system_words(error.os_errno));
  }
  return describe(error);
}

}  // namespace varve::tool
