#include "maintenance/check_report.h"

namespace varve {
namespace {

Corruption unreadable(IoTag tag) noexcept {
  switch (tag) {
    case IoTag::l1:
      return Corruption::l1_table_unreadable;
    case IoTag::l2:
      return Corruption::l2_table_unreadable;
    case IoTag::refcount_block:
      return Corruption::refcount_block_unreadable;
    case IoTag::snapshot_table:
      return Corruption::snapshot_table_unreadable;
    case IoTag::bitmap:
      return Corruption::bitmap_unreadable;
    default:
      return Corruption::none;
  }
}

std::uint64_t known(std::uint64_t value) noexcept {
  return value == Error::kNoOffset ? 0 : value;
}

// Where a rule is about a field that names a cluster, the value is (or holds) that cluster's
// offset.
std::uint64_t cluster_named_by(const Error& error, const Geometry& geometry) noexcept {
  constexpr std::uint64_t kOffsetMask = 0x00ff'ffff'ffff'fe00;
  switch (error.corruption) {
    case Corruption::l1_entry_reserved_bits:
    case Corruption::l2_table_unaligned:
    case Corruption::l2_entry_reserved_bits:
    case Corruption::cluster_offset_unaligned:
    case Corruption::zero_flag_in_v2:
    case Corruption::zero_flag_in_extended_l2:
    case Corruption::refcount_table_entry_reserved_bits:
    case Corruption::refcount_block_unaligned:
    case Corruption::bitmap_table_entry_reserved_bits:
    case Corruption::bitmap_data_unaligned:
    case Corruption::table_beyond_end_of_file:
    case Corruption::cluster_overlaps_metadata:
      return round_down(error.value & kOffsetMask, geometry.cluster_bytes());
    default:
      return 0;
  }
}

}  // namespace

bool is_settled_by_recount(Corruption reason) noexcept {
  return reason == Corruption::copied_flag_wrong || reason == Corruption::refcount_too_low ||
         reason == Corruption::refcount_missing_block;
}

void CheckFindings::add(const Finding& finding) {
  switch (finding.severity) {
    case Severity::leak:
      ++report_.leaks;
      break;
    case Severity::mismatch:
    case Severity::corruption:
      ++report_.corruptions;
      report_.unsettled += is_settled_by_recount(finding.reason) ? 1 : 0;
      break;
    case Severity::failure:
      ++report_.failures;
      break;
  }
  if (report_.findings.size() < findings_max_) {
    report_.findings.push_back(finding);
  }
}

void CheckFindings::add(const Error& error) {
  Finding finding;
  finding.table = error.tag;
  finding.offset = known(error.offset);
  if (error.code == ErrorCode::corrupt) {
    finding.severity = Severity::corruption;
    finding.reason = error.corruption;
    finding.found = known(error.value);
    finding.expected = known(error.limit);
    finding.host_offset = cluster_named_by(error, geometry_);
  } else {
    finding.severity = Severity::failure;
    finding.reason = unreadable(error.tag);
    finding.host_offset = round_down(finding.offset, geometry_.cluster_bytes());
  }
  add(finding);
}

}  // namespace varve
