#include "format/header.h"

#include <algorithm>
#include <cstddef>
#include <new>

#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "format/header_checks.h"
#include "format/header_extensions.h"

namespace varve {
namespace {

HeaderDraft decode(ConstBytes cluster0) {
  RawHeader raw = *load<RawHeader>(cluster0);
  HeaderDraft draft;
  Header& header = draft.header;
  header.version = raw.version.value();
  header.geometry.cluster_bits = raw.cluster_bits.value();
  header.virtual_size = raw.virtual_size.value();
  header.l1_entries = raw.l1_entries.value();
  header.l1_offset = HostOffset(raw.l1_offset.value());
  header.refcount_table_offset = HostOffset(raw.refcount_table_offset.value());
  header.refcount_table_clusters = raw.refcount_table_clusters.value();
  header.snapshot_count = raw.snapshot_count.value();
  header.snapshot_table_offset = HostOffset(raw.snapshot_table_offset.value());
  draft.backing_offset = raw.backing_name_offset.value();
  draft.backing_bytes = raw.backing_name_bytes.value();
  draft.encryption_method = raw.encryption_method.value();
  draft.l1_bytes = std::uint64_t{header.l1_entries} * 8;
  draft.refcount_table_bytes = std::uint64_t{header.refcount_table_clusters}
                               << header.geometry.cluster_bits;
  // Behind byte 72 a version 2 image has other things; those fields are as if they were zero.
  header.header_bytes = kHeaderBytesV2;
  if (header.version >= 3) {
    header.incompatible = raw.incompatible_features.value();
    header.compatible = raw.compatible_features.value();
    header.autoclear = raw.autoclear_features.value();
    header.geometry.refcount_order = raw.refcount_order.value();
    header.geometry.extended_l2 = (header.incompatible & kIncompatibleExtendedL2) != 0;
    header.header_bytes = raw.header_bytes.value();
    if (header.header_bytes > kHeaderBytesV3Min) {
      draft.compression_type = std::to_integer<std::uint8_t>(raw.compression_type);
      std::copy_n(raw.padding, header.padding.size(), header.padding.begin());
    }
  }
  return draft;
}

// The extension area ends where the backing name begins.
std::uint64_t extensions_end(const HeaderDraft& draft) noexcept {
  return draft.backing_offset != 0 ? draft.backing_offset : draft.header.geometry.cluster_bytes();
}

std::vector<std::byte> copy_of(ConstBytes bytes) {
  return {bytes.begin(), bytes.end()};
}

Result<void> read_extensions(HeaderDraft& draft, ConstBytes cluster0) {
  ExtensionReader reader(cluster0, draft.header.header_bytes, extensions_end(draft));
  while (const std::optional<ExtensionView> extension = VARVE_TRY(reader.next())) {
    VARVE_TRY(validate_extension(draft.header, *extension));
    draft.header.extensions.push_back({extension->type, copy_of(extension->data)});
  }
  return validate_extension_set(draft.header);
}

Result<void> read_backing_name(HeaderDraft& draft, ConstBytes cluster0) {
  if (draft.backing_offset == 0) {
    draft.header.stray_backing_bytes = draft.backing_bytes;
    return {};
  }
  const ConstBytes name = cluster0.subspan(draft.backing_offset, draft.backing_bytes);
  for (const std::byte byte : name) {
    if (byte == std::byte{0}) {
      return corrupt_at(Corruption::backing_name_contains_nul, IoTag::header, draft.backing_offset,
                        "the backing file's name contains a zero byte");
    }
    draft.header.backing_name.push_back(static_cast<char>(byte));
  }
  return {};
}

Result<Header> parse_cluster(ConstBytes cluster0) {
  HeaderDraft draft = decode(cluster0);
  VARVE_TRY(validate_fields(draft, cluster0));
  Header& header = draft.header;
  header.compression = static_cast<Compression>(draft.compression_type);
  if (header.header_bytes > sizeof(RawHeader)) {
    header.unknown_header_fields =
        copy_of(cluster0.subspan(sizeof(RawHeader), header.header_bytes - sizeof(RawHeader)));
  }
  VARVE_TRY(read_extensions(draft, cluster0));
  VARVE_TRY(read_backing_name(draft, cluster0));
  return std::move(header);
}

// The length the fields need: what the caller asked for, unless there is more to store.
std::uint32_t header_bytes_needed(const Header& header) noexcept {
  if (header.version < 3) {
    return kHeaderBytesV2;
  }
  const bool fits_minimum =
      header.compression == Compression::zlib && header.unknown_header_fields.empty();
  if (header.header_bytes == kHeaderBytesV3Min && fits_minimum) {
    return kHeaderBytesV3Min;
  }
  return static_cast<std::uint32_t>(sizeof(RawHeader) +
                                    round_up(header.unknown_header_fields.size(), 8));
}

RawHeader encode(const Header& header, std::uint64_t backing_offset) noexcept {
  RawHeader raw{};
  raw.magic.set(kMagic);
  raw.version.set(header.version);
  raw.backing_name_offset.set(backing_offset);
  raw.backing_name_bytes.set(static_cast<std::uint32_t>(header.backing_name.size()));
  raw.cluster_bits.set(header.geometry.cluster_bits);
  raw.virtual_size.set(header.virtual_size);
  raw.encryption_method.set(0);
  raw.l1_entries.set(header.l1_entries);
  raw.l1_offset.set(header.l1_offset.value());
  raw.refcount_table_offset.set(header.refcount_table_offset.value());
  raw.refcount_table_clusters.set(header.refcount_table_clusters);
  raw.snapshot_count.set(header.snapshot_count);
  raw.snapshot_table_offset.set(header.snapshot_table_offset.value());
  raw.incompatible_features.set(header.incompatible);
  raw.compatible_features.set(header.compatible);
  raw.autoclear_features.set(header.autoclear);
  raw.refcount_order.set(header.geometry.refcount_order);
  raw.header_bytes.set(header_bytes_needed(header));
  raw.compression_type = static_cast<std::byte>(header.compression);
  std::copy(header.padding.begin(), header.padding.end(), raw.padding);
  return raw;
}

Error too_large(std::uint64_t bytes, std::uint64_t room) noexcept {
  Error error = failure_at(ErrorCode::out_of_range, IoTag::header, 0,
                           "header, extensions and backing name do not fit the first cluster");
  error.value = bytes;
  error.limit = room;
  return error;
}

}  // namespace

Result<std::uint64_t> Header::bytes_needed(ConstBytes prefix) noexcept {
  if (prefix.size() < kHeaderBytesV2) {
    return corrupt_at(Corruption::header_too_short, IoTag::header, 0,
                      "the file is shorter than a header", prefix.size(), kHeaderBytesV2);
  }
  const auto magic = load_be<std::uint32_t>(prefix, offsetof(RawHeader, magic));
  if (magic != kMagic) {
    return corrupt_at(Corruption::bad_magic, IoTag::header, offsetof(RawHeader, magic),
                      "not a qcow2 image: the magic bytes are missing", magic);
  }
  const auto version = load_be<std::uint32_t>(prefix, offsetof(RawHeader, version));
  if (version != 2 && version != 3) {
    Error error = failure_at(ErrorCode::unsupported, IoTag::header, offsetof(RawHeader, version),
                             "version: only 2 and 3 are known");
    error.value = version;
    error.limit = 3;
    return error;
  }
  const auto bits = load_be<std::uint32_t>(prefix, offsetof(RawHeader, cluster_bits));
  if (bits < kClusterBitsMin || bits > kClusterBitsMax) {
    return corrupt_at(Corruption::cluster_bits_out_of_range, IoTag::header,
                      offsetof(RawHeader, cluster_bits), "cluster_bits", bits,
                      bits < kClusterBitsMin ? kClusterBitsMin : kClusterBitsMax);
  }
  return std::uint64_t{1} << bits;
}

Result<Header> Header::parse(ConstBytes cluster0) noexcept {
  const std::uint64_t needed = VARVE_TRY(bytes_needed(cluster0));
  if (cluster0.size() < needed) {
    return corrupt_at(Corruption::header_too_short, IoTag::header, 0,
                      "the file ends inside the header cluster", cluster0.size(), needed);
  }
  try {
    Result<Header> header = parse_cluster(cluster0.first(needed));
    if (!header && header.error().code == ErrorCode::unsupported &&
        header.error().offset == offsetof(RawHeader, incompatible_features)) {
      Error error = header.error();
      const std::string names = describe_unknown_features(cluster0);
      names.copy(error.detail, sizeof(error.detail) - 1);
      return error;
    }
    return header;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the header");
  }
}

std::string Header::describe_unknown_features(ConstBytes cluster0) {
  const Result<std::uint64_t> needed = bytes_needed(cluster0);
  if (!needed || cluster0.size() < *needed) {
    return {};
  }
  const ConstBytes cluster = cluster0.first(*needed);
  const HeaderDraft draft = decode(cluster);
  const std::uint64_t unknown = draft.header.incompatible & ~kIncompatibleKnown;
  std::vector<FeatureName> names;
  const std::uint64_t begin = draft.header.header_bytes;
  const std::uint64_t end = std::min(extensions_end(draft), *needed);
  if (begin <= end) {
    ExtensionReader reader(cluster, begin, end);
    Result<std::optional<ExtensionView>> extension = reader.next();
    while (extension && *extension) {
      if ((*extension)->type == kExtensionFeatureNames) {
        names = decode_feature_names((*extension)->data);
        break;
      }
      extension = reader.next();
    }
  }
  return name_features(unknown, names);
}

Result<void> Header::serialise(Bytes cluster0) const noexcept {
  VARVE_ASSERT(cluster0.size() == geometry.cluster_bytes());
  const std::uint32_t fixed_bytes = header_bytes_needed(*this);
  std::uint64_t bytes = fixed_bytes + kExtensionHeadBytes;
  for (const HeaderExtension& extension : extensions) {
    bytes += kExtensionHeadBytes + round_up(extension.data.size(), 8);
  }
  const std::uint64_t backing_offset = backing_name.empty() ? 0 : bytes;
  bytes += backing_name.size();
  if (bytes > cluster0.size() || backing_name.size() > kBackingNameBytesMax) {
    return too_large(bytes, cluster0.size());
  }

  zero_bytes(cluster0);
  const RawHeader raw = encode(*this, backing_offset);
  const ConstBytes raw_bytes = std::as_bytes(std::span(&raw, 1));
  const std::size_t known_bytes = std::min<std::size_t>(fixed_bytes, sizeof(RawHeader));
  copy_bytes(cluster0.first(known_bytes), raw_bytes.first(known_bytes));
  copy_bytes(cluster0.subspan(known_bytes, version < 3 ? 0 : unknown_header_fields.size()),
             version < 3 ? ConstBytes() : ConstBytes(unknown_header_fields));
  std::uint64_t at = fixed_bytes;
  for (const HeaderExtension& extension : extensions) {
    store_be(cluster0, at, extension.type);
    store_be(cluster0, at + 4, static_cast<std::uint32_t>(extension.data.size()));
    at += kExtensionHeadBytes;
    copy_bytes(cluster0.subspan(at, extension.data.size()), extension.data);
    at += round_up(extension.data.size(), 8);
  }
  // The end marker is eight zeros.
  copy_bytes(cluster0.subspan(at + kExtensionHeadBytes, backing_name.size()),
             std::as_bytes(std::span(backing_name)));
  return {};
}

}  // namespace varve
