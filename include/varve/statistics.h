// Statistics of an open image: I/O by what it was for, cache hits, how long requests took.
//
// Threads: Image::statistics belongs to the image's thread; the values are plain.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <varve/image.h>

namespace varve {

// Requests by the time from submit to completion: counts[i] is how many took 2^i to 2^(i + 1) - 1
// nanoseconds; the first also those below, the last also those above (9 minutes).
struct LatencyHistogram {
  static constexpr std::size_t kBuckets = 40;
  std::array<std::uint64_t, kBuckets> counts{};
  std::uint64_t requests = 0;
  std::uint64_t total_nanoseconds = 0;
};

// Lookups of a table that were answered from memory, and reads of one that was not there.
struct CacheCounts {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
};

struct ImageStatistics {
  Image::Counters io;  // Requests to the storages by IoTag, and flushes.
  CacheCounts l2;      // Nothing for raw images.
  CacheCounts refcount;
  // With OpenOptions::measure_latency only. Failed requests count as well.
  LatencyHistogram reads;
  LatencyHistogram writes;  // write_compressed included.
  LatencyHistogram flushes;
  LatencyHistogram others;  // write_zeroes and discard.
};

}  // namespace varve
