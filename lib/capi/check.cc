#include <varve/check.h>

#include "capi/call.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

static_assert(VARVE_SEVERITY_FAILURE == static_cast<int>(Severity::failure));

namespace {

void tell(const varve_check_options& options, const std::vector<Finding>& findings) noexcept {
  if (options.finding == nullptr) {
    return;
  }
  for (const Finding& finding : findings) {
    varve_finding told = {};
    told.size = sizeof(told);
    told.rule = corruption_name(finding.reason);
    told.severity = static_cast<uint32_t>(finding.severity);
    told.table = static_cast<uint32_t>(finding.table);
    told.offset = finding.offset;
    told.host_offset = finding.host_offset;
    told.found = finding.found;
    told.expected = finding.expected;
    options.finding(options.owner, &told);
  }
}

varve_check_report report_of(const CheckReport& from) noexcept {
  varve_check_report report = {};
  report.leaks = from.leaks;
  report.corruptions = from.corruptions;
  report.failures = from.failures;
  report.total_clusters = from.total_clusters;
  report.allocated_clusters = from.allocated_clusters;
  report.fragmented_clusters = from.fragmented_clusters;
  report.compressed_clusters = from.compressed_clusters;
  report.image_end_offset = from.image_end_offset;
  return report;
}

Result<CheckOptions> check_options(const varve_check_options& from,
                                   std::atomic<bool>& is_cancelled) {
  VARVE_TRY(check_flags(from.flags, 0, "varve_check_options.flags"));
  CheckOptions wanted;
  wanted.memory_bytes = value_or<std::size_t>(from.memory_bytes, wanted.memory_bytes);
  wanted.findings_max = value_or<std::size_t>(from.findings_max, wanted.findings_max);
  wanted.cancel = &is_cancelled;
  wanted.progress = progress_of(from, is_cancelled);
  return wanted;
}

varve_repair_report report_of(const RepairReport& from) noexcept {
  varve_repair_report report = {};
  report.leaks_before = from.before.leaks;
  report.corruptions_before = from.before.corruptions;
  report.failures_before = from.before.failures;
  report.leaks_after = from.after.leaks;
  report.corruptions_after = from.after.corruptions;
  report.failures_after = from.after.failures;
  report.is_left = from.left.has_value() ? 1 : 0;
  return report;
}

}  // namespace

varve_code varve_check(varve_image* image, const varve_check_options* given,
                       varve_check_report* report, varve_error* error) {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(check_target(report, "varve_check_report"));
    const auto options = VARVE_TRY(read_struct(given, "varve_check_options"));
    std::atomic<bool> is_cancelled = false;
    const CheckOptions wanted = VARVE_TRY(check_options(options, is_cancelled));
    const CheckReport found = VARVE_TRY(check(*image->image, wanted));
    tell(options, found.findings);
    write_struct(report, report_of(found));
    return {};
  });
}

varve_code varve_repair(varve_image* image, uint32_t what, const varve_check_options* given,
                        varve_repair_report* report, varve_error* left, varve_error* error) {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(check_target(report, "varve_repair_report"));
    const Repair kind = VARVE_TRY(enum_of(what, Repair::all, "varve_repair: what"));
    const auto options = VARVE_TRY(read_struct(given, "varve_check_options"));
    std::atomic<bool> is_cancelled = false;
    const CheckOptions wanted = VARVE_TRY(check_options(options, is_cancelled));
    const RepairReport repaired = VARVE_TRY(repair(*image->image, kind, wanted));
    tell(options, repaired.before.findings);
    write_struct(report, report_of(repaired));
    if (repaired.left) {
      (void)varve::capi::report(*repaired.left, left);
    }
    return {};
  });
}
