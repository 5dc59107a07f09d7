#include "format/header_checks.h"

#include <algorithm>
#include <string_view>

#include "base/checked.h"
#include "base/failure.h"

namespace varve {
namespace {

using Predicate = bool (*)(const HeaderDraft&) noexcept;
using Limit = std::uint64_t (*)(const HeaderDraft&) noexcept;

struct HeaderCheck {
  Corruption reason;  // none: legal qcow2 that is not supported here.
  std::size_t field;  // Row of kHeaderFields: where the error points, and its value.
  const char* what;
  Predicate holds;
  Limit limit = nullptr;
};

consteval std::size_t row(std::string_view name) {
  std::size_t index = 0;
  while (name != kHeaderFields.at(index).name) {
    ++index;
  }
  return index;
}

std::uint64_t cluster_bytes(const HeaderDraft& d) noexcept {
  return d.header.geometry.cluster_bytes();
}
bool is_cluster_aligned(const HeaderDraft& d, HostOffset offset) noexcept {
  return d.header.geometry.in_cluster(offset.value()) == 0;
}
bool has(std::uint64_t features, std::uint64_t bit) noexcept {
  return (features & bit) != 0;
}

// Whether two ranges share a byte. REQUIRES: both fit below kHostOffsetEnd.
bool overlaps(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b,
              std::uint64_t b_bytes) noexcept {
  return a < b + b_bytes && b < a + a_bytes;
}

// What decides how the rest is read: first.
constexpr HeaderCheck kFormChecks[] = {
    {Corruption::header_length_too_small, row("header_bytes"), "header_length",
     [](const HeaderDraft& d) noexcept {
       return d.header.version < 3 || d.header.header_bytes >= kHeaderBytesV3Min;
     },
     [](const HeaderDraft&) noexcept -> std::uint64_t { return kHeaderBytesV3Min; }},
    {Corruption::header_length_unaligned, row("header_bytes"),
     "header_length is not a multiple of 8",
     [](const HeaderDraft& d) noexcept { return is_aligned(d.header.header_bytes, 8); },
     [](const HeaderDraft&) noexcept -> std::uint64_t { return 8; }},
    {Corruption::header_beyond_cluster, row("header_bytes"),
     "header_length reaches beyond the first cluster",
     [](const HeaderDraft& d) noexcept { return d.header.header_bytes <= cluster_bytes(d); },
     cluster_bytes},
    {Corruption::none, row("incompatible_features"),
     "incompatible_features: the image uses features this program does not know",
     [](const HeaderDraft& d) noexcept {
       return (d.header.incompatible & ~kIncompatibleKnown) == 0;
     },
     [](const HeaderDraft&) noexcept { return kIncompatibleKnown; }},
    {Corruption::none, row("encryption_method"), "crypt_method: encryption is not supported",
     [](const HeaderDraft& d) noexcept { return d.encryption_method == 0; }},
    {Corruption::refcount_order_out_of_range, row("refcount_order"), "refcount_order",
     [](const HeaderDraft& d) noexcept {
       return d.header.geometry.refcount_order <= kRefcountOrderMax;
     },
     [](const HeaderDraft&) noexcept -> std::uint64_t { return kRefcountOrderMax; }},
    {Corruption::extended_l2_cluster_too_small, row("cluster_bits"),
     "cluster_bits: extended L2 entries need 16 KiB clusters",
     [](const HeaderDraft& d) noexcept {
       return !d.header.geometry.extended_l2 ||
              d.header.geometry.cluster_bits >= kExtendedL2ClusterBitsMin;
     },
     [](const HeaderDraft&) noexcept -> std::uint64_t { return kExtendedL2ClusterBitsMin; }},
    {Corruption::compression_type_without_bit, row("compression_type"),
     "compression_type is set without its incompatible feature bit",
     [](const HeaderDraft& d) noexcept {
       return d.compression_type == 0 || has(d.header.incompatible, kIncompatibleCompression);
     }},
    {Corruption::compression_bit_without_type, row("incompatible_features"),
     "incompatible_features: compression bit without a compression_type",
     [](const HeaderDraft& d) noexcept {
       return d.compression_type != 0 || !has(d.header.incompatible, kIncompatibleCompression);
     }},
    {Corruption::none, row("compression_type"), "compression_type is not known",
     [](const HeaderDraft& d) noexcept {
       return d.compression_type <= static_cast<std::uint8_t>(Compression::zstd);
     },
     [](const HeaderDraft&) noexcept -> std::uint64_t {
       return static_cast<std::uint64_t>(Compression::zstd);
     }},
    {Corruption::data_file_raw_without_data_file, row("autoclear_features"),
     "autoclear_features: raw external data without an external data file",
     [](const HeaderDraft& d) noexcept {
       return !has(d.header.autoclear, kAutoclearDataFileRaw) || d.header.has_data_file();
     }},
    {Corruption::data_file_raw_with_backing, row("backing_name_offset"),
     "backing_file_offset: raw external data cannot have a backing file",
     [](const HeaderDraft& d) noexcept {
       return !has(d.header.autoclear, kAutoclearDataFileRaw) || d.backing_offset == 0;
     }},
    {Corruption::data_file_with_snapshots, row("snapshot_count"),
     "nb_snapshots: an image with an external data file cannot have snapshots",
     [](const HeaderDraft& d) noexcept {
       return !d.header.has_data_file() || d.header.snapshot_count == 0;
     }},
};

constexpr HeaderCheck kL1Checks[] = {
    {Corruption::virtual_size_too_large, row("virtual_size"),
     "size: the disk needs an L1 table beyond 32 MiB",
     [](const HeaderDraft& d) noexcept {
       return d.header.geometry.l1_entries_for(d.header.virtual_size) <= kL1BytesMax / 8;
     },
     [](const HeaderDraft& d) noexcept {
       return kL1BytesMax / 8 * d.header.geometry.l2_coverage();
     }},
    {Corruption::l1_table_too_large, row("l1_entries"), "l1_size: entries of the L1 table",
     [](const HeaderDraft& d) noexcept { return d.l1_bytes <= kL1BytesMax; },
     [](const HeaderDraft&) noexcept { return kL1BytesMax / 8; }},
    {Corruption::l1_table_too_small, row("l1_entries"),
     "l1_size: the L1 table is too small for the disk",
     [](const HeaderDraft& d) noexcept {
       return d.header.l1_entries >= d.header.geometry.l1_entries_for(d.header.virtual_size);
     },
     [](const HeaderDraft& d) noexcept {
       return d.header.geometry.l1_entries_for(d.header.virtual_size);
     }},
    {Corruption::l1_offset_unaligned, row("l1_offset"),
     "l1_table_offset is not on a cluster boundary",
     [](const HeaderDraft& d) noexcept { return is_cluster_aligned(d, d.header.l1_offset); },
     cluster_bytes},
    {Corruption::l1_table_out_of_range, row("l1_offset"),
     "l1_table_offset: the table ends beyond the largest host offset",
     [](const HeaderDraft& d) noexcept {
       return range_fits(d.header.l1_offset.value(), d.l1_bytes, kHostOffsetEnd);
     },
     [](const HeaderDraft&) noexcept { return kHostOffsetEnd; }},
    {Corruption::l1_table_overlaps_header, row("l1_offset"),
     "l1_table_offset: the table lies in the header cluster",
     [](const HeaderDraft& d) noexcept {
       return d.header.l1_entries == 0 || d.header.l1_offset.value() >= cluster_bytes(d);
     },
     cluster_bytes},
};

constexpr HeaderCheck kRefcountTableChecks[] = {
    {Corruption::refcount_table_empty, row("refcount_table_clusters"),
     "refcount_table_clusters is zero",
     [](const HeaderDraft& d) noexcept { return d.header.refcount_table_clusters != 0; }},
    {Corruption::refcount_table_too_large, row("refcount_table_clusters"),
     "refcount_table_clusters: the table is larger than 8 MiB",
     [](const HeaderDraft& d) noexcept { return d.refcount_table_bytes <= kRefcountTableBytesMax; },
     [](const HeaderDraft& d) noexcept { return kRefcountTableBytesMax / cluster_bytes(d); }},
    {Corruption::refcount_table_offset_unaligned, row("refcount_table_offset"),
     "refcount_table_offset is not on a cluster boundary",
     [](const HeaderDraft& d) noexcept {
       return is_cluster_aligned(d, d.header.refcount_table_offset);
     },
     cluster_bytes},
    {Corruption::refcount_table_out_of_range, row("refcount_table_offset"),
     "refcount_table_offset: the table ends beyond the largest host offset",
     [](const HeaderDraft& d) noexcept {
       return range_fits(d.header.refcount_table_offset.value(), d.refcount_table_bytes,
                         kHostOffsetEnd);
     },
     [](const HeaderDraft&) noexcept { return kHostOffsetEnd; }},
    {Corruption::refcount_table_overlaps_header, row("refcount_table_offset"),
     "refcount_table_offset: the table lies in the header cluster",
     [](const HeaderDraft& d) noexcept {
       return d.header.refcount_table_offset.value() >= cluster_bytes(d);
     },
     cluster_bytes},
    {Corruption::tables_overlap, row("l1_offset"),
     "l1_table_offset: L1 table and refcount table overlap",
     [](const HeaderDraft& d) noexcept {
       return !overlaps(d.header.l1_offset.value(), d.l1_bytes,
                        d.header.refcount_table_offset.value(), d.refcount_table_bytes);
     }},
};

constexpr HeaderCheck kSnapshotChecks[] = {
    {Corruption::snapshot_count_too_large, row("snapshot_count"), "nb_snapshots",
     [](const HeaderDraft& d) noexcept { return d.header.snapshot_count <= kSnapshotsMax; },
     [](const HeaderDraft&) noexcept -> std::uint64_t { return kSnapshotsMax; }},
    {Corruption::snapshot_table_offset_unaligned, row("snapshot_table_offset"),
     "snapshots_offset is not on a cluster boundary",
     [](const HeaderDraft& d) noexcept {
       return is_cluster_aligned(d, d.header.snapshot_table_offset);
     },
     cluster_bytes},
    {Corruption::snapshot_table_out_of_range, row("snapshot_table_offset"),
     "snapshots_offset: the table ends beyond the largest host offset",
     [](const HeaderDraft& d) noexcept {
       // The table's length is known only after reading it; an entry has at least 40 bytes.
       return range_fits(d.header.snapshot_table_offset.value(),
                         std::uint64_t{d.header.snapshot_count} * 40, kHostOffsetEnd);
     },
     [](const HeaderDraft&) noexcept { return kHostOffsetEnd; }},
    {Corruption::snapshot_table_overlaps_header, row("snapshot_table_offset"),
     "snapshots_offset: the table lies in the header cluster",
     [](const HeaderDraft& d) noexcept {
       return d.header.snapshot_count == 0 ||
              d.header.snapshot_table_offset.value() >= cluster_bytes(d);
     },
     cluster_bytes},
    {Corruption::tables_overlap, row("snapshot_table_offset"),
     "snapshots_offset: the snapshot table overlaps the L1 table or the refcount table",
     [](const HeaderDraft& d) noexcept {
       const std::uint64_t offset = d.header.snapshot_table_offset.value();
       const std::uint64_t bytes = std::uint64_t{d.header.snapshot_count} * 40;
       return !overlaps(offset, bytes, d.header.l1_offset.value(), d.l1_bytes) &&
              !overlaps(offset, bytes, d.header.refcount_table_offset.value(),
                        d.refcount_table_bytes);
     }},
};

constexpr HeaderCheck kBackingNameChecks[] = {
    {Corruption::backing_name_empty, row("backing_name_bytes"),
     "backing_file_size is zero although backing_file_offset is set",
     [](const HeaderDraft& d) noexcept { return d.backing_offset == 0 || d.backing_bytes != 0; }},
    {Corruption::backing_name_too_long, row("backing_name_bytes"), "backing_file_size",
     [](const HeaderDraft& d) noexcept {
       return d.backing_offset == 0 || d.backing_bytes <= kBackingNameBytesMax;
     },
     [](const HeaderDraft&) noexcept -> std::uint64_t { return kBackingNameBytesMax; }},
    {Corruption::backing_name_overlaps_header, row("backing_name_offset"),
     "backing_file_offset: the name lies in the header's own fields",
     [](const HeaderDraft& d) noexcept {
       return d.backing_offset == 0 || d.backing_offset >= d.header.header_bytes;
     },
     [](const HeaderDraft& d) noexcept -> std::uint64_t { return d.header.header_bytes; }},
    {Corruption::backing_name_outside_cluster, row("backing_name_offset"),
     "backing_file_offset: the name reaches beyond the first cluster",
     [](const HeaderDraft& d) noexcept {
       return d.backing_offset == 0 ||
              range_fits(d.backing_offset, d.backing_bytes, cluster_bytes(d));
     },
     cluster_bytes},
};

Result<void> run(std::span<const HeaderCheck> checks, const HeaderDraft& draft,
                 ConstBytes cluster0) noexcept {
  for (const HeaderCheck& check : checks) {
    if (check.holds(draft)) {
      continue;
    }
    const Field& field = kHeaderFields[check.field];
    Error error = corrupt_at(check.reason, IoTag::header, field.offset, check.what,
                             load_field(cluster0, field));
    if (check.limit != nullptr) {
      error.limit = check.limit(draft);
    }
    if (check.reason == Corruption::none) {
      error.code = ErrorCode::unsupported;
    }
    return error;
  }
  return {};
}

}  // namespace

Result<void> validate_fields(const HeaderDraft& draft, ConstBytes cluster0) noexcept {
  for (const std::span<const HeaderCheck> checks :
       {std::span<const HeaderCheck>(kFormChecks), std::span<const HeaderCheck>(kL1Checks),
        std::span<const HeaderCheck>(kRefcountTableChecks),
        std::span<const HeaderCheck>(kSnapshotChecks),
        std::span<const HeaderCheck>(kBackingNameChecks)}) {
    if (const Result<void> outcome = run(checks, draft, cluster0); !outcome) {
      return outcome;
    }
  }
  return {};
}

}  // namespace varve
