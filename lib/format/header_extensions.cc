#include "format/header_extensions.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"

namespace varve {
namespace {

std::string to_text(ConstBytes bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const std::byte byte : bytes) {
    text.push_back(static_cast<char>(byte));
  }
  return text;
}

std::string to_printable(ConstBytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    const char character = static_cast<char>(byte);
    if (character == '\0') {
      break;
    }
    text.push_back(character >= ' ' && character <= '~' ? character : '?');
  }
  return text;
}

const HeaderExtension* find(const Header& header, std::uint32_t type) noexcept {
  for (const HeaderExtension& extension : header.extensions) {
    if (extension.type == type) {
      return &extension;
    }
  }
  return nullptr;
}

bool contains_nul(ConstBytes bytes) noexcept {
  return std::find(bytes.begin(), bytes.end(), std::byte{0}) != bytes.end();
}

// Where in the file the field of an extension's data stands.
Error broken(Corruption reason, const ExtensionView& extension, const char* what,
             std::uint64_t value = Error::kNoOffset, std::uint64_t limit = Error::kNoOffset,
             std::uint64_t field_offset = 0) noexcept {
  return corrupt_at(reason, IoTag::extension, extension.offset + kExtensionHeadBytes + field_offset,
                    what, value, limit);
}

// A short string that must name something.
Result<void> validate_string(const ExtensionView& extension, Corruption reason,
                             std::uint64_t bytes_max, const char* what) noexcept {
  const std::uint64_t bytes = extension.data.size();
  if (bytes == 0 || bytes > bytes_max) {
    return broken(reason, extension, what, bytes, bytes_max);
  }
  if (contains_nul(extension.data)) {
    return broken(reason, extension, what);
  }
  return {};
}

struct BitmapsCheck {
  Corruption reason;
  const char* what;
  std::size_t field;  // Row of kBitmapsExtensionFields.
  bool (*holds)(const BitmapsExtension&, const Geometry&) noexcept;
  std::uint64_t (*limit)(const Geometry&) noexcept;
};

constexpr BitmapsCheck kBitmapsChecks[] = {
    {Corruption::bitmap_count_out_of_range, "bitmaps extension: number of bitmaps", 0,
     [](const BitmapsExtension& e, const Geometry&) noexcept {
       return e.count >= 1 && e.count <= kBitmapsMax;
     },
     [](const Geometry&) noexcept -> std::uint64_t { return kBitmapsMax; }},
    {Corruption::bitmap_directory_size_out_of_range, "bitmaps extension: size of the directory", 2,
     [](const BitmapsExtension& e, const Geometry&) noexcept {
       return e.directory_bytes > 0 && e.directory_bytes <= kBitmapDirectoryBytesMax;
     },
     [](const Geometry&) noexcept { return kBitmapDirectoryBytesMax; }},
    {Corruption::bitmap_directory_unaligned,
     "bitmaps extension: directory is not on a cluster boundary", 3,
     [](const BitmapsExtension& e, const Geometry& g) noexcept {
       return g.in_cluster(e.directory_offset.value()) == 0;
     },
     [](const Geometry& g) noexcept { return g.cluster_bytes(); }},
    {Corruption::bitmap_directory_out_of_range,
     "bitmaps extension: directory lies in the header or beyond the largest host offset", 3,
     [](const BitmapsExtension& e, const Geometry& g) noexcept {
       return e.directory_offset.value() >= g.cluster_bytes() &&
              range_fits(e.directory_offset.value(), e.directory_bytes, kHostOffsetEnd);
     },
     [](const Geometry&) noexcept { return kHostOffsetEnd; }},
};

BitmapsExtension decode_bitmaps(const RawBitmapsExtension& raw) noexcept {
  return {raw.count.value(), raw.directory_bytes.value(), HostOffset(raw.directory_offset.value())};
}

Result<void> validate_bitmaps(const Header& header, const ExtensionView& extension) noexcept {
  if ((header.autoclear & kAutoclearBitmaps) == 0) {
    return {};
  }
  if (extension.data.size() != sizeof(RawBitmapsExtension)) {
    return broken(Corruption::bitmaps_extension_length, extension,
                  "bitmaps extension: length is not 24", extension.data.size(),
                  sizeof(RawBitmapsExtension));
  }
  const RawBitmapsExtension raw = *load<RawBitmapsExtension>(extension.data);
  if (raw.reserved.value() != 0) {
    return broken(Corruption::bitmaps_extension_reserved, extension,
                  "bitmaps extension: reserved field is not zero", raw.reserved.value(),
                  Error::kNoOffset, kBitmapsExtensionFields[1].offset);
  }
  const BitmapsExtension bitmaps = decode_bitmaps(raw);
  for (const BitmapsCheck& check : kBitmapsChecks) {
    if (!check.holds(bitmaps, header.geometry)) {
      const Field& field = kBitmapsExtensionFields[check.field];
      return broken(check.reason, extension, check.what, load_field(extension.data, field),
                    check.limit(header.geometry), field.offset);
    }
  }
  return {};
}

bool is_known(std::uint32_t type) noexcept {
  return type == kExtensionBackingFormat || type == kExtensionFeatureNames ||
         type == kExtensionBitmaps || type == kExtensionEncryption || type == kExtensionDataFile;
}

struct KnownFeature {
  FeatureName::Kind kind;
  std::uint8_t bit;
  std::string_view name;
};

// Names and order as QEMU writes them, so that a rewritten header does not change.
constexpr KnownFeature kKnownFeatures[] = {
    {FeatureName::Kind::incompatible, 0, "dirty bit"},
    {FeatureName::Kind::incompatible, 1, "corrupt bit"},
    {FeatureName::Kind::incompatible, 2, "external data file"},
    {FeatureName::Kind::incompatible, 3, "compression type"},
    {FeatureName::Kind::incompatible, 4, "extended L2 entries"},
    {FeatureName::Kind::compatible, 0, "lazy refcounts"},
    {FeatureName::Kind::autoclear, 0, "bitmaps"},
    {FeatureName::Kind::autoclear, 1, "raw external data"},
};

}  // namespace

Result<std::optional<ExtensionView>> ExtensionReader::next() noexcept {
  if (end_ - at_ < kExtensionHeadBytes) {
    return std::optional<ExtensionView>();
  }
  ExtensionView extension;
  extension.offset = at_;
  extension.type = load_be<std::uint32_t>(cluster0_, at_);
  const std::uint64_t length = load_be<std::uint32_t>(cluster0_, at_ + 4);
  if (extension.type == kExtensionEnd) {
    at_ = end_;
    return std::optional<ExtensionView>();
  }
  const std::uint64_t room = end_ - at_ - kExtensionHeadBytes;
  if (length > room) {
    return corrupt_at(Corruption::extension_beyond_header, IoTag::extension, at_ + 4,
                      "header extension: length reaches beyond the extension area", length, room);
  }
  extension.data = cluster0_.subspan(at_ + kExtensionHeadBytes, length);
  // The padding of the last one may reach past the end of the area; there is nothing behind it.
  at_ = std::min(at_ + kExtensionHeadBytes + round_up(length, 8), end_);
  return std::optional<ExtensionView>(extension);
}

Result<void> validate_extension(const Header& header, const ExtensionView& extension) noexcept {
  if (is_known(extension.type) && find(header, extension.type) != nullptr) {
    return corrupt_at(Corruption::extension_duplicate, IoTag::extension, extension.offset,
                      "header extension appears twice", extension.type);
  }
  switch (extension.type) {
    case kExtensionBackingFormat:
      return validate_string(extension, Corruption::backing_format_invalid, kBackingFormatBytesMax,
                             "backing format: length, or a zero byte in it");
    case kExtensionDataFile:
      return validate_string(extension, Corruption::data_file_name_invalid, kBackingNameBytesMax,
                             "data file name: length, or a zero byte in it");
    case kExtensionBitmaps:
      return validate_bitmaps(header, extension);
    case kExtensionEncryption:
      return broken(Corruption::encryption_extension_without_encryption, extension,
                    "encryption extension in an image that is not encrypted");
    default:
      return {};
  }
}

Result<void> validate_extension_set(const Header& header) noexcept {
  if ((header.autoclear & kAutoclearBitmaps) != 0 && find(header, kExtensionBitmaps) == nullptr) {
    return corrupt_at(Corruption::bitmaps_extension_missing, IoTag::header,
                      offsetof(RawHeader, autoclear_features),
                      "autoclear_features: bitmaps bit without the bitmaps extension",
                      header.autoclear);
  }
  return {};
}

std::vector<FeatureName> decode_feature_names(ConstBytes table) {
  std::vector<FeatureName> names;
  for (std::size_t at = 0; table.size() - at >= kFeatureNameEntryBytes;
       at += kFeatureNameEntryBytes) {
    const auto kind = std::to_integer<std::uint8_t>(table[at]);
    const auto bit = std::to_integer<std::uint8_t>(table[at + 1]);
    if (kind <= static_cast<std::uint8_t>(FeatureName::Kind::autoclear) && bit < 64) {
      names.push_back({static_cast<FeatureName::Kind>(kind), bit,
                       to_printable(table.subspan(at + 2, kFeatureNameEntryBytes - 2))});
    }
  }
  return names;
}

std::string name_features(std::uint64_t unknown, const std::vector<FeatureName>& names) {
  std::string text;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (((unknown >> bit) & 1) == 0) {
      continue;
    }
    if (!text.empty()) {
      text += ", ";
    }
    const auto name = std::find_if(names.begin(), names.end(), [&](const FeatureName& candidate) {
      return candidate.kind == FeatureName::Kind::incompatible && candidate.bit == bit &&
             !candidate.name.empty();
    });
    const std::string number = "bit " + std::to_string(bit);
    text += name == names.end() ? number : name->name + " (" + number + ")";
  }
  return text;
}

std::optional<std::string> Header::backing_format() const {
  const HeaderExtension* extension = find(*this, kExtensionBackingFormat);
  return extension == nullptr ? std::nullopt : std::optional(to_text(extension->data));
}

std::optional<std::string> Header::data_file_name() const {
  const HeaderExtension* extension = find(*this, kExtensionDataFile);
  return extension == nullptr || !has_data_file() ? std::nullopt
                                                  : std::optional(to_text(extension->data));
}

std::optional<BitmapsExtension> Header::bitmaps() const noexcept {
  const HeaderExtension* extension = find(*this, kExtensionBitmaps);
  if (extension == nullptr || (autoclear & kAutoclearBitmaps) == 0) {
    return std::nullopt;
  }
  const auto raw = load<RawBitmapsExtension>(extension->data);
  return raw ? std::optional(decode_bitmaps(*raw)) : std::nullopt;
}

std::vector<FeatureName> Header::feature_names() const {
  const HeaderExtension* extension = find(*this, kExtensionFeatureNames);
  return extension == nullptr ? std::vector<FeatureName>() : decode_feature_names(extension->data);
}

Uuid Header::image_uuid() const noexcept {
  Uuid uuid;
  const HeaderExtension* extension = find(*this, kExtensionImageUuid);
  if (extension != nullptr && extension->data.size() == uuid.bytes.size()) {
    std::transform(extension->data.begin(), extension->data.end(), uuid.bytes.begin(),
                   [](std::byte byte) { return std::to_integer<std::uint8_t>(byte); });
  }
  return uuid;
}

HeaderExtension Header::image_uuid_extension(const Uuid& uuid) {
  HeaderExtension extension;
  extension.type = kExtensionImageUuid;
  extension.data.resize(uuid.bytes.size());
  std::transform(uuid.bytes.begin(), uuid.bytes.end(), extension.data.begin(),
                 [](std::uint8_t byte) { return static_cast<std::byte>(byte); });
  return extension;
}

HeaderExtension Header::known_feature_names() {
  HeaderExtension extension;
  extension.type = kExtensionFeatureNames;
  for (const KnownFeature& feature : kKnownFeatures) {
    const std::size_t at = extension.data.size();
    extension.data.resize(at + kFeatureNameEntryBytes);
    extension.data[at] = static_cast<std::byte>(feature.kind);
    extension.data[at + 1] = static_cast<std::byte>(feature.bit);
    std::transform(feature.name.begin(), feature.name.end(),
                   extension.data.begin() + static_cast<std::ptrdiff_t>(at) + 2,
                   [](char character) { return static_cast<std::byte>(character); });
  }
  return extension;
}

}  // namespace varve
