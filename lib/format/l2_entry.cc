#include "format/l2_entry.h"

#include "base/assert.h"
#include "base/failure.h"
#include "format/header.h"

namespace varve {
namespace {

// A compressed descriptor is two numbers in 62 bits: the offset below this bit, the count of
// additional sectors from it on.
constexpr std::uint32_t sector_count_shift(const Geometry& geometry) noexcept {
  return 62 - (geometry.cluster_bits - 8);
}
static_assert(sector_count_shift({.cluster_bits = 9}) == 61);
static_assert(sector_count_shift({.cluster_bits = 21}) == 49);

constexpr std::uint64_t low_bits(std::uint32_t count) noexcept {
  return (std::uint64_t{1} << count) - 1;
}

struct Descriptor {
  std::uint64_t offset = 0;
  std::uint64_t additional_sectors = 0;
};

Descriptor split(const Geometry& geometry, std::uint64_t raw) noexcept {
  const std::uint32_t shift = sector_count_shift(geometry);
  return {raw & low_bits(shift), (raw & low_bits(62)) >> shift};
}

Error broken(Corruption reason, HostOffset where, const char* what, std::uint64_t value,
             std::uint64_t limit = Error::kNoOffset) noexcept {
  return corrupt_at(reason, IoTag::l2, where.value(), what, value, limit);
}

Result<void> validate_compressed(const L2Entry& entry, const Geometry& geometry, bool data_file,
                                 HostOffset where) noexcept {
  if (data_file) {
    return broken(Corruption::compressed_with_data_file, where,
                  "L2 entry: compressed cluster in an image with an external data file",
                  entry.raw());
  }
  if (entry.is_copied()) {
    return broken(Corruption::compressed_entry_copied, where,
                  "L2 entry: compressed cluster with the COPIED flag", entry.raw());
  }
  if (entry.bitmap() != 0) {
    return broken(Corruption::compressed_entry_bitmap, where,
                  "L2 entry: compressed cluster with a subcluster bitmap", entry.bitmap());
  }
  const CompressedExtent extent = entry.compressed_extent(geometry);
  if (!range_fits(extent.offset.value(), extent.length, kHostOffsetEnd)) {
    return broken(Corruption::compressed_offset_out_of_range, where,
                  "L2 entry: compressed cluster ends beyond the largest host offset",
                  extent.offset.value(), kHostOffsetEnd);
  }
  if (extent.offset.value() < geometry.cluster_bytes()) {
    // Overwriting it would free the header.
    return broken(Corruption::compressed_offset_out_of_range, where,
                  "L2 entry: compressed cluster inside the header's cluster", extent.offset.value(),
                  geometry.cluster_bytes());
  }
  return {};
}

Result<void> validate_subclusters(std::uint64_t bitmap, bool allocated, HostOffset where) noexcept {
  const std::uint64_t data = bitmap & 0xffff'ffff;
  const std::uint64_t zero = bitmap >> 32;
  if ((data & zero) != 0) {
    return broken(Corruption::subcluster_bits_conflict, where,
                  "L2 entry: a subcluster is both allocated and zero", bitmap);
  }
  if (data != 0 && !allocated) {
    return broken(Corruption::subcluster_without_cluster, where,
                  "L2 entry: allocated subclusters without a host cluster", bitmap);
  }
  return {};
}

}  // namespace

bool L2Entry::is_compressible_at(const Geometry& geometry,
                                 const CompressedExtent& extent) noexcept {
  const std::uint64_t offset = extent.offset.value();
  const std::uint32_t shift = sector_count_shift(geometry);
  if (extent.length == 0 || !range_fits(offset, extent.length, kHostOffsetEnd) ||
      offset > low_bits(shift)) {
    return false;
  }
  const std::uint64_t last = offset + extent.length - 1;
  const std::uint64_t additional = last / kSectorBytes - offset / kSectorBytes;
  return additional <= low_bits(62 - shift);
}

L2Entry L2Entry::compressed(const Geometry& geometry, const CompressedExtent& extent) noexcept {
  VARVE_ASSERT(is_compressible_at(geometry, extent));
  const std::uint64_t offset = extent.offset.value();
  const std::uint64_t last = offset + extent.length - 1;
  const std::uint64_t additional = last / kSectorBytes - offset / kSectorBytes;
  return L2Entry(kCompressed | (additional << sector_count_shift(geometry)) | offset);
}

CompressedExtent L2Entry::compressed_extent(const Geometry& geometry) const noexcept {
  VARVE_ASSERT(is_compressed());
  const auto [offset, additional] = split(geometry, raw_);
  // At most 2^61 + 2^22: no overflow.
  const std::uint64_t end = round_down(offset, kSectorBytes) + (additional + 1) * kSectorBytes;
  return {HostOffset(offset), end - offset};
}

Result<void> L2Entry::validate(const Geometry& geometry, std::uint32_t version, bool data_file,
                               HostOffset where) const noexcept {
  if (is_compressed()) {
    return validate_compressed(*this, geometry, data_file, where);
  }
  if ((raw_ & kReserved) != 0) {
    return broken(Corruption::l2_entry_reserved_bits, where, "L2 entry has reserved bits set",
                  raw_);
  }
  if (geometry.in_cluster(host().value()) != 0) {
    return broken(Corruption::cluster_offset_unaligned, where,
                  "L2 entry: host cluster is not on a cluster boundary", host().value(),
                  geometry.cluster_bytes());
  }
  if ((raw_ & kZero) != 0 && geometry.extended_l2) {
    return broken(Corruption::zero_flag_in_extended_l2, where,
                  "L2 entry: zero flag in an extended entry", raw_);
  }
  if ((raw_ & kZero) != 0 && version < 3) {
    return broken(Corruption::zero_flag_in_v2, where, "L2 entry: zero flag in a version 2 image",
                  raw_);
  }
  const bool allocated = has_host(data_file);
  if (is_copied() && !allocated) {
    return broken(Corruption::copied_without_cluster, where,
                  "L2 entry: COPIED flag without a host cluster", raw_);
  }
  return geometry.extended_l2 ? validate_subclusters(bitmap_, allocated, where) : Result<void>();
}

}  // namespace varve
