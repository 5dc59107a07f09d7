// Checking an image against everything the format says, without repairing anything.
//
// Threads: the image belongs to the calling thread's engine; the call blocks and runs it. An image
// open for writing is flushed first, and requests submitted meanwhile wait until the check is done.
// Nothing else is written. Cost: every mapping table of the image is read once, whatever the number
// of snapshots that share it; more often only where options.memory_bytes is too small.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include <varve/corruption.h>
#include <varve/image.h>
#include <varve/result.h>

namespace varve {

enum class Severity : std::uint8_t {
  leak,        // Space counted but not referenced: harmless, wasted.
  mismatch,    // A flag or count disagrees with the references; data is intact.
  corruption,  // A reference leads nowhere, overlaps, or breaks a rule of the format.
  failure,     // The place could not be checked (I/O error).
};

struct Finding {
  Severity severity = Severity::corruption;
  Corruption reason = Corruption::none;
  IoTag table = IoTag::none;      // The structure that holds the offending field.
  std::uint64_t offset = 0;       // Byte offset of that field in the file.
  std::uint64_t host_offset = 0;  // The cluster it concerns.
  std::uint64_t found = 0;        // The value found ...
  std::uint64_t expected = 0;     // ... and the one the references, or the format, ask for.
};

struct CheckOptions {
  // Beyond the image's own caches; several passes when it is too small. One L1 table of a snapshot
  // (32 MiB at most) comes on top.
  std::size_t memory_bytes = 64u << 20;
  std::size_t findings_max = 1000;  // Further ones are counted, not kept.
  // Set from a signal handler or another thread: the call ends soon and answers `cancelled`.
  const std::atomic<bool>* cancel = nullptr;
  // In L2 tables, over all passes.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

struct CheckReport {
  std::vector<Finding> findings;
  std::uint64_t leaks = 0;           // Leaked clusters.
  std::uint64_t corruptions = 0;     // Mismatches and corruptions.
  std::uint64_t failures = 0;        // Places that could not be checked.
  std::uint64_t total_clusters = 0;  // Of the active disk, as qemu-img counts them.
  std::uint64_t allocated_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t compressed_clusters = 0;
  std::uint64_t image_end_offset = 0;  // Byte after the last cluster in use.
  std::uint64_t tables_read = 0;       // L2 tables visited: each once.
};

// Errors only where checking cannot go on at all: unsupported (raw), no_memory, cancelled, busy
// (another control operation), and those of flush where the image is open for writing.
[[nodiscard]] Result<CheckReport> check(Image& image, const CheckOptions& options = {}) noexcept;

}  // namespace varve
