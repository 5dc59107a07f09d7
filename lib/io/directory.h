// Making the name of a new file durable.
#pragma once

#include <string>

#include <varve/result.h>

namespace varve {

// Flushes the directory that holds `path`, so that a file just created there survives a power cut.
// Blocking. Directories that cannot be flushed on their file system succeed. Errors: io, not_found.
[[nodiscard]] Result<void> sync_directory_of(const std::string& path);

}  // namespace varve
