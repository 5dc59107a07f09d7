#include <array>
#include <cstddef>

#include <varve/corruption.h>

namespace varve {
namespace {

struct Named {
  Corruption reason;
  const char* name;
};

constexpr std::array<Named, kCorruptionCount> kNames = {{
    {Corruption::none, "none"},
    {Corruption::header_too_short, "header_too_short"},
    {Corruption::bad_magic, "bad_magic"},
    {Corruption::cluster_bits_out_of_range, "cluster_bits_out_of_range"},
    {Corruption::header_length_too_small, "header_length_too_small"},
    {Corruption::header_length_unaligned, "header_length_unaligned"},
    {Corruption::header_beyond_cluster, "header_beyond_cluster"},
    {Corruption::refcount_order_out_of_range, "refcount_order_out_of_range"},
    {Corruption::extended_l2_cluster_too_small, "extended_l2_cluster_too_small"},
    {Corruption::compression_type_without_bit, "compression_type_without_bit"},
    {Corruption::compression_bit_without_type, "compression_bit_without_type"},
    {Corruption::data_file_raw_without_data_file, "data_file_raw_without_data_file"},
    {Corruption::data_file_raw_with_backing, "data_file_raw_with_backing"},
    {Corruption::data_file_with_snapshots, "data_file_with_snapshots"},
    {Corruption::virtual_size_too_large, "virtual_size_too_large"},
    {Corruption::l1_table_too_large, "l1_table_too_large"},
    {Corruption::l1_table_too_small, "l1_table_too_small"},
    {Corruption::l1_offset_unaligned, "l1_offset_unaligned"},
    {Corruption::l1_table_out_of_range, "l1_table_out_of_range"},
    {Corruption::l1_table_overlaps_header, "l1_table_overlaps_header"},
    {Corruption::refcount_table_empty, "refcount_table_empty"},
    {Corruption::refcount_table_too_large, "refcount_table_too_large"},
    {Corruption::refcount_table_offset_unaligned, "refcount_table_offset_unaligned"},
    {Corruption::refcount_table_out_of_range, "refcount_table_out_of_range"},
    {Corruption::refcount_table_overlaps_header, "refcount_table_overlaps_header"},
    {Corruption::snapshot_count_too_large, "snapshot_count_too_large"},
    {Corruption::snapshot_table_offset_unaligned, "snapshot_table_offset_unaligned"},
    {Corruption::snapshot_table_out_of_range, "snapshot_table_out_of_range"},
    {Corruption::snapshot_table_overlaps_header, "snapshot_table_overlaps_header"},
    {Corruption::tables_overlap, "tables_overlap"},
    {Corruption::backing_name_empty, "backing_name_empty"},
    {Corruption::backing_name_too_long, "backing_name_too_long"},
    {Corruption::backing_name_outside_cluster, "backing_name_outside_cluster"},
    {Corruption::backing_name_overlaps_header, "backing_name_overlaps_header"},
    {Corruption::backing_name_contains_nul, "backing_name_contains_nul"},
    {Corruption::backing_size_without_offset, "backing_size_without_offset"},
    {Corruption::extension_beyond_header, "extension_beyond_header"},
    {Corruption::extension_duplicate, "extension_duplicate"},
    {Corruption::backing_format_invalid, "backing_format_invalid"},
    {Corruption::data_file_name_invalid, "data_file_name_invalid"},
    {Corruption::data_file_name_without_bit, "data_file_name_without_bit"},
    {Corruption::encryption_extension_without_encryption,
     "encryption_extension_without_encryption"},
    {Corruption::bitmaps_extension_length, "bitmaps_extension_length"},
    {Corruption::bitmaps_extension_reserved, "bitmaps_extension_reserved"},
    {Corruption::bitmaps_extension_missing, "bitmaps_extension_missing"},
    {Corruption::bitmap_count_out_of_range, "bitmap_count_out_of_range"},
    {Corruption::bitmap_directory_size_out_of_range, "bitmap_directory_size_out_of_range"},
    {Corruption::bitmap_directory_unaligned, "bitmap_directory_unaligned"},
    {Corruption::bitmap_directory_out_of_range, "bitmap_directory_out_of_range"},
    {Corruption::l1_entry_reserved_bits, "l1_entry_reserved_bits"},
    {Corruption::l2_table_unaligned, "l2_table_unaligned"},
    {Corruption::l2_entry_reserved_bits, "l2_entry_reserved_bits"},
    {Corruption::cluster_offset_unaligned, "cluster_offset_unaligned"},
    {Corruption::copied_without_cluster, "copied_without_cluster"},
    {Corruption::zero_flag_in_v2, "zero_flag_in_v2"},
    {Corruption::zero_flag_in_extended_l2, "zero_flag_in_extended_l2"},
    {Corruption::subcluster_bits_conflict, "subcluster_bits_conflict"},
    {Corruption::subcluster_without_cluster, "subcluster_without_cluster"},
    {Corruption::compressed_entry_bitmap, "compressed_entry_bitmap"},
    {Corruption::compressed_entry_copied, "compressed_entry_copied"},
    {Corruption::compressed_offset_out_of_range, "compressed_offset_out_of_range"},
    {Corruption::compressed_with_data_file, "compressed_with_data_file"},
    {Corruption::data_file_offset_mismatch, "data_file_offset_mismatch"},
    {Corruption::refcount_table_entry_reserved_bits, "refcount_table_entry_reserved_bits"},
    {Corruption::refcount_block_unaligned, "refcount_block_unaligned"},
    {Corruption::refcount_block_out_of_range, "refcount_block_out_of_range"},
    {Corruption::refcount_block_shared, "refcount_block_shared"},
    {Corruption::refcount_missing_block, "refcount_missing_block"},
    {Corruption::refcount_overflow, "refcount_overflow"},
    {Corruption::refcount_underflow, "refcount_underflow"},
    {Corruption::refcount_zero_in_use, "refcount_zero_in_use"},
    {Corruption::snapshot_table_too_large, "snapshot_table_too_large"},
    {Corruption::snapshot_table_truncated, "snapshot_table_truncated"},
    {Corruption::snapshot_extra_too_large, "snapshot_extra_too_large"},
    {Corruption::snapshot_extra_missing, "snapshot_extra_missing"},
    {Corruption::snapshot_l1_too_large, "snapshot_l1_too_large"},
    {Corruption::snapshot_l1_unaligned, "snapshot_l1_unaligned"},
    {Corruption::snapshot_l1_out_of_range, "snapshot_l1_out_of_range"},
    {Corruption::snapshot_l1_overlaps_header, "snapshot_l1_overlaps_header"},
    {Corruption::snapshot_l1_invalid, "snapshot_l1_invalid"},
    {Corruption::snapshot_disk_size_too_large, "snapshot_disk_size_too_large"},
    {Corruption::snapshot_vm_state_too_large, "snapshot_vm_state_too_large"},
    {Corruption::snapshot_id_duplicate, "snapshot_id_duplicate"},
    {Corruption::bitmap_directory_truncated, "bitmap_directory_truncated"},
    {Corruption::bitmap_directory_trailing_bytes, "bitmap_directory_trailing_bytes"},
    {Corruption::bitmap_table_unaligned, "bitmap_table_unaligned"},
    {Corruption::bitmap_table_out_of_range, "bitmap_table_out_of_range"},
    {Corruption::bitmap_table_too_large, "bitmap_table_too_large"},
    {Corruption::bitmap_flags_reserved, "bitmap_flags_reserved"},
    {Corruption::bitmap_type_unknown, "bitmap_type_unknown"},
    {Corruption::bitmap_granularity_out_of_range, "bitmap_granularity_out_of_range"},
    {Corruption::bitmap_name_empty, "bitmap_name_empty"},
    {Corruption::bitmap_name_too_long, "bitmap_name_too_long"},
    {Corruption::bitmap_name_duplicate, "bitmap_name_duplicate"},
    {Corruption::bitmap_padding_not_zero, "bitmap_padding_not_zero"},
    {Corruption::bitmap_extra_too_large, "bitmap_extra_too_large"},
    {Corruption::bitmap_table_entry_reserved_bits, "bitmap_table_entry_reserved_bits"},
    {Corruption::bitmap_data_unaligned, "bitmap_data_unaligned"},
    {Corruption::compressed_stream_invalid, "compressed_stream_invalid"},
    {Corruption::compressed_stream_short, "compressed_stream_short"},
    {Corruption::refcount_too_low, "refcount_too_low"},
    {Corruption::refcount_too_high, "refcount_too_high"},
    {Corruption::copied_flag_wrong, "copied_flag_wrong"},
    {Corruption::cluster_overlaps_metadata, "cluster_overlaps_metadata"},
    {Corruption::cluster_beyond_end_of_file, "cluster_beyond_end_of_file"},
    {Corruption::compressed_beyond_end_of_file, "compressed_beyond_end_of_file"},
    {Corruption::table_beyond_end_of_file, "table_beyond_end_of_file"},
    {Corruption::duplicate_reference, "duplicate_reference"},
    {Corruption::l1_table_unreadable, "l1_table_unreadable"},
    {Corruption::l2_table_unreadable, "l2_table_unreadable"},
    {Corruption::l2_table_shared_in_active, "l2_table_shared_in_active"},
    {Corruption::refcount_block_unreadable, "refcount_block_unreadable"},
    {Corruption::snapshot_table_unreadable, "snapshot_table_unreadable"},
    {Corruption::bitmap_unreadable, "bitmap_unreadable"},
    {Corruption::backing_loop, "backing_loop"},
    {Corruption::backing_too_deep, "backing_too_deep"},
    {Corruption::backing_format_missing, "backing_format_missing"},
    {Corruption::corrupt_bit_set, "corrupt_bit_set"},
    {Corruption::dirty_bit_set, "dirty_bit_set"},
    {Corruption::state_sum_mismatch, "state_sum_mismatch"},
    {Corruption::state_digest_mismatch, "state_digest_mismatch"},
    {Corruption::stream_invalid, "stream_invalid"},
    {Corruption::stream_sum_mismatch, "stream_sum_mismatch"},
}};

constexpr bool names_stand_in_order() {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (static_cast<std::size_t>(kNames[i].reason) != i || kNames[i].name == nullptr) {
      return false;
    }
  }
  return true;
}
static_assert(names_stand_in_order());

}  // namespace

const char* corruption_name(Corruption reason) noexcept {
  const auto index = static_cast<std::size_t>(reason);
  return index < kNames.size() ? kNames[index].name : "unknown";
}

}  // namespace varve
