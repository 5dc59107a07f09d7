// Collecting what an audit finds: everything is counted, of each kind and rule a bounded number is
// kept.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <varve/audit.h>

namespace varve {

// Where a finding stands.
struct AuditPlace {
  IoTag table = IoTag::none;
  std::uint64_t offset = Error::kNoOffset;
};

class AuditFindings {
 public:
  AuditFindings(AuditReport& report, std::size_t findings_max) noexcept
      : report_(&report), findings_max_(findings_max) {}

  // The kind says how grave it is.
  void add(AuditFinding finding);
  void add(AuditKind kind, AuditPlace place, std::string message, std::string_view subject = {},
           std::uint64_t count = 1);
  // A rule that opening or reading found broken.
  void add_broken(const Error& error);
  // Damage that was counted elsewhere and not kept.
  void add_left_out(AuditSeverity severity, std::uint64_t count) noexcept;

  // The gravest first, otherwise as they came.
  void sort() noexcept;

 private:
  std::uint64_t& total(AuditSeverity severity) noexcept;

  AuditReport* report_;
  std::size_t findings_max_;
  std::map<std::pair<AuditKind, Corruption>, std::size_t> kept_;
};

// "0x1f0".
[[nodiscard]] std::string audit_hex(std::uint64_t value);

}  // namespace varve
