// The qcow2 header: bytes as found (RawHeader) and validated (Header), with every extension, known
// or not.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <varve/image.h>
#include <varve/result.h>
#include <varve/uuid.h>

#include "base/bytes.h"
#include "base/units.h"
#include "format/fields.h"
#include "format/geometry.h"

namespace varve {

inline constexpr std::uint32_t kMagic = 0x514649fb;  // "QFI\xfb"

// Limits; each with its origin.
inline constexpr std::uint32_t kClusterBitsMin = 9;                   // qcow2 spec
inline constexpr std::uint32_t kClusterBitsMax = 21;                  // qcow2 spec / QEMU
inline constexpr std::uint64_t kL1BytesMax = 32 * kMiB;               // QEMU
inline constexpr std::uint64_t kRefcountTableBytesMax = 8 * kMiB;     // QEMU
inline constexpr std::uint32_t kSnapshotsMax = 65536;                 // QEMU
inline constexpr std::uint64_t kSnapshotTableBytesMax = 64 * kMiB;    // QEMU
inline constexpr std::uint32_t kSnapshotExtraBytesMax = 1024;         // QEMU
inline constexpr std::uint32_t kBitmapsMax = 65535;                   // QEMU
inline constexpr std::uint64_t kBitmapDirectoryBytesMax = 64 * kMiB;  // QEMU
inline constexpr std::uint32_t kBackingNameBytesMax = 1023;           // qcow2 spec
inline constexpr std::uint32_t kBackingFormatBytesMax = 15;           // QEMU
inline constexpr std::uint32_t kBitmapNameBytesMax = 1023;            // QEMU
inline constexpr std::uint32_t kBitmapTableEntriesMax = 1u << 27;     // QEMU
inline constexpr std::uint32_t kBitmapGranularityBitsMax = 63;        // qcow2 spec
inline constexpr std::uint64_t kHostOffsetEnd = std::uint64_t{1}
                                                << 56;          // qcow2 spec: 56-bit offsets
inline constexpr std::uint32_t kRefcountOrderMax = 6;           // qcow2 spec
inline constexpr std::uint32_t kExtendedL2ClusterBitsMin = 14;  // qcow2 spec: 16 KiB

// Feature bits.
inline constexpr std::uint64_t kIncompatibleDirty = 1u << 0;
inline constexpr std::uint64_t kIncompatibleCorrupt = 1u << 1;
inline constexpr std::uint64_t kIncompatibleDataFile = 1u << 2;
inline constexpr std::uint64_t kIncompatibleCompression = 1u << 3;
inline constexpr std::uint64_t kIncompatibleExtendedL2 = 1u << 4;
inline constexpr std::uint64_t kIncompatibleKnown = 0x1f;
inline constexpr std::uint64_t kCompatibleLazyRefcounts = 1u << 0;
inline constexpr std::uint64_t kAutoclearBitmaps = 1u << 0;
inline constexpr std::uint64_t kAutoclearDataFileRaw = 1u << 1;
inline constexpr std::uint64_t kAutoclearKnown = 0x3;

// Header extensions by magic.
inline constexpr std::uint32_t kExtensionEnd = 0;
inline constexpr std::uint32_t kExtensionBackingFormat = 0xe2792aca;
inline constexpr std::uint32_t kExtensionFeatureNames = 0x6803f857;
inline constexpr std::uint32_t kExtensionBitmaps = 0x23852875;
inline constexpr std::uint32_t kExtensionEncryption = 0x0537be77;
inline constexpr std::uint32_t kExtensionDataFile = 0x44415441;
// Varve's own ("VrvU"): the image's UUID, 16 bytes. Other programs preserve it as they do
// everything they do not know.
inline constexpr std::uint32_t kExtensionImageUuid = 0x56727655;

// The fixed part as it stands on disk; v2 images have the first 72 bytes, v3 at least 104.
struct RawHeader {
  be32 magic;
  be32 version;
  be64 backing_name_offset;
  be32 backing_name_bytes;
  be32 cluster_bits;
  be64 virtual_size;
  be32 encryption_method;
  be32 l1_entries;
  be64 l1_offset;
  be64 refcount_table_offset;
  be32 refcount_table_clusters;
  be32 snapshot_count;
  be64 snapshot_table_offset;
  be64 incompatible_features;
  be64 compatible_features;
  be64 autoclear_features;
  be32 refcount_order;
  be32 header_bytes;
  std::byte compression_type;  // Present when header_bytes > 104.
  std::byte padding[7];
};
static_assert(sizeof(RawHeader) == 112);
inline constexpr std::uint32_t kHeaderBytesV2 = 72;
inline constexpr std::uint32_t kHeaderBytesV3Min = 104;

inline constexpr std::array kHeaderFields = {
    VARVE_FIELD(RawHeader, magic),
    VARVE_FIELD(RawHeader, version),
    VARVE_FIELD(RawHeader, backing_name_offset),
    VARVE_FIELD(RawHeader, backing_name_bytes),
    VARVE_FIELD(RawHeader, cluster_bits),
    VARVE_FIELD(RawHeader, virtual_size),
    VARVE_FIELD(RawHeader, encryption_method),
    VARVE_FIELD(RawHeader, l1_entries),
    VARVE_FIELD(RawHeader, l1_offset),
    VARVE_FIELD(RawHeader, refcount_table_offset),
    VARVE_FIELD(RawHeader, refcount_table_clusters),
    VARVE_FIELD(RawHeader, snapshot_count),
    VARVE_FIELD(RawHeader, snapshot_table_offset),
    VARVE_FIELD(RawHeader, incompatible_features),
    VARVE_FIELD(RawHeader, compatible_features),
    VARVE_FIELD(RawHeader, autoclear_features),
    VARVE_FIELD(RawHeader, refcount_order),
    VARVE_FIELD(RawHeader, header_bytes),
    VARVE_FIELD(RawHeader, compression_type),
    VARVE_FIELD(RawHeader, padding),
};
static_assert(fields_tile(kHeaderFields, sizeof(RawHeader)));

struct HeaderExtension {
  std::uint32_t type = 0;
  std::vector<std::byte> data;  // Without padding.
};

// One name of the feature-name table.
struct FeatureName {
  enum class Kind : std::uint8_t { incompatible = 0, compatible = 1, autoclear = 2 };
  Kind kind = Kind::incompatible;
  std::uint8_t bit = 0;
  std::string name;
};

// The bitmaps extension as it stands on disk.
struct RawBitmapsExtension {
  be32 count;
  be32 reserved;
  be64 directory_bytes;
  be64 directory_offset;
};
inline constexpr std::array kBitmapsExtensionFields = {
    VARVE_FIELD(RawBitmapsExtension, count),
    VARVE_FIELD(RawBitmapsExtension, reserved),
    VARVE_FIELD(RawBitmapsExtension, directory_bytes),
    VARVE_FIELD(RawBitmapsExtension, directory_offset),
};
static_assert(fields_tile(kBitmapsExtensionFields, sizeof(RawBitmapsExtension)));

// The bitmaps extension (24 bytes).
struct BitmapsExtension {
  std::uint32_t count = 0;
  std::uint64_t directory_bytes = 0;
  HostOffset directory_offset;
};

struct Header {
  std::uint32_t version = 3;
  Geometry geometry;
  std::uint64_t virtual_size = 0;
  std::uint32_t l1_entries = 0;
  HostOffset l1_offset;
  HostOffset refcount_table_offset;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t snapshot_count = 0;
  HostOffset snapshot_table_offset;
  std::uint64_t incompatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  std::uint32_t header_bytes = 112;
  Compression compression = Compression::zlib;
  std::string backing_name;  // Empty: none.
  // backing_file_size where there is no backing_file_offset, which most programs overlook.
  std::uint32_t stray_backing_bytes = 0;
  std::vector<HeaderExtension>
      extensions;                      // In file order, known and unknown, without the end marker.
  std::array<std::byte, 7> padding{};  // Bytes 105..111, preserved.
  std::vector<std::byte> unknown_header_fields;  // Bytes [112, header_bytes), preserved.

  [[nodiscard]] bool is_dirty() const noexcept { return (incompatible & kIncompatibleDirty) != 0; }
  [[nodiscard]] bool is_corrupt() const noexcept {
    return (incompatible & kIncompatibleCorrupt) != 0;
  }
  [[nodiscard]] bool has_data_file() const noexcept {
    return (incompatible & kIncompatibleDataFile) != 0;
  }
  [[nodiscard]] bool lazy_refcounts() const noexcept {
    return (compatible & kCompatibleLazyRefcounts) != 0;
  }

  // Extension lookups, decoded; validated by parse. A data file's name counts only with its
  // incompatible bit, bitmaps only with their autoclear bit: without it another program changed the
  // disk and left them behind.
  [[nodiscard]] std::optional<std::string> backing_format() const;
  [[nodiscard]] std::optional<std::string> data_file_name() const;
  [[nodiscard]] std::optional<BitmapsExtension> bitmaps() const noexcept;
  [[nodiscard]] std::vector<FeatureName> feature_names() const;
  // The image's UUID; null without the extension, or where it is not one UUID long.
  [[nodiscard]] Uuid image_uuid() const noexcept;

  // How many bytes of the file parse needs: the size of cluster 0. Checks magic, version and
  // cluster_bits only. `prefix` is the file's first 104 bytes or more. Errors: corrupt, unsupported
  // (version).
  [[nodiscard]] static Result<std::uint64_t> bytes_needed(ConstBytes prefix) noexcept;

  // Parses cluster 0. Every limit is checked; the error names field, value and limit. Unknown
  // incompatible bits are `unsupported` with the image's own name for the feature where it has one
  // (see describe_unknown_features). Encryption is `unsupported`.
  [[nodiscard]] static Result<Header> parse(ConstBytes cluster0) noexcept;

  // The names of the unknown incompatible features of an image parse refused: "flux capacitor (bit
  // 7), bit 9".
  [[nodiscard]] static std::string describe_unknown_features(ConstBytes cluster0);

  // Writes the whole of cluster 0: fixed part, extensions, end marker, backing name, zeros. For new
  // images and whole-header rewrites. Errors: out_of_range when it does not fit one cluster.
  [[nodiscard]] Result<void> serialise(Bytes cluster0) const noexcept;

  // Feature-name table for the features we know, as QEMU writes it.
  [[nodiscard]] static HeaderExtension known_feature_names();
  [[nodiscard]] static HeaderExtension image_uuid_extension(const Uuid& uuid);
};

}  // namespace varve
