// The table of snapshots as info and snapshot -l print it.
#pragma once

#include <string>
#include <vector>

#include <varve/snapshot.h>

namespace varve::tool {

// "Snapshot list:" and one line per snapshot; empty without snapshots.
[[nodiscard]] std::string format_snapshot_table(const std::vector<SnapshotInfo>& snapshots);

// Local time, "2026-01-31 23:59:59".
[[nodiscard]] std::string format_date(std::uint32_t seconds);

}  // namespace varve::tool
