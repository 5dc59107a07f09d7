#include "maintenance/audit_tables.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <varve/bitmap.h>
#include <varve/check.h>

#include "base/buffer.h"
#include "base/try.h"
#include "format/snapshot_facts.h"
#include "maintenance/audit_header.h"
#include "maintenance/audit_residue.h"
#include "maintenance/check_metadata.h"
#include "maintenance/check_report.h"
#include "meta/batch.h"

namespace varve {
namespace {

AuditKind kind_of(Severity severity) noexcept {
  switch (severity) {
    case Severity::leak:
      return AuditKind::leaked_clusters;
    case Severity::mismatch:
      return AuditKind::mismatch;
    case Severity::failure:
      return AuditKind::unreadable;
    case Severity::corruption:
      break;
  }
  return AuditKind::broken_rule;
}

// Leaks are one finding, and so is what a dirty image may have wrong; everything else one each.
void take_over(const CheckReport& report, bool is_dirty, AuditFindings& findings) {
  std::uint64_t damages = 0;
  if (is_dirty && report.unsettled != 0) {
    findings.add(AuditKind::unsettled_counts, {},
                 "counts and COPIED flags that are wrong, as those of a dirty image may be: " +
                     std::to_string(report.unsettled),
                 {}, report.unsettled);
  }
  for (const Finding& found : report.findings) {
    if (found.severity == Severity::leak || (is_dirty && is_settled_by_recount(found.reason))) {
      continue;
    }
    ++damages;
    AuditFinding finding;
    finding.kind = kind_of(found.severity);
    finding.reason = found.reason;
    finding.table = found.table;
    finding.offset = found.offset;
    finding.message = std::string(corruption_name(found.reason)) + ": found " +
                      audit_hex(found.found) + ", expected " + audit_hex(found.expected) +
                      ", about the cluster at " + audit_hex(found.host_offset);
    findings.add(std::move(finding));
  }
  const std::uint64_t unsettled = is_dirty ? report.unsettled : 0;
  findings.add_left_out(AuditSeverity::damage,
                        report.corruptions - unsettled + report.failures - damages);
  const auto leak = std::ranges::find(report.findings, Severity::leak, &Finding::severity);
  if (report.leaks != 0) {
    const bool is_place_known = leak != report.findings.end();
    findings.add(AuditKind::leaked_clusters,
                 {IoTag::refcount_block, is_place_known ? leak->offset : Error::kNoOffset},
                 "clusters counted more often than referred to, which is space lost: " +
                     std::to_string(report.leaks),
                 {}, report.leaks);
  }
}

void add_residue(AuditKind kind, const AuditResidue::Clusters& clusters, const char* what,
                 AuditFindings& findings) {
  if (clusters.count != 0) {
    findings.add(kind, {IoTag::none, clusters.first}, what + std::to_string(clusters.count), {},
                 clusters.count);
  }
}

// The texts that occur more than once, each told once. Errors: over_budget.
Result<void> judge_duplicates(Meter* meter, std::vector<std::string_view>& texts, AuditKind kind,
                              HostOffset table, const char* message, AuditFindings& findings) {
  MeteredMemory held;
  VARVE_TRY(held.take(meter, texts.capacity() * sizeof(std::string_view)));
  // Comparing what is alike costs its length; sixteen times each at most, eight bytes a step.
  std::uint64_t bytes = 0;
  for (const std::string_view text : texts) {
    bytes += 64 + text.size();
  }
  spend_steps(meter, 2 * bytes);
  VARVE_TRY(verdict_of(meter));
  std::ranges::sort(texts);
  for (std::size_t i = 1; i < texts.size(); ++i) {
    const bool is_first = i == 1 || texts[i - 2] != texts[i - 1];
    if (texts[i] == texts[i - 1] && is_first) {
      findings.add(kind, {IoTag::snapshot_table, table.value()}, message, texts[i]);
    }
  }
  return {};
}

Result<void> judge_names(const Metadata& metadata, AuditFindings& findings) {
  const std::vector<SnapshotEntry>& entries = metadata.snapshots.entries;
  const HostOffset table = metadata.header.snapshot_table_offset;
  std::vector<std::string_view> texts;
  texts.reserve(entries.size());
  for (const SnapshotEntry& entry : entries) {
    judge_characters("a snapshot's name", {IoTag::snapshot_table, table.value()}, entry.name,
                     findings);
    judge_characters("a snapshot's id", {IoTag::snapshot_table, table.value()}, entry.id, findings);
    texts.emplace_back(entry.id);
  }
  VARVE_TRY(judge_duplicates(metadata.meter, texts, AuditKind::snapshot_id_duplicate, table,
                             "several snapshots have one id: programs differ on which is meant",
                             findings));
  texts.clear();
  for (const SnapshotEntry& entry : entries) {
    texts.emplace_back(entry.name);
  }
  return judge_duplicates(metadata.meter, texts, AuditKind::snapshot_name_duplicate, table,
                          "several snapshots have one name: QEMU takes the first", findings);
}

// What stands in the last cluster of a table behind its last entry.
Result<void> judge_slack(Metadata& metadata, IoTag tag, HostOffset table, std::uint64_t bytes,
                         AuditFindings& findings) {
  const Geometry& geometry = metadata.geometry;
  const std::uint64_t slack = geometry.clusters_for(bytes) * geometry.cluster_bytes() - bytes;
  if (slack == 0) {
    return {};
  }
  MeteredMemory held;
  VARVE_TRY(held.take(metadata.meter, slack));
  Buffer buffer = VARVE_TRY(Buffer::allocate(slack));
  Batch batch(metadata.counters);
  VARVE_TRY(batch.read(*metadata.file, tag, table + bytes, buffer.bytes()));
  const Result<void> read = batch.run();
  VARVE_TRY(verdict_of(metadata.meter));
  if (!read) {
    findings.add(AuditKind::unreadable, {tag, (table + bytes).value()},
                 "what stands behind a table's last entry cannot be read");
  } else if (!is_all_zero(buffer.bytes())) {
    findings.add(AuditKind::table_slack, {tag, (table + bytes).value()},
                 "the last cluster of a table is not zero behind the table's end");
  }
  return {};
}

}  // namespace

Result<void> judge_snapshots(const Metadata& metadata, AuditFacts& facts, AuditFindings& findings) {
  const std::vector<SnapshotEntry>& entries = metadata.snapshots.entries;
  const AuditPlace place = {IoTag::snapshot_table, metadata.header.snapshot_table_offset.value()};
  facts.snapshots = entries.size();
  if (entries.empty()) {
    return {};
  }
  findings.add(
      AuditKind::snapshots, place,
      "snapshots, from which can be read what was deleted since: " + std::to_string(entries.size()),
      {}, entries.size());
  std::uint64_t states = 0;
  std::uint64_t other_sizes = 0;
  for (const SnapshotEntry& entry : entries) {
    states += entry.vm_state_bytes != 0 ? 1 : 0;
    other_sizes += entry.disk_size != metadata.header.virtual_size ? 1 : 0;
    if (entry.unknown_extra.empty()) {
      continue;
    }
    if (SnapshotFacts::decode(entry.unknown_extra)) {
      ++facts.snapshots_with_facts;
    } else {
      findings.add(AuditKind::snapshot_unknown_data, place,
                   "bytes kept with a snapshot that are not known: " +
                       std::to_string(entry.unknown_extra.size()),
                   entry.name, entry.unknown_extra.size());
    }
  }
  if (states != 0) {
    findings.add(
        AuditKind::machine_state, place,
        "snapshots with a machine's memory, and the secrets in it: " + std::to_string(states), {},
        states);
  }
  if (other_sizes != 0) {
    findings.add(AuditKind::snapshot_size_differs, place,
                 "snapshots of another size than the disk: " + std::to_string(other_sizes), {},
                 other_sizes);
  }
  return judge_names(metadata, findings);
}

Result<void> judge_bitmaps(Image& image, AuditFacts& facts, AuditFindings& findings) {
  const Result<std::vector<BitmapInfo>> bitmaps = list_bitmaps(image);
  if (!bitmaps) {
    // A directory that breaks a rule, or cannot be read, is told by the check.
    const ErrorCode code = bitmaps.error().code;
    return code == ErrorCode::corrupt || code == ErrorCode::io ? Result<void>()
                                                               : Result<void>(bitmaps.error());
  }
  facts.bitmaps = bitmaps->size();
  if (bitmaps->empty()) {
    return {};
  }
  const AuditPlace place = {IoTag::bitmap, Error::kNoOffset};
  findings.add(AuditKind::bitmaps, place, "persistent bitmaps: " + std::to_string(bitmaps->size()),
               {}, bitmaps->size());
  for (const BitmapInfo& bitmap : *bitmaps) {
    judge_characters("a bitmap's name", place, bitmap.name, findings);
    if (bitmap.in_use) {
      findings.add(AuditKind::bitmap_in_use, place,
                   "a bitmap is in use or was not closed: a backup that trusts it misses changes",
                   bitmap.name);
    }
  }
  return {};
}

Result<void> judge_tables(Metadata& metadata, const AuditOptions& options,
                          AuditFindings& findings) {
  CheckOptions check_options;
  check_options.cancel = options.cancel;
  AuditResidue residue(metadata);
  VARVE_TRY(residue.prepare());
  VARVE_TRY(
      judge_slack(metadata, IoTag::l1, metadata.l1.offset(), metadata.l1.size() * 8, findings));
  if (!metadata.snapshots.entries.empty()) {
    VARVE_TRY(judge_slack(metadata, IoTag::snapshot_table, metadata.header.snapshot_table_offset,
                          metadata.snapshot_table_bytes, findings));
  }
  const CheckReport report = VARVE_TRY(check_metadata(metadata, check_options, &residue));
  take_over(report, metadata.header.is_dirty(), findings);
  if (report.compressed_clusters != 0) {
    findings.add(AuditKind::compressed_data, {},
                 "compressed clusters, of which a copy may be many times the file: " +
                     std::to_string(report.compressed_clusters),
                 {}, report.compressed_clusters);
  }
  add_residue(AuditKind::leaked_data, residue.leaked(),
              "clusters that are counted and hold data, but nothing refers to: ", findings);
  add_residue(AuditKind::data_after_end, residue.behind_end(),
              "clusters behind the last one in use that hold data: ", findings);
  if (const AuditResidue::Clusters& beyond = residue.beyond_disk(); beyond.count != 0) {
    findings.add(AuditKind::data_beyond_disk, {IoTag::l2, beyond.first},
                 "clusters that the disk's tables refer to behind its end, where no guest reads: " +
                     std::to_string(beyond.count),
                 {}, beyond.count);
  }
  add_residue(AuditKind::deleted_data, residue.deleted(),
              "free clusters that hold data, from which can be read what was deleted: ", findings);
  add_residue(AuditKind::unreadable, residue.unreadable(),
              "places that nothing refers to and cannot be read: ", findings);
  return {};
}

}  // namespace varve
