// Reading a system's snapshots from its images: the only place the service's knowledge comes from,
// at registration and after every piece of work.
//
// Threads: the work thread. No I/O.
#pragma once

#include <span>

#include "service/open_disks.h"
#include "service/registry.h"

namespace varve {

// Errors: no_memory.
[[nodiscard]] Result<SnapshotTree> scan_snapshots(const System& system,
                                                  std::span<const OpenDisk> disks);

// Whether an image can have snapshots.
[[nodiscard]] bool can_have_snapshots(const DiskDefinition& definition, const Image& image);

}  // namespace varve
