#include "sim/faulty_storage.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"

namespace varve::sim {

void FaultPlan::fail_index(std::uint64_t index, int os_errno, FaultEffect effect,
                           std::uint64_t torn_bytes) {
  FaultRule rule;
  rule.nth = index;
  rule.os_errno = os_errno;
  rule.effect = effect;
  rule.torn_bytes = torn_bytes;
  add(rule);
}

const FaultRule* FaultPlan::judge(const StorageRequest& request) noexcept {
  ++seen_;
  flushes_ += request.operation == StorageOperation::flush ? 1 : 0;
  late_writes_ += told_flush_ && request.operation == StorageOperation::write ? 1 : 0;
  const FaultRule* hit = nullptr;
  for (ArmedRule& armed : rules_) {
    const FaultRule& rule = armed.rule;
    if ((rule.tag && *rule.tag != request.tag) ||
        (rule.operation && *rule.operation != request.operation)) {
      continue;
    }
    const std::uint64_t index = armed.matched++;
    if (hit == nullptr && (index == rule.nth || (rule.from_then_on && index > rule.nth))) {
      hit = &rule;
    }
  }
  if (hit != nullptr && hits_++ == 0) {
    hit_tag_ = request.tag;
    hit_operation_ = request.operation;
  }
  hit_flush_ = hit_flush_ || (hit != nullptr && request.operation == StorageOperation::flush);
  return hit;
}

void FaultyStorage::submit(StorageRequest& request) noexcept {
  const FaultRule* rule = plan_.judge(request);
  const bool is_flush = request.operation == StorageOperation::flush;
  if (rule == nullptr) {
    if (is_flush && flush_failed_) {
      engine().post(request, system_failure(EIO, request.tag, request.offset,
                                            "an earlier flush of this storage failed"));
      return;
    }
    forward(request);
    return;
  }
  if (rule->effect == FaultEffect::lost) {
    engine().post(request, {});
    return;
  }
  const std::uint64_t torn = std::min(rule->torn_bytes, request.size_bytes());
  if (rule->effect == FaultEffect::torn && request.operation == StorageOperation::write &&
      torn > 0) {
    forward_part(request, 0, torn, static_cast<std::uint64_t>(rule->os_errno));
    return;
  }
  engine().post(request,
                system_failure(rule->os_errno, request.tag, request.offset, "simulated fault"));
  if (is_flush && !std::exchange(flush_failed_, true)) {
    told_.owner = &plan_;
    told_.complete = [](StorageRequest& told, const Result<void>&) {
      static_cast<FaultPlan*>(told.owner)->told_flush_ = true;
    };
    engine().post(told_, {});
  }
}

void FaultyStorage::forwarded(Forwarded& part) {
  if (part.number != 0) {
    complete(*part.outer, system_failure(static_cast<int>(part.number), part.outer->tag,
                                         part.outer->offset, "simulated torn write"));
    return;
  }
  complete(*part.outer, part.result);
}

}  // namespace varve::sim
