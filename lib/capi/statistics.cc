#include <algorithm>

#include <varve/statistics.h>
#include <varve/system_calls.h>

#include "capi/call.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

static_assert(VARVE_TAGS_MAX >= kIoTagCount);
static_assert(VARVE_LATENCY_BUCKETS == LatencyHistogram::kBuckets);
static_assert(VARVE_USE_RUNNING == static_cast<int>(SystemCallUse::running));
static_assert(VARVE_USE_IO_URING == static_cast<int>(SystemCallUse::io_uring));
static_assert(VARVE_USE_PATHS == static_cast<int>(SystemCallUse::paths));

namespace {

varve_latency latency_of(const LatencyHistogram& from) noexcept {
  varve_latency latency = {};
  latency.requests = from.requests;
  latency.total_nanoseconds = from.total_nanoseconds;
  std::ranges::copy(from.counts, latency.counts);
  return latency;
}

}  // namespace

varve_code varve_image_get_statistics(const varve_image* image, varve_statistics* statistics,
                                      varve_error* error) {
  return call(engine_of(image), Call::quick, error, [&]() -> Result<void> {
    VARVE_TRY(check_target(statistics, "varve_statistics"));
    const ImageStatistics from = image->image->statistics();
    varve_statistics filled = {};
    std::ranges::copy(from.io.reads, filled.reads);
    std::ranges::copy(from.io.writes, filled.writes);
    filled.flushes = from.io.flushes;
    filled.l2_hits = from.l2.hits;
    filled.l2_misses = from.l2.misses;
    filled.refcount_hits = from.refcount.hits;
    filled.refcount_misses = from.refcount.misses;
    filled.read_latency = latency_of(from.reads);
    filled.write_latency = latency_of(from.writes);
    filled.flush_latency = latency_of(from.flushes);
    filled.other_latency = latency_of(from.others);
    write_struct(statistics, filled);
    return {};
  });
}

varve_code varve_system_call_get(size_t index, varve_system_call* wanted) {
  return guarded(nullptr, [&]() -> Result<void> {
    VARVE_TRY(check_target(wanted, "varve_system_call"));
    if (index >= system_calls().size()) {
      return failure(ErrorCode::not_found, "there are no more system calls");
    }
    const SystemCallInfo& from = system_calls()[index];
    varve_system_call filled = {};
    filled.name = from.name;
    filled.why = from.why;
    filled.number = from.number;
    filled.use = static_cast<uint32_t>(from.use);
    write_struct(wanted, filled);
    return {};
  });
}
