#include "maintenance/audit_header.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "meta/batch.h"

namespace varve {
namespace {

// Disks nobody has: past what any file system holds in one file.
constexpr std::uint64_t kHugeDiskBytes = 1024 * kTiB;

std::string text_of(ConstBytes bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    text.push_back(static_cast<char>(byte));
  }
  return text;
}

AuditPlace in_header(std::uint64_t offset) noexcept {
  return {IoTag::header, offset};
}

struct NamedBit {
  std::uint64_t bit;
  const char* message;
};

// What honest images use and an older program may not know.
constexpr NamedBit kIncompatibleInUse[] = {
    {kIncompatibleCompression, "compressed clusters are zstd's"},
    {kIncompatibleExtendedL2, "clusters are divided into subclusters (extended L2 entries)"},
};

struct FeatureGroup {
  const char* name;
  FeatureName::Kind kind;
  std::uint64_t unknown;
  std::uint64_t offset;
  const char* consequence;
};

void judge_unknown_bits(const FeatureGroup& group, const std::vector<FeatureName>& names,
                        AuditFindings& findings) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (((group.unknown >> bit) & 1) == 0) {
      continue;
    }
    const auto name = std::ranges::find_if(names, [&](const FeatureName& candidate) {
      return candidate.kind == group.kind && candidate.bit == bit;
    });
    findings.add(AuditKind::unknown_feature, in_header(group.offset),
                 std::string(group.name) + " feature bit " + std::to_string(bit) +
                     " is not known: " + group.consequence,
                 name == names.end() ? std::string() : name->name);
  }
}

void judge_unknown_features(const AuditHeader& header, AuditFindings& findings) {
  std::vector<FeatureName> names;
  if (const ExtensionView* table = header.find(kExtensionFeatureNames); table != nullptr) {
    names = decode_feature_names(table->data);
  }
  const FeatureGroup groups[] = {
      {"incompatible", FeatureName::Kind::incompatible, header.incompatible & ~kIncompatibleKnown,
       offsetof(RawHeader, incompatible_features), "programs without it refuse the image"},
      {"compatible", FeatureName::Kind::compatible, header.compatible & ~kCompatibleLazyRefcounts,
       offsetof(RawHeader, compatible_features), "programs without it ignore it"},
      {"autoclear", FeatureName::Kind::autoclear, header.autoclear & ~kAutoclearKnown,
       offsetof(RawHeader, autoclear_features),
       "it is lost with the first write of a program without it, and what it vouched for is wrong "
       "after a write of one that leaves it set"},
  };
  for (const FeatureGroup& group : groups) {
    judge_unknown_bits(group, names, findings);
  }
}

bool is_known_extension(std::uint32_t type) noexcept {
  constexpr std::array kKnown = {kExtensionBackingFormat, kExtensionFeatureNames,
                                 kExtensionBitmaps,       kExtensionEncryption,
                                 kExtensionDataFile,      kExtensionImageUuid};
  return std::ranges::find(kKnown, type) != kKnown.end();
}

// The bytes of [begin, end) that are not zero.
struct Remains {
  std::uint64_t count = 0;
  std::uint64_t first = 0;
  void look_at(ConstBytes cluster, std::uint64_t begin, std::uint64_t end) noexcept {
    for (std::uint64_t i = begin; i < end; ++i) {
      if (cluster[i] != std::byte{0}) {
        first = count == 0 ? i : first;
        ++count;
      }
    }
  }
};

// Between the pieces that mean something everything is zero.
void judge_gaps(const AuditHeader& header, AuditFindings& findings) {
  const ConstBytes cluster = header.cluster0.bytes();
  Remains remains;
  std::uint64_t at = header.header_bytes;
  for (const ExtensionView& extension : header.extensions) {
    remains.look_at(cluster, at, extension.offset);
    at = extension.offset + kExtensionHeadBytes + extension.data.size();
  }
  if (const std::uint64_t name = header.raw.backing_name_offset.value(); name != 0) {
    remains.look_at(cluster, at, name);
    at = name + header.raw.backing_name_bytes.value();
  }
  remains.look_at(cluster, at, cluster.size());
  if (remains.count != 0) {
    findings.add(AuditKind::hidden_header_bytes, in_header(remains.first),
                 "bytes of the first cluster that are no part of the header and not zero: " +
                     std::to_string(remains.count),
                 {}, remains.count);
  }
}

void judge_unknown_fields(const AuditHeader& header, AuditFindings& findings) {
  const ConstBytes cluster = header.cluster0.bytes();
  Remains remains;
  const std::uint64_t known = offsetof(RawHeader, padding);
  if (header.header_bytes > known) {
    remains.look_at(cluster, known, header.header_bytes);
  }
  if (remains.count != 0) {
    findings.add(AuditKind::unknown_header_fields, in_header(remains.first),
                 "the header has fields that are not known and not zero", {}, remains.count);
  }
}

}  // namespace

const ExtensionView* AuditHeader::find(std::uint32_t type) const noexcept {
  const auto found = std::ranges::find(extensions, type, &ExtensionView::type);
  return found == extensions.end() ? nullptr : &*found;
}

Result<AuditHeader> AuditHeader::read(Storage& file) {
  AuditHeader header;
  Image::Counters uncounted;
  Batch batch(uncounted);
  Buffer start = VARVE_TRY(Buffer::allocate(4 * kKiB));
  VARVE_TRY(batch.run(batch.read(file, IoTag::header, HostOffset(0), start.bytes())));
  const Result<std::uint64_t> needed = Header::bytes_needed(start.bytes());
  const bool is_qcow2 =
      needed || needed.error().corruption == Corruption::cluster_bits_out_of_range;
  if (!is_qcow2) {
    return needed.error();
  }
  header.cluster0 = VARVE_TRY(Buffer::allocate(needed ? *needed : start.size()));
  VARVE_TRY(batch.run(batch.read(file, IoTag::header, HostOffset(0), header.cluster0.bytes())));

  const ConstBytes cluster = header.cluster0.bytes();
  header.raw = *load<RawHeader>(cluster);
  header.version = header.raw.version.value();
  bool is_length_good = true;
  if (header.version >= 3) {
    header.incompatible = header.raw.incompatible_features.value();
    header.compatible = header.raw.compatible_features.value();
    header.autoclear = header.raw.autoclear_features.value();
    header.header_bytes = header.raw.header_bytes.value();
    is_length_good = header.header_bytes >= kHeaderBytesV3Min &&
                     is_aligned(header.header_bytes, 8) && header.header_bytes <= cluster.size();
  }
  const std::uint64_t name = header.raw.backing_name_offset.value();
  const std::uint64_t name_bytes = header.raw.backing_name_bytes.value();
  const bool is_name_good =
      name == 0 || (name >= header.header_bytes && range_fits(name, name_bytes, cluster.size()));
  if (name != 0 && is_name_good) {
    header.backing_name =
        text_of(cluster.subspan(name, std::min<std::uint64_t>(name_bytes, kBackingNameBytesMax)));
  }
  if (!needed || !is_length_good) {
    header.header_bytes = std::min<std::uint64_t>(header.header_bytes, cluster.size());
    return header;
  }
  ExtensionReader reader(cluster, header.header_bytes,
                         name != 0 && is_name_good ? name : cluster.size());
  Result<std::optional<ExtensionView>> extension = reader.next();
  for (; extension && *extension; extension = reader.next()) {
    header.extensions.push_back(**extension);
  }
  header.is_shape_known = extension && is_name_good;
  if (const ExtensionView* format = header.find(kExtensionBackingFormat); format != nullptr) {
    header.backing_format = text_of(format->data);
  }
  if (const ExtensionView* data = header.find(kExtensionDataFile); data != nullptr) {
    header.data_file_name = text_of(data->data);
  }
  return header;
}

void judge_features(const AuditHeader& header, AuditFindings& findings) {
  const AuditPlace incompatible = in_header(offsetof(RawHeader, incompatible_features));
  judge_unknown_features(header, findings);
  if ((header.incompatible & kIncompatibleDirty) != 0) {
    findings.add(AuditKind::dirty, incompatible,
                 "the image was not closed: its counts may be wrong until it is settled");
  }
  if ((header.incompatible & kIncompatibleCorrupt) != 0) {
    findings.add(AuditKind::marked_corrupt, incompatible,
                 "a program has found the image damaged and marked it so");
  }
  for (const NamedBit& feature : kIncompatibleInUse) {
    if ((header.incompatible & feature.bit) != 0) {
      findings.add(AuditKind::feature, incompatible, feature.message);
    }
  }
  if ((header.compatible & kCompatibleLazyRefcounts) != 0) {
    findings.add(AuditKind::feature, in_header(offsetof(RawHeader, compatible_features)),
                 "counts are kept lazily: a crash leaves them to be made anew");
  }
  if (header.raw.encryption_method.value() != 0 || header.find(kExtensionEncryption) != nullptr) {
    findings.add(AuditKind::encrypted, in_header(offsetof(RawHeader, encryption_method)),
                 "the disk is encrypted");
  }
  if (header.raw.virtual_size.value() > kHugeDiskBytes) {
    findings.add(AuditKind::huge_disk, in_header(offsetof(RawHeader, virtual_size)),
                 "the disk claims " + std::to_string(header.raw.virtual_size.value()) +
                     " bytes, which no copy of it could have");
  }
}

void judge_header_bytes(const AuditHeader& header, AuditFindings& findings) {
  const bool has_name = header.raw.backing_name_offset.value() != 0;
  if (has_name != (header.raw.backing_name_bytes.value() != 0)) {
    findings.add(AuditKind::contradiction, in_header(offsetof(RawHeader, backing_name_offset)),
                 has_name ? "a backing file's name of no length: programs differ on whether the "
                            "image has a backing file"
                          : "a backing file's name without a place: programs differ on whether the "
                            "image has a backing file");
  }
  for (const ExtensionView& extension : header.extensions) {
    const AuditPlace place = {IoTag::extension, extension.offset};
    if (!is_known_extension(extension.type)) {
      findings.add(AuditKind::unknown_extension, place,
                   "a header extension of type " + audit_hex(extension.type) + " and " +
                       std::to_string(extension.data.size()) + " bytes is not known",
                   {}, extension.data.size());
    }
    if (extension.type == kExtensionBackingFormat && !has_name) {
      findings.add(AuditKind::contradiction, place,
                   "the format of a backing file is named, but no backing file",
                   header.backing_format);
    }
    if (extension.type == kExtensionDataFile && !header.has_data_file()) {
      findings.add(AuditKind::contradiction, place,
                   "an external data file is named without its feature bit: programs differ on "
                   "whether the image has one",
                   header.data_file_name);
    }
    if (extension.type == kExtensionBitmaps && (header.autoclear & kAutoclearBitmaps) == 0) {
      findings.add(AuditKind::bitmaps_left_behind, place,
                   "a program without bitmaps has changed the disk: those the image has tell "
                   "nothing, and their clusters are leaked");
    }
  }
  if (header.is_shape_known) {
    judge_unknown_fields(header, findings);
    judge_gaps(header, findings);
  }
}

}  // namespace varve
