// Every rule of the format whose violation the library reports, one enumerator per check.
// Tests assert the reason, never the text.
#pragma once

#include <cstdint>

namespace varve {

enum class Corruption : std::uint8_t {
  none,

  // Header.
  header_too_short,  // The file ends inside the header cluster.
  bad_magic,
  cluster_bits_out_of_range,
  header_length_too_small,
  header_length_unaligned,
  header_beyond_cluster,
  refcount_order_out_of_range,
  extended_l2_cluster_too_small,
  compression_type_without_bit,
  compression_bit_without_type,
  data_file_raw_without_data_file,
  data_file_raw_with_backing,
  data_file_with_snapshots,
  virtual_size_too_large,
  l1_table_too_large,
  l1_table_too_small,
  l1_offset_unaligned,
  l1_table_out_of_range,
  l1_table_overlaps_header,
  refcount_table_empty,
  refcount_table_too_large,
  refcount_table_offset_unaligned,
  refcount_table_out_of_range,
  refcount_table_overlaps_header,
  snapshot_count_too_large,
  snapshot_table_offset_unaligned,
  snapshot_table_out_of_range,
  snapshot_table_overlaps_header,
  tables_overlap,  // Two tables the header names share bytes.
  backing_name_empty,
  backing_name_too_long,
  backing_name_outside_cluster,
  backing_name_overlaps_header,
  backing_name_contains_nul,
  backing_size_without_offset,  // Told of untrusted images only: other programs differ there.

  // Header extensions.
  extension_beyond_header,
  extension_duplicate,  // A known extension appears twice.
  backing_format_invalid,
  data_file_name_invalid,
  data_file_name_without_bit,  // Told of untrusted images only.
  encryption_extension_without_encryption,
  bitmaps_extension_length,
  bitmaps_extension_reserved,
  bitmaps_extension_missing,  // The autoclear bit promises an extension that is not there.
  bitmap_count_out_of_range,
  bitmap_directory_size_out_of_range,
  bitmap_directory_unaligned,
  bitmap_directory_out_of_range,

  // L1 and L2 entries.
  l1_entry_reserved_bits,
  l2_table_unaligned,
  l2_entry_reserved_bits,
  cluster_offset_unaligned,
  copied_without_cluster,  // COPIED set, host offset 0, no external data file.
  zero_flag_in_v2,
  zero_flag_in_extended_l2,
  subcluster_bits_conflict,
  subcluster_without_cluster,
  compressed_entry_bitmap,
  compressed_entry_copied,
  compressed_offset_out_of_range,
  compressed_with_data_file,
  data_file_offset_mismatch,

  // Refcount table and blocks.
  refcount_table_entry_reserved_bits,
  refcount_block_unaligned,
  refcount_block_out_of_range,
  refcount_block_shared,   // Two refcount-table entries name one block.
  refcount_missing_block,  // A cluster in use lies where the refcount table has no block.
  refcount_overflow,
  refcount_underflow,
  refcount_zero_in_use,  // A cluster about to be shared or freed has a refcount of 0.

  // Snapshot table.
  snapshot_table_too_large,
  snapshot_table_truncated,
  snapshot_extra_too_large,
  snapshot_extra_missing,  // A v3 entry without VM-state size and disk size.
  snapshot_l1_too_large,
  snapshot_l1_unaligned,
  snapshot_l1_out_of_range,
  snapshot_l1_overlaps_header,
  snapshot_l1_invalid,  // An L1 table of a snapshot breaks a rule of L1 tables.
  snapshot_disk_size_too_large,
  snapshot_vm_state_too_large,
  snapshot_id_duplicate,

  // Bitmaps.
  bitmap_directory_truncated,
  bitmap_directory_trailing_bytes,
  bitmap_table_unaligned,
  bitmap_table_out_of_range,
  bitmap_table_too_large,
  bitmap_flags_reserved,
  bitmap_type_unknown,
  bitmap_granularity_out_of_range,
  bitmap_name_empty,
  bitmap_name_too_long,
  bitmap_name_duplicate,
  bitmap_padding_not_zero,
  bitmap_extra_too_large,
  bitmap_table_entry_reserved_bits,
  bitmap_data_unaligned,

  // Compressed data.
  compressed_stream_invalid,
  compressed_stream_short,  // The stream ends before it has filled the cluster.

  // References between structures: what a checker finds.
  refcount_too_low,   // Fewer counted than referenced.
  refcount_too_high,  // A leak: more counted than referenced.
  copied_flag_wrong,
  cluster_overlaps_metadata,
  cluster_beyond_end_of_file,
  compressed_beyond_end_of_file,
  table_beyond_end_of_file,
  duplicate_reference,  // One cluster serves two purposes that cannot be shared.
  l1_table_unreadable,
  l2_table_unreadable,
  l2_table_shared_in_active,
  refcount_block_unreadable,
  snapshot_table_unreadable,
  bitmap_unreadable,

  // Backing chain and repair.
  backing_loop,
  backing_too_deep,
  backing_format_missing,
  corrupt_bit_set,
  dirty_bit_set,

  // Machine state, and exported streams.
  state_sum_mismatch,     // A chunk of the state differs from its sum.
  state_digest_mismatch,  // The sums differ from their digest.
  stream_invalid,
  stream_sum_mismatch,  // A chunk of the stream differs from its sum.
};
// How many reasons there are; every value below it has a name.
inline constexpr unsigned kCorruptionCount =
    static_cast<unsigned>(Corruption::stream_sum_mismatch) + 1;

// Stable word for a reason: "l1_offset_unaligned". Static lifetime.
[[nodiscard]] const char* corruption_name(Corruption reason) noexcept;

}  // namespace varve
