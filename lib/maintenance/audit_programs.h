// Which other programs would damage an image, refuse it, or see something else in it, and why: from
// facts of the image alone. docs/OTHER-PROGRAMS.md has the table for people.
#pragma once

#include <cstdint>

#include "maintenance/audit_findings.h"

namespace varve {

// What the rules go by.
struct AuditFacts {
  bool extended_l2 = false;
  bool is_dirty = false;
  bool has_backing = false;
  bool has_backing_format = false;
  bool is_backing_relative = false;
  bool is_backing_contradictory = false;
  std::uint32_t refcount_order = 4;
  std::uint64_t l1_entries = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t snapshots_with_facts = 0;  // Varve's.
  std::uint64_t bitmaps = 0;
  std::uint64_t file_bytes = 0;
};

void judge_other_programs(const AuditFacts& facts, AuditFindings& findings);

}  // namespace varve
