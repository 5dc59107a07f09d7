// What a cautious operator wants to know of a qcow2 image before it is trusted: which other files
// it names, what in it is not known, damaged or hidden, and which other programs would do it harm.
//
// Threads: the storage belongs to the calling thread's engine; the call blocks and runs it. Nothing
// is written and no other file is opened. Cost: what a check costs, and once more reading the data
// that stands where nothing refers to it; all of it within a budget.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <varve/budget.h>
#include <varve/corruption.h>
#include <varve/error.h>
#include <varve/result.h>
#include <varve/storage.h>
#include <varve/types.h>

namespace varve {

enum class AuditSeverity : std::uint8_t {
  note,        // A fact that images which stand alone and are in order may have.
  suspicious,  // To be looked at before the image is trusted, or given away; nothing is damaged.
  damage,      // A rule of the format is broken.
};

// What was found. Names and severities are stable; docs/AUDIT.md tells of each.
enum class AuditKind : std::uint8_t {
  // Other files.
  backing_file,
  backing_format_missing,
  backing_format_unusual,
  data_file,
  protocol_name,
  path_outside_folder,
  odd_characters,

  // The header.
  unknown_feature,
  unknown_extension,
  unknown_header_fields,
  contradiction,
  hidden_header_bytes,
  encrypted,
  dirty,
  marked_corrupt,
  huge_disk,
  feature,

  // Snapshots and bitmaps.
  snapshots,
  machine_state,
  snapshot_size_differs,
  snapshot_id_duplicate,
  snapshot_name_duplicate,
  snapshot_unknown_data,
  bitmaps,
  bitmap_in_use,
  bitmaps_left_behind,

  // Tables, and what they refer to.
  broken_rule,
  mismatch,
  unsettled_counts,
  unreadable,
  leaked_clusters,
  not_judged,
  compressed_data,

  // Content that no guest sees.
  data_beyond_disk,
  leaked_data,
  data_after_end,
  deleted_data,
  table_slack,

  other_program,
};
inline constexpr unsigned kAuditKindCount = static_cast<unsigned>(AuditKind::other_program) + 1;

// Stable words: "backing_file", "suspicious". Static lifetime.
[[nodiscard]] const char* audit_kind_name(AuditKind kind) noexcept;
[[nodiscard]] const char* audit_severity_name(AuditSeverity severity) noexcept;
// Each kind has one.
[[nodiscard]] AuditSeverity audit_severity(AuditKind kind) noexcept;

struct AuditFinding {
  AuditKind kind = AuditKind::broken_rule;
  AuditSeverity severity = AuditSeverity::damage;
  Corruption reason = Corruption::none;     // The rule, where one is broken.
  IoTag table = IoTag::none;                // The structure it is about ...
  std::uint64_t offset = Error::kNoOffset;  // ... and the byte of the file, where there is one.
  std::uint64_t count = 1;                  // Of clusters, snapshots ... it tells of.
  const char* program = "";                 // other_program: which. Static lifetime.
  std::string subject;  // A text of the image's own, as it stands there: escape it for people.
  std::string message;  // One sentence, without the image's own texts.
};

struct AuditOptions {
  bool lock = true;  // As OpenOptions has them.
  bool force_share = false;
  std::optional<Budget> budget = Budget::standard();  // None: unlimited.
  // Of each kind (and rule); further ones are counted, not kept.
  std::size_t findings_max = 20;
  // Set from a signal handler or another thread: the call ends soon and answers `cancelled`.
  const std::atomic<bool>* cancel = nullptr;
};

struct AuditReport {
  std::vector<AuditFinding> findings;  // The gravest first.
  std::uint64_t damages = 0;           // How many there are of each severity, those not kept too.
  std::uint64_t suspicious = 0;
  std::uint64_t notes = 0;
  std::uint64_t left_out = 0;  // Not kept.
  // Why the audit ended before it was through, with what had been found until then: over_budget,
  // io, no_memory.
  std::optional<Error> stopped;

  std::uint32_t version = 0;
  std::uint64_t cluster_bytes = 0;
  std::uint64_t virtual_size = 0;  // As the header has it.
  std::uint64_t file_bytes = 0;
};

// Errors: corrupt (bad_magic: not a qcow2 image), unsupported (a version that is not known), busy
// (locked by a writer), cancelled, io, no_memory. Everything else is a finding.
[[nodiscard]] Result<AuditReport> audit(std::unique_ptr<Storage> file,
                                        const AuditOptions& options = {}) noexcept;

}  // namespace varve
