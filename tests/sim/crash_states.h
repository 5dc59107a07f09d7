// Every content a CrashDisk may have after a power cut: for each moment, what was durable then plus
// a choice of what was not, sector by sector.
//
// The choices are systematic where that is affordable (everything, nothing, all but one change, one
// change alone, a change torn in halves) and seeded random subsets of sectors beyond.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/crash_disk.h"
#include "sim/sparse_bytes.h"

namespace varve::sim {

struct CrashOptions {
  std::uint64_t seed = 1;
  unsigned random_subsets = 2;  // Per moment with changes that are not durable.
  bool lose_each = true;        // All but one change.
  bool keep_each = true;        // One change alone.
  bool tear = true;             // The last change in halves, and one of its sectors missing.
  std::size_t each_max = 64;    // Above this many changes in the air, a seeded sample of that size.
};

// One power cut. `description` replays it: the same run, the same moment, the same choice.
struct CrashState {
  Moment moment = 0;
  std::string description;
};

// Calls `visit` for every state; stops when it answers false. `content` is valid during the call.
// The number of states visited.
std::uint64_t for_each_crash_state(
    const CrashDisk& disk, const CrashOptions& options,
    const std::function<bool(const CrashState& state, const SparseBytes& content)>& visit);

}  // namespace varve::sim
