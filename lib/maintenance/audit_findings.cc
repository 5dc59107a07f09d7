#include "maintenance/audit_findings.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace varve {
namespace {

struct AuditKindRow {
  AuditKind kind;
  AuditSeverity severity;
  const char* name;
};

constexpr AuditSeverity kNote = AuditSeverity::note;
constexpr AuditSeverity kSuspicious = AuditSeverity::suspicious;
constexpr AuditSeverity kDamage = AuditSeverity::damage;

constexpr std::array<AuditKindRow, kAuditKindCount> kAuditKinds = {{
    {AuditKind::backing_file, kSuspicious, "backing_file"},
    {AuditKind::backing_format_missing, kSuspicious, "backing_format_missing"},
    {AuditKind::backing_format_unusual, kSuspicious, "backing_format_unusual"},
    {AuditKind::data_file, kSuspicious, "data_file"},
    {AuditKind::protocol_name, kSuspicious, "protocol_name"},
    {AuditKind::path_outside_folder, kSuspicious, "path_outside_folder"},
    {AuditKind::odd_characters, kSuspicious, "odd_characters"},
    {AuditKind::unknown_feature, kSuspicious, "unknown_feature"},
    {AuditKind::unknown_extension, kSuspicious, "unknown_extension"},
    {AuditKind::unknown_header_fields, kSuspicious, "unknown_header_fields"},
    {AuditKind::contradiction, kSuspicious, "contradiction"},
    {AuditKind::hidden_header_bytes, kSuspicious, "hidden_header_bytes"},
    {AuditKind::encrypted, kSuspicious, "encrypted"},
    {AuditKind::dirty, kSuspicious, "dirty"},
    {AuditKind::marked_corrupt, kDamage, "marked_corrupt"},
    {AuditKind::huge_disk, kSuspicious, "huge_disk"},
    {AuditKind::feature, kNote, "feature"},
    {AuditKind::snapshots, kNote, "snapshots"},
    {AuditKind::machine_state, kNote, "machine_state"},
    {AuditKind::snapshot_size_differs, kNote, "snapshot_size_differs"},
    {AuditKind::snapshot_id_duplicate, kSuspicious, "snapshot_id_duplicate"},
    {AuditKind::snapshot_name_duplicate, kSuspicious, "snapshot_name_duplicate"},
    {AuditKind::snapshot_unknown_data, kSuspicious, "snapshot_unknown_data"},
    {AuditKind::bitmaps, kNote, "bitmaps"},
    {AuditKind::bitmap_in_use, kSuspicious, "bitmap_in_use"},
    {AuditKind::bitmaps_left_behind, kSuspicious, "bitmaps_left_behind"},
    {AuditKind::broken_rule, kDamage, "broken_rule"},
    {AuditKind::mismatch, kDamage, "mismatch"},
    {AuditKind::unsettled_counts, kSuspicious, "unsettled_counts"},
    {AuditKind::unreadable, kDamage, "unreadable"},
    {AuditKind::leaked_clusters, kSuspicious, "leaked_clusters"},
    {AuditKind::not_judged, kSuspicious, "not_judged"},
    {AuditKind::compressed_data, kNote, "compressed_data"},
    {AuditKind::data_beyond_disk, kSuspicious, "data_beyond_disk"},
    {AuditKind::leaked_data, kSuspicious, "leaked_data"},
    {AuditKind::data_after_end, kSuspicious, "data_after_end"},
    {AuditKind::deleted_data, kNote, "deleted_data"},
    {AuditKind::table_slack, kNote, "table_slack"},
    {AuditKind::other_program, kNote, "other_program"},
}};

consteval bool is_audit_table_in_order() {
  for (unsigned i = 0; i < kAuditKindCount; ++i) {
    if (static_cast<unsigned>(kAuditKinds[i].kind) != i) {
      return false;
    }
  }
  return true;
}
static_assert(is_audit_table_in_order());

const AuditKindRow& row_of(AuditKind kind) noexcept {
  return kAuditKinds.at(static_cast<unsigned>(kind));
}

// Snapshots' names may be long, and there may be many.
constexpr std::size_t kSubjectBytesMax = 1023;

}  // namespace

const char* audit_kind_name(AuditKind kind) noexcept {
  return row_of(kind).name;
}

AuditSeverity audit_severity(AuditKind kind) noexcept {
  return row_of(kind).severity;
}

const char* audit_severity_name(AuditSeverity severity) noexcept {
  switch (severity) {
    case AuditSeverity::damage:
      return "damage";
    case AuditSeverity::suspicious:
      return "suspicious";
    case AuditSeverity::note:
      break;
  }
  return "note";
}

std::string audit_hex(std::uint64_t value) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr;
  return "0x" + std::string(digits.data(), end);
}

std::uint64_t& AuditFindings::total(AuditSeverity severity) noexcept {
  switch (severity) {
    case AuditSeverity::damage:
      return report_->damages;
    case AuditSeverity::suspicious:
      return report_->suspicious;
    case AuditSeverity::note:
      break;
  }
  return report_->notes;
}

void AuditFindings::add(AuditFinding finding) {
  finding.severity = audit_severity(finding.kind);
  if (finding.subject.size() > kSubjectBytesMax) {
    finding.subject.resize(kSubjectBytesMax);
  }
  ++total(finding.severity);
  std::size_t& kept = kept_[{finding.kind, finding.reason}];
  // Each says something else of another program.
  if (kept >= findings_max_ && finding.kind != AuditKind::other_program) {
    ++report_->left_out;
    return;
  }
  ++kept;
  report_->findings.push_back(std::move(finding));
}

void AuditFindings::add(AuditKind kind, AuditPlace place, std::string message,
                        std::string_view subject, std::uint64_t count) {
  AuditFinding finding;
  finding.kind = kind;
  finding.table = place.table;
  finding.offset = place.offset;
  finding.count = count;
  finding.subject = subject;
  finding.message = std::move(message);
  add(std::move(finding));
}

void AuditFindings::add_broken(const Error& error) {
  AuditFinding finding;
  finding.kind = AuditKind::broken_rule;
  finding.reason = error.corruption;
  finding.table = error.tag;
  finding.offset = error.offset;
  finding.message = describe(error);
  add(std::move(finding));
}

void AuditFindings::add_left_out(AuditSeverity severity, std::uint64_t count) noexcept {
  total(severity) += count;
  report_->left_out += count;
}

void AuditFindings::sort() noexcept {
  std::ranges::stable_sort(report_->findings, [](const AuditFinding& a, const AuditFinding& b) {
    return a.severity > b.severity;
  });
}

}  // namespace varve
