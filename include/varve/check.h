// Checking an image against everything the format says, and repairing its counts.
//
// Threads: the image belongs to the calling thread's engine; the call blocks and runs it. An image
// open for writing is flushed first, and requests submitted meanwhile wait until the check is done.
// Checking writes nothing else. Cost: every mapping table of the image is read once, whatever the
// number of snapshots that share it; more often only where options.memory_bytes is too small.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
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

// What repairing an image costs, because it cannot be saved.
struct Loss {
  enum class Kind : std::uint8_t {
    snapshot,       // The snapshot.
    machine_state,  // Its machine state; its disk stays.
    disk_size,      // Its disk's own size: it is taken for as large as the disk.
    rest_of_table,  // Every snapshot from here on: where their entries begin is not known.
    bitmap,         // A bitmap of another program: it may have missed changes.
  };
  Kind kind = Kind::snapshot;
  Corruption reason = Corruption::none;
  std::uint32_t index = 0;  // In the table, from 0.
  std::uint32_t count = 1;  // rest_of_table, and bitmaps whose directory is unreadable: how many.
  std::string id;           // As far as they can be read.
  std::string name;
};

struct CheckOptions {
  // Beyond the image's own caches; several passes when it is too small. One L1 table of a snapshot
  // (32 MiB at most) comes on top. Of an image on a budget at most what that leaves.
  std::size_t memory_bytes = 64u << 20;
  std::size_t findings_max = 1000;  // Further ones are counted, not kept.
  // Set from a signal handler or another thread: the call ends soon and answers `cancelled`.
  const std::atomic<bool>* cancel = nullptr;
  // In L2 tables, over all passes.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
  // Repair::all: told of each loss before anything is written.
  std::function<void(const Loss& loss)> about_to_lose;
};

struct CheckReport {
  std::vector<Finding> findings;
  std::uint64_t leaks = 0;        // Leaked clusters.
  std::uint64_t corruptions = 0;  // Mismatches and corruptions.
  std::uint64_t unsettled = 0;    // Of these, counts and flags that settling a dirty image mends.
  std::uint64_t failures = 0;     // Places that could not be checked.
  std::uint64_t total_clusters = 0;  // Of the active disk, as qemu-img counts them.
  std::uint64_t allocated_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t compressed_clusters = 0;
  std::uint64_t image_end_offset = 0;  // Byte after the last cluster in use.
  std::uint64_t tables_read = 0;       // L2 tables visited: each once.
};

// Errors only where checking cannot go on at all: unsupported (raw), no_memory, cancelled, busy
// (another control operation), over_budget, and those of flush where the image is open for writing.
[[nodiscard]] Result<CheckReport> check(Image& image, const CheckOptions& options = {}) noexcept;

// What may be repaired.
enum class Repair : std::uint8_t {
  leaks,  // Space nobody refers to is given back; with anything else wrong nothing changes.
  // Counts, flags and reserved bits; refcount structures that cannot be trusted are made anew; what
  // lies over a table gets a place of its own; snapshots whose entries cannot be read leave the
  // table; bitmaps, where one shares its space or breaks a rule, are given up.
  all,
};

struct RepairReport {
  CheckReport before;
  CheckReport after;  // Checked again when something was wrong; the same as `before` otherwise.
  // Why something is left: a place that cannot be repaired. Code corrupt, and nothing that was
  // there is lost; what can be read is copied out by rescue (varve/rescue.h).
  std::optional<Error> left;
  std::vector<Loss> lost;          // What Repair::all had to give up.
  bool refcounts_rebuilt = false;  // Refcount table and blocks stand elsewhere now.
  // Clusters of a disk that were a table's as well, or held compressed and other data.
  std::uint64_t overlaps_separated = 0;
  std::uint64_t entries_mended = 0;  // Entries of L1 and L2 tables that have lost stray bits.
};

// Checks an image open for writing, repairs it in the order that a crash cannot make worse, and
// checks again; calling it again changes nothing. The content of the disk and of snapshots never
// changes, except for what options.about_to_lose is told of. No count goes down while a reference
// cannot be followed. The corrupt mark is taken off once nothing is wrong. Open the image with
// OpenOptions::allow_corrupt; where that has let it open with a damaged snapshot table or without a
// refcount table, nothing but repairing may be done with it.
// Errors: unsupported (raw), read_only, busy (another control operation, an open state writer or
// snapshot), cancelled, no_memory, no_space, io and those of flush.
[[nodiscard]] Result<RepairReport> repair(Image& image, Repair what,
                                          const CheckOptions& options = {}) noexcept;

}  // namespace varve
