// One entry of an L2 table, standard (8 bytes) or extended (16 bytes, with 32 subclusters), as raw
// bits and as a validated meaning.
#pragma once

#include <cstdint>

#include <varve/result.h>

#include "base/bytes.h"
#include "base/units.h"
#include "format/geometry.h"

namespace varve {

// Where a compressed cluster's bytes stand: any byte, not a cluster boundary.
struct CompressedExtent {
  HostOffset offset;  // First byte.
  std::uint64_t length =
      0;  // Upper bound in bytes: up to the end of the last 512-byte sector named.
  friend constexpr bool operator==(const CompressedExtent&,
                                   const CompressedExtent&) noexcept = default;
};

enum class ClusterKind : std::uint8_t {
  unallocated,     // The backing file decides, or zeros.
  zero,            // Reads as zeros, no host cluster (v3, standard entries only).
  zero_allocated,  // Reads as zeros, a host cluster is kept (v3, standard entries only).
  standard,        // A host cluster; with extended entries its subclusters decide one by one.
  compressed,
};

// The state of one subcluster. Without extended entries a cluster is one subcluster.
enum class SubclusterKind : std::uint8_t { unallocated, zero, data };

class L2Entry {
 public:
  static constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
  static constexpr std::uint64_t kZero = 1;  // Standard entries only.
  static constexpr std::uint64_t kOffsetMask = 0x00ff'ffff'ffff'fe00;
  static constexpr std::uint64_t kReserved = 0x3f00'0000'0000'01fe;  // For standard clusters.
  static constexpr std::uint64_t kAllSubclusters = 0xffff'ffff;      // One half of the bitmap.

  constexpr L2Entry() noexcept = default;
  constexpr explicit L2Entry(std::uint64_t descriptor, std::uint64_t bitmap = 0) noexcept
      : raw_(descriptor), bitmap_(bitmap) {}

  // Factories. Bitmaps: low 32 bits allocated, high 32 bits zero, subcluster 0 is bit 0 of each
  // half.
  static constexpr L2Entry unallocated() noexcept { return L2Entry(); }
  static constexpr L2Entry standard(HostOffset host, bool copied) noexcept {
    return L2Entry(host.value() | (copied ? kCopied : 0));
  }
  static constexpr L2Entry extended(HostOffset host, bool copied, std::uint64_t bitmap) noexcept {
    return L2Entry(host.value() | (copied ? kCopied : 0), bitmap);
  }
  // A cluster that reads as zeros without a host cluster, in the geometry's own spelling.
  static constexpr L2Entry zero(const Geometry& geometry) noexcept {
    return geometry.extended_l2 ? L2Entry(0, kAllSubclusters << 32) : L2Entry(kZero);
  }
  // REQUIRES: the extent is one that is_compressible_at allows.
  static L2Entry compressed(const Geometry& geometry, const CompressedExtent& extent) noexcept;
  // Whether a descriptor of this geometry can name these bytes.
  static bool is_compressible_at(const Geometry& geometry, const CompressedExtent& extent) noexcept;

  // Table access. REQUIRES: index < geometry.l2_entries(), table is one cluster.
  static L2Entry load(const Geometry& geometry, ConstBytes table, std::uint64_t index) noexcept {
    const std::uint64_t at = index << geometry.l2_entry_bits();
    return L2Entry(load_be<std::uint64_t>(table, at),
                   geometry.extended_l2 ? load_be<std::uint64_t>(table, at + 8) : 0);
  }
  void store(const Geometry& geometry, Bytes table, std::uint64_t index) const noexcept {
    const std::uint64_t at = index << geometry.l2_entry_bits();
    store_be(table, at, raw_);
    if (geometry.extended_l2) {
      store_be(table, at + 8, bitmap_);
    }
  }

  [[nodiscard]] constexpr std::uint64_t raw() const noexcept { return raw_; }
  [[nodiscard]] constexpr std::uint64_t bitmap() const noexcept { return bitmap_; }
  [[nodiscard]] constexpr bool is_compressed() const noexcept { return (raw_ & kCompressed) != 0; }
  // Only this table refers to the host cluster. Meaningless for compressed entries.
  [[nodiscard]] constexpr bool is_copied() const noexcept { return (raw_ & kCopied) != 0; }
  // A host cluster stands behind a non-compressed entry. In an external data file offset 0 is a
  // place like any other and COPIED tells it from "unallocated"; in the image it is the header.
  [[nodiscard]] constexpr bool has_host(bool data_file = false) const noexcept {
    return !is_compressed() && ((raw_ & kOffsetMask) != 0 || (data_file && is_copied()));
  }
  [[nodiscard]] constexpr HostOffset host() const noexcept {
    return HostOffset(raw_ & kOffsetMask);
  }
  [[nodiscard]] constexpr L2Entry with_copied(bool copied) const noexcept {
    return L2Entry(copied ? raw_ | kCopied : raw_ & ~kCopied, bitmap_);
  }

  // `data_file`: the image keeps guest clusters in an external data file (see has_host).
  [[nodiscard]] constexpr ClusterKind kind(const Geometry& geometry,
                                           bool data_file = false) const noexcept {
    if (is_compressed()) {
      return ClusterKind::compressed;
    }
    const bool allocated = has_host(data_file);
    if (!geometry.extended_l2 && (raw_ & kZero) != 0) {
      return allocated ? ClusterKind::zero_allocated : ClusterKind::zero;
    }
    return allocated ? ClusterKind::standard : ClusterKind::unallocated;
  }
  // The state of subcluster `index` (0 without extended entries). REQUIRES: not compressed.
  [[nodiscard]] constexpr SubclusterKind subcluster(const Geometry& geometry, std::uint32_t index,
                                                    bool data_file = false) const noexcept {
    if (geometry.extended_l2) {
      if (((bitmap_ >> (32 + index)) & 1) != 0) {
        return SubclusterKind::zero;
      }
      return ((bitmap_ >> index) & 1) != 0 ? SubclusterKind::data : SubclusterKind::unallocated;
    }
    switch (kind(geometry, data_file)) {
      case ClusterKind::zero:
      case ClusterKind::zero_allocated:
        return SubclusterKind::zero;
      case ClusterKind::standard:
        return SubclusterKind::data;
      default:
        return SubclusterKind::unallocated;
    }
  }

  // REQUIRES: is_compressed().
  [[nodiscard]] CompressedExtent compressed_extent(const Geometry& geometry) const noexcept;

  // Every rule of the format for this entry; `where` is its own byte offset in the file, `version`
  // the header's. `data_file`: host offsets are in an external data file (offset 0 is legal when
  // COPIED is set). Corruption: l2_entry_reserved_bits, cluster_offset_unaligned,
  // compressed_entry_bitmap, subcluster_bits_conflict, subcluster_without_cluster, zero_flag_in_v2,
  // compressed_with_data_file, compressed_entry_copied,
  // compressed_offset_out_of_range, copied_without_cluster, zero_flag_in_extended_l2.
  [[nodiscard]] Result<void> validate(const Geometry& geometry, std::uint32_t version,
                                      bool data_file, HostOffset where) const noexcept;

  friend constexpr bool operator==(const L2Entry&, const L2Entry&) noexcept = default;

 private:
  std::uint64_t raw_ = 0;
  std::uint64_t bitmap_ = 0;
};
static_assert((L2Entry::kCopied | L2Entry::kCompressed | L2Entry::kZero | L2Entry::kOffsetMask |
               L2Entry::kReserved) == ~std::uint64_t{0});

}  // namespace varve
