#include "format/untrusted.h"

#include <algorithm>
#include <new>
#include <string_view>

#include "base/failure.h"
#include "base/try.h"

namespace varve {
namespace {

bool has_extension(const Header& header, std::uint32_t type) noexcept {
  return std::ranges::any_of(header.extensions, [type](const HeaderExtension& extension) {
    return extension.type == type;
  });
}

constexpr UntrustedRule kRules[] = {
    {Corruption::none, "backing_name_offset",
     "backing_file_offset: the image names a backing file, which an untrusted one may not",
     [](const Header& header) { return header.backing_name.empty(); }},
    {Corruption::none, "incompatible_features",
     "incompatible_features: the image names an external data file, which an untrusted one may not",
     [](const Header& header) { return !header.has_data_file(); }},
    {Corruption::backing_size_without_offset, "backing_name_bytes",
     "backing_file_size is set although backing_file_offset is zero",
     [](const Header& header) { return header.stray_backing_bytes == 0; }},
    {Corruption::data_file_name_without_bit, "incompatible_features",
     "incompatible_features: an external data file is named without its feature bit",
     [](const Header& header) {
       return header.has_data_file() || !has_extension(header, kExtensionDataFile);
     }},
};

}  // namespace

std::span<const UntrustedRule> untrusted_rules() noexcept {
  return kRules;
}

Error untrusted_error(const UntrustedRule& rule) noexcept {
  std::uint64_t offset = 0;
  for (const Field& field : kHeaderFields) {
    if (std::string_view(field.name) == rule.field) {
      offset = field.offset;
    }
  }
  if (rule.reason == Corruption::none) {
    return failure_at(ErrorCode::unsupported, IoTag::header, offset, rule.what);
  }
  return corrupt_at(rule.reason, IoTag::header, offset, rule.what);
}

Result<void> validate_untrusted(const Header& header) noexcept {
  for (const UntrustedRule& rule : kRules) {
    if (!rule.is_kept(header)) {
      return untrusted_error(rule);
    }
  }
  return {};
}

}  // namespace varve
