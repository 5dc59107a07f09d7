// A finished state becomes part of a snapshot: what creation asks of it, and what it tells the
// entry.
#pragma once

#include <varve/state.h>

#include "snapshot/facts_table.h"
#include "snapshot/state_store.h"

namespace varve {

// Null: no state is asked for. Errors: invalid_argument (another image's, not finished, or in use
// by a published snapshot already).
[[nodiscard]] Result<StateStore*> finished_state(const Metadata& metadata,
                                                 StateWriter* writer) noexcept;

// Size and digest; the L1 entries behind the disk's own are the creation's work.
void describe_state(const StateStore& state, NewSnapshot& made) noexcept;

}  // namespace varve
