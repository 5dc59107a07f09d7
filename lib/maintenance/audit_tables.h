// What stands in the tables of an image that could be opened: snapshots, bitmaps, and what a check
// of all of it finds.
#pragma once

#include <varve/audit.h>
#include <varve/image.h>

#include "maintenance/audit_findings.h"
#include "maintenance/audit_programs.h"
#include "meta/metadata.h"

namespace varve {

// Adds to what other programs are judged by. Errors: over_budget.
[[nodiscard]] Result<void> judge_snapshots(const Metadata& metadata, AuditFacts& facts,
                                           AuditFindings& findings);
// Errors: over_budget, no_memory.
[[nodiscard]] Result<void> judge_bitmaps(Image& image, AuditFacts& facts, AuditFindings& findings);
// Errors: over_budget, cancelled, no_memory.
[[nodiscard]] Result<void> judge_tables(Metadata& metadata, const AuditOptions& options,
                                        AuditFindings& findings);

}  // namespace varve
