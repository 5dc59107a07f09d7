// Names of files, and other texts, as they stand in an image.

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "maintenance/audit_header.h"

namespace varve {
namespace {

bool is_letter_or_digit(char character) noexcept {
  return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
         (character >= '0' && character <= '9');
}

// "json:{...}", "nbd://host": what stands before the first colon, where that is no path.
bool is_protocol(std::string_view name) noexcept {
  const std::size_t colon = name.find(':');
  if (colon == std::string_view::npos || colon == 0) {
    return false;
  }
  return std::ranges::all_of(name.substr(0, colon), [](char character) {
    return is_letter_or_digit(character) || character == '+' || character == '-' ||
           character == '.' || character == '_';
  });
}

bool leaves_folder(std::string_view name) noexcept {
  if (name.starts_with('/')) {
    return true;
  }
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    if (name.substr(at, end - at) == "..") {
      return true;
    }
    at = end + 1;
  }
  return false;
}

// Control characters of ASCII and, in UTF-8, those behind it and the marks that turn the direction
// of text.
bool has_odd_characters(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](std::size_t ahead) {
      return i + ahead < text.size() ? static_cast<unsigned char>(text[i + ahead]) : 0u;
    };
    if (byte(0) < 0x20 || byte(0) == 0x7f) {
      return true;
    }
    if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) <= 0x9f) {
      return true;
    }
    const bool is_mark_80 = byte(1) == 0x80 && ((byte(2) >= 0xaa && byte(2) <= 0xae) ||
                                                byte(2) == 0x8e || byte(2) == 0x8f);
    const bool is_mark_81 = byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9;
    if (byte(0) == 0xe2 && (is_mark_80 || is_mark_81)) {
      return true;
    }
  }
  return false;
}

void judge_file_name(const char* whose, AuditPlace place, std::string_view name,
                     AuditFindings& findings) {
  if (is_protocol(name)) {
    findings.add(AuditKind::protocol_name, place,
                 std::string(whose) +
                     " looks like options or an address: programs that take it for that open "
                     "something else than a file of this name, on any host or in any driver",
                 name);
  }
  if (leaves_folder(name)) {
    findings.add(AuditKind::path_outside_folder, place,
                 std::string(whose) + " leads out of the image's own folder", name);
  }
  judge_characters(whose, place, name, findings);
}

void judge_backing_format(const AuditHeader& header, AuditFindings& findings) {
  const ExtensionView* extension = header.find(kExtensionBackingFormat);
  if (extension == nullptr) {
    findings.add(AuditKind::backing_format_missing,
                 {IoTag::header, offsetof(RawHeader, backing_name_offset)},
                 "the backing file's format is not named: programs that guess it follow whatever a "
                 "guest has written to the beginning of a raw one");
    return;
  }
  constexpr std::array<std::string_view, 3> kUsual = {"qcow2", "raw", "file"};
  if (std::ranges::find(kUsual, header.backing_format) == kUsual.end()) {
    findings.add(AuditKind::backing_format_unusual, {IoTag::extension, extension->offset},
                 "the backing file's format is neither qcow2 nor raw", header.backing_format);
  }
}

}  // namespace

void judge_characters(const char* whose, AuditPlace place, std::string_view text,
                      AuditFindings& findings) {
  if (has_odd_characters(text)) {
    findings.add(
        AuditKind::odd_characters, place,
        std::string(whose) + " has control characters, or marks that turn the direction of text",
        text);
  }
}

void judge_named_files(const AuditHeader& header, AuditFindings& findings) {
  if (const std::uint64_t offset = header.raw.backing_name_offset.value(); offset != 0) {
    const AuditPlace place = {IoTag::header, offset};
    findings.add(AuditKind::backing_file, place,
                 "the image stands on another file, which whoever uses it opens and shows the "
                 "guest; it was not looked at",
                 header.backing_name);
    judge_file_name("the backing file's name", place, header.backing_name, findings);
    judge_backing_format(header, findings);
  }
  if (header.has_data_file()) {
    const ExtensionView* name = header.find(kExtensionDataFile);
    AuditPlace place = {IoTag::header, offsetof(RawHeader, incompatible_features)};
    if (name != nullptr) {
      place = {IoTag::extension, name->offset};
    }
    findings.add(AuditKind::data_file, place,
                 "the disk's data stands in another file, which whoever uses the image opens and "
                 "writes; it was not looked at",
                 header.data_file_name);
    judge_file_name("the data file's name", place, header.data_file_name, findings);
  }
}

}  // namespace varve
