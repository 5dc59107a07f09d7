// Copying the content of one image into another, whatever their formats.
//
// Threads: both images belong to the calling thread's engine; the call blocks and runs it.
// Durability: nothing is promised until the caller flushes or closes the target. A conversion that
// fails or is cancelled leaves the target consistent, with an undefined part of the content copied.
// Memory: `parallel` buffers of `chunk_bytes`, whatever the size of the disk.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

#include <varve/image.h>
#include <varve/result.h>

namespace varve {

struct ConvertOptions {
  // Where the first byte of the source goes; several sources are concatenated by several calls.
  std::uint64_t target_offset = 0;
  // The target's clusters are written compressed. REQUIRES: cluster_bytes is the target's.
  bool compressed = false;
  std::uint32_t cluster_bytes = 65536;
  // Runs of zeros of at least this size are not written. 0: everything is written, zeros too.
  // Otherwise a multiple of 512.
  std::size_t sparse_bytes = 4096;
  // The target reads as zeros everywhere: zeros need not be written.
  bool target_is_zero = false;
  // What the source's own layer does not hold is left to the target's backing file, whose size
  // this is: only the layer above is copied.
  bool skip_backing = false;
  std::uint64_t target_backing_size = 0;
  // Threads that compress beside the calling one; 0: it does so itself. Each chunk in flight then
  // takes twice its size.
  unsigned threads = 0;
  unsigned parallel = 8;              // Reads and writes in flight, 1 .. 64.
  std::size_t chunk_bytes = 1 << 20;  // Largest read; a multiple of cluster_bytes when compressed.
  bool out_of_order = false;          // Chunks are written as they arrive, not in disk order.
  std::uint64_t rate_bytes_per_second = 0;  // 0: unlimited.
  // The copy ends as over_budget before more data than this is handed to the target; 0: no limit.
  // A small image may hold a disk of any size, and a few kilobytes may decompress to gigabytes.
  std::uint64_t output_bytes_max = 0;
  // What cannot be read is taken for zeros, sector by sector, and told to `unreadable`.
  bool salvage = false;
  // With salvage: each sector of the source that could not be read, or (`is_status`) whose place
  // could not be found out, before it is read all the same.
  std::function<void(std::uint64_t offset, const Error& error, bool is_status)> unreadable = {};
  // Set from a signal handler or another thread: the call drains and answers `cancelled`.
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress = {};
};

// Which side of a copy an error comes from, so that messages can name the file.
enum class CopySide : std::uint8_t { none, source, target };

struct ConvertReport {
  CopySide failed_side = CopySide::none;
  std::uint64_t failed_offset = 0;     // On that side's disk.
  std::uint64_t written_bytes = 0;     // Data handed to the target.
  std::uint64_t zeroed_bytes = 0;      // Told to the target as zeros.
  std::uint64_t unreadable_bytes = 0;  // Taken for zeros (salvage only).
};

// Errors: those of reading the source and writing the target; out_of_range (the source does not
// fit); over_budget (output_bytes_max); invalid_argument (options outside their limits); no_memory;
// cancelled. `report`, where given, is filled also on failure.
Result<void> convert(Image& source, Image& target, const ConvertOptions& options,
                     ConvertReport* report = nullptr) noexcept;

}  // namespace varve
