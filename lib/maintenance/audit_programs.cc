#include "maintenance/audit_programs.h"

#include "base/units.h"

namespace varve {
namespace {

// Entries of an L1 table in one sector, which a disk writes whole or not at all.
constexpr std::uint64_t kL1EntriesPerSector = kSectorBytes / 8;

struct ProgramRule {
  const char* program;
  bool (*concerns)(const AuditFacts& facts);
  const char* consequence;
};

constexpr ProgramRule kProgramRules[] = {
    {"any without bitmaps", [](const AuditFacts& f) { return f.bitmaps != 0; },
     "one that writes without marking the bitmaps in use, or clearing their feature bit, leaves "
     "them looking valid: incremental backups miss what it wrote"},
    {"any that does not settle", [](const AuditFacts& f) { return f.is_dirty; },
     "one that writes a dirty image before its counts are made anew hands out clusters in use"},
    {"any that drops extra data", [](const AuditFacts& f) { return f.snapshots_with_facts != 0; },
     "one that does not keep what it does not know of a snapshot loses UUIDs, parents and groups "
     "of snapshots (QEMU keeps them)"},
    {"any that guesses formats",
     [](const AuditFacts& f) { return f.has_backing && !f.has_backing_format; },
     "one that guesses the backing file's format, as Cloud Hypervisor 51 did, opens what a guest "
     "has written a header for"},
    {"any that resolves names elsewhere", [](const AuditFacts& f) { return f.is_backing_relative; },
     "one that resolves the backing file's name from its working directory instead of the image's "
     "folder, as Cloud Hypervisor did before its commit 59b72c51c, opens another file"},
    {"QEMU", [](const AuditFacts& f) { return f.snapshots != 0; },
     "`qemu-img snapshot -a` or `loadvm` killed at the wrong moment: the guest's next writes "
     "destroy the snapshot, without an error"},
    {"QEMU",
     [](const AuditFacts& f) { return f.snapshots != 0 && f.l1_entries > kL1EntriesPerSector; },
     "`qemu-img snapshot -a` or `loadvm` overwrites the L1 table in place: a power cut there mixes "
     "two disks"},
    {"QEMU 10.0", [](const AuditFacts& f) { return f.extended_l2; },
     "a discard or an unmapping zero write that meets a write of the same cluster in flight leaves "
     "it referring to a freed one: extended L2 entries are corrupted"},
    {"QEMU", [](const AuditFacts& f) { return f.has_backing; },
     "`qemu-img rebase` writes the new backing file's name before the data it copied is durable: "
     "a power cut there loses that data"},
    {"Cloud Hypervisor", [](const AuditFacts& f) { return f.has_backing; },
     "before its commit 39e253ff9 zeros that a guest writes show the backing file's data again"},
    {"qcow2-rs", [](const AuditFacts& f) { return f.refcount_order < 3; },
     "counts narrower than a byte run into each other before its commit d7c9c9e"},
    {"OpenStack's format inspector", [](const AuditFacts& f) { return f.extended_l2; },
     "refuses extended L2 entries as an unknown feature"},
    {"OpenStack's format inspector", [](const AuditFacts& f) { return f.is_backing_contradictory; },
     "goes by the offset of the backing file's name alone, QEMU accepts the image and Cloud "
     "Hypervisor refuses it: who examines it and who uses it may see two"},
    {"crosvm", [](const AuditFacts& f) { return f.has_backing && !f.has_backing_format; },
     "refuses a backing file whose format is not named"},
    {"crosvm, Cloud Hypervisor", [](const AuditFacts& f) { return f.file_bytes > 16 * kTiB; },
     "refuse files of more than 16 TiB"},
};

}  // namespace

void judge_other_programs(const AuditFacts& facts, AuditFindings& findings) {
  for (const ProgramRule& rule : kProgramRules) {
    if (rule.concerns(facts)) {
      AuditFinding finding;
      finding.kind = AuditKind::other_program;
      finding.program = rule.program;
      finding.message = rule.consequence;
      findings.add(std::move(finding));
    }
  }
}

}  // namespace varve
