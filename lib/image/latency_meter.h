// How long guest requests take, where the embedder asked to have it measured.
// Threads: the engine's thread only.
#pragma once

#include <algorithm>
#include <bit>
#include <chrono>

#include <varve/statistics.h>

namespace varve {

class LatencyMeter {
 public:
  bool is_on = false;
  LatencyHistogram reads;
  LatencyHistogram writes;
  LatencyHistogram flushes;
  LatencyHistogram others;

  void begin(BlockRequest& request) const noexcept {
    if (is_on) {
      request.internal.started_nanoseconds = now();
    }
  }
  void end(const BlockRequest& request) noexcept {
    if (is_on) {
      const std::uint64_t took = now() - request.internal.started_nanoseconds;
      LatencyHistogram& histogram = of(request.operation);
      const auto bucket =
          static_cast<std::size_t>(std::bit_width(std::max<std::uint64_t>(took, 1)));
      ++histogram.counts[std::min(bucket - 1, LatencyHistogram::kBuckets - 1)];
      ++histogram.requests;
      histogram.total_nanoseconds += took;
    }
  }

 private:
  static std::uint64_t now() noexcept {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
  }
  LatencyHistogram& of(BlockOperation operation) noexcept {
    switch (operation) {
      case BlockOperation::read:
        return reads;
      case BlockOperation::write:
      case BlockOperation::write_compressed:
        return writes;
      case BlockOperation::flush:
        return flushes;
      default:
        return others;
    }
  }
};

}  // namespace varve
