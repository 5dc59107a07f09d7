#include "snapshot/state_attachment.h"

#include "base/failure.h"

namespace varve {

Result<StateStore*> finished_state(const Metadata& metadata, StateWriter* writer) noexcept {
  if (writer == nullptr) {
    return static_cast<StateStore*>(nullptr);
  }
  StateStore& state = writer->store();
  if (!state.belongs_to(metadata)) {
    return failure(ErrorCode::invalid_argument, "the state was written into another image");
  }
  if (!state.is_finished()) {
    return failure(ErrorCode::invalid_argument, "the state is not finished");
  }
  if (state.is_attached()) {
    return failure(ErrorCode::invalid_argument, "the state belongs to a snapshot already");
  }
  return &state;
}

void describe_state(const StateStore& state, NewSnapshot& made) noexcept {
  made.entry.vm_state_bytes = state.size();
  made.facts.set(SnapshotFacts::kHasStateDigest, true);
  made.facts.state_digest = state.digest();
}

}  // namespace varve
