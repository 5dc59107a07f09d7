#include <varve/engine.h>
#include <varve/snapshot_operation.h>

#include "base/failure.h"

namespace varve {

Result<void> SnapshotOperation::wait_for(SnapshotPhase phase) noexcept {
  while (true) {
    const SnapshotPhase now = progress().phase;
    if (now == SnapshotPhase::done) {
      return result();
    }
    if (now >= phase) {
      return {};
    }
    if (is_standing()) {
      return failure(ErrorCode::invalid_argument, "the operation waits for freeze() or publish()");
    }
    if (is_behind_standing()) {
      return failure(ErrorCode::busy,
                     "the operation before this one waits for freeze() or publish()");
    }
    engine_->wait();
  }
}

}  // namespace varve
