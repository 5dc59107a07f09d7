#include <varve/compare.h>
#include <varve/convert.h>

#include "capi/call.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

static_assert(VARVE_SIDE_TARGET == static_cast<int>(CopySide::target));
static_assert(VARVE_STATUS_DIFFERS == static_cast<int>(Comparison::status_differs));

namespace {

constexpr uint32_t kConvertFlags = VARVE_CONVERT_COMPRESSED | VARVE_CONVERT_NOT_SPARSE |
                                   VARVE_CONVERT_TARGET_IS_ZERO | VARVE_CONVERT_SKIP_BACKING |
                                   VARVE_CONVERT_OUT_OF_ORDER | VARVE_CONVERT_SALVAGE;

ConvertOptions convert_options(const varve_convert_options& from, std::atomic<bool>& cancel) {
  const auto has = [&](uint32_t flag) { return (from.flags & flag) != 0; };
  ConvertOptions wanted;
  wanted.target_offset = from.target_offset;
  wanted.compressed = has(VARVE_CONVERT_COMPRESSED);
  wanted.cluster_bytes = value_or(from.cluster_bytes, wanted.cluster_bytes);
  wanted.sparse_bytes = has(VARVE_CONVERT_NOT_SPARSE)
                            ? 0
                            : value_or<std::size_t>(from.sparse_bytes, wanted.sparse_bytes);
  wanted.target_is_zero = has(VARVE_CONVERT_TARGET_IS_ZERO);
  wanted.skip_backing = has(VARVE_CONVERT_SKIP_BACKING);
  wanted.target_backing_size = from.target_backing_size;
  wanted.threads = from.threads;
  wanted.parallel = value_or(from.parallel, wanted.parallel);
  wanted.chunk_bytes = value_or<std::size_t>(from.chunk_bytes, wanted.chunk_bytes);
  wanted.out_of_order = has(VARVE_CONVERT_OUT_OF_ORDER);
  wanted.rate_bytes_per_second = from.rate_bytes_per_second;
  wanted.output_bytes_max = from.output_bytes_max;
  wanted.salvage = has(VARVE_CONVERT_SALVAGE);
  wanted.cancel = &cancel;
  wanted.progress = progress_of(from, cancel);
  if (from.unreadable != nullptr) {
    wanted.unreadable = [&](std::uint64_t offset, const Error& error, bool is_status) {
      if (!is_status) {
        from.unreadable(from.owner, offset, code_of(error.code));
      }
    };
  }
  return wanted;
}

varve_convert_report report_of(const ConvertReport& from) noexcept {
  varve_convert_report report = {};
  report.failed_offset = from.failed_offset;
  report.written_bytes = from.written_bytes;
  report.zeroed_bytes = from.zeroed_bytes;
  report.unreadable_bytes = from.unreadable_bytes;
  report.failed_side = static_cast<uint32_t>(from.failed_side);
  return report;
}

Result<void> admit_pair(const varve_image* first, const varve_image* second) noexcept {
  VARVE_TRY(admit(engine_of(second), Call::blocking));
  return require(first->engine == second->engine, "the images are of two engines");
}

}  // namespace

varve_code varve_convert(varve_image* source, varve_image* target,
                         const varve_convert_options* given, varve_convert_report* report,
                         varve_error* error) {
  return call(engine_of(source), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(admit_pair(source, target));
    VARVE_TRY(check_optional_target(report, "varve_convert_report"));
    const auto options = VARVE_TRY(read_struct(given, "varve_convert_options"));
    VARVE_TRY(check_flags(options.flags, kConvertFlags, "varve_convert_options.flags"));
    std::atomic<bool> is_cancelled = false;
    ConvertReport told;
    const Result<void> result =
        convert(*source->image, *target->image, convert_options(options, is_cancelled), &told);
    write_struct(report, report_of(told));
    return result;
  });
}

varve_code varve_compare(varve_image* first, varve_image* second, uint32_t flags,
                         varve_compare_report* report, varve_error* error) {
  return call(engine_of(first), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(admit_pair(first, second));
    VARVE_TRY(check_target(report, "varve_compare_report"));
    VARVE_TRY(check_flags(flags, VARVE_COMPARE_STRICT, "varve_compare: flags"));
    CompareOptions wanted;
    wanted.strict = (flags & VARVE_COMPARE_STRICT) != 0;
    CompareReport told;
    const Result<void> result = compare(*first->image, *second->image, wanted, told);
    varve_compare_report filled = {};
    filled.offset = told.offset;
    filled.failed_offset = told.failed_offset;
    filled.result = static_cast<uint32_t>(told.result);
    filled.failed_image = told.failed_image;
    write_struct(report, filled);
    return result;
  });
}
