// Reading the refcount blocks that count a range of clusters, in batches and past the cache.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <varve/result.h>

#include "base/bytes.h"
#include "meta/metadata.h"

namespace varve {

// One block's counts of clusters [first, first + count).
struct CountedRange {
  enum class State : std::uint8_t {
    present,
    missing,  // The refcount table names no block: every count is 0.
    unknown,  // It names one that cannot be read: nothing is known.
  };
  State state = State::missing;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  HostOffset block;  // Where the block stands; present only.
  ConstBytes bytes;  // The whole block; present only.
};

class RefcountReader {
 public:
  using Problem = std::function<void(const Error&)>;
  RefcountReader(Metadata& metadata, std::uint64_t batch_bytes, Problem problem)
      : metadata_(&metadata), batch_bytes_(batch_bytes), problem_(std::move(problem)) {}

  // The ranges that make up [first, end), in order. What cannot be read goes to `problem`. An error
  // of the visitor ends it. Errors: no_memory.
  using Visitor = std::function<Result<void>(const CountedRange& range)>;
  [[nodiscard]] Result<void> for_each(std::uint64_t first, std::uint64_t end, const Visitor& visit);

 private:
  [[nodiscard]] Result<void> visit_batch(std::vector<CountedRange>& ranges, Bytes buffer,
                                         const Visitor& visit);
  [[nodiscard]] CountedRange range_at(std::uint64_t first, std::uint64_t end) const noexcept;

  Metadata* metadata_;
  std::uint64_t batch_bytes_;
  Problem problem_;
};

// Visits (cluster, stored count) of a present range, with the width of the counts decided once.
template <class Visitor>
void for_each_count(const Geometry& geometry, const CountedRange& range, Visitor&& visit) {
  const std::uint64_t start = range.first % geometry.refcounts_per_block();
  const auto visit_wide = [&](auto type) {
    using Integer = decltype(type);
    for (std::uint64_t i = 0; i < range.count; ++i) {
      visit(range.first + i, load_be<Integer>(range.bytes, (start + i) * sizeof(Integer)));
    }
  };
  switch (geometry.refcount_order) {
    case 3:
      return visit_wide(std::uint8_t{});
    case 4:
      return visit_wide(std::uint16_t{});
    case 5:
      return visit_wide(std::uint32_t{});
    case 6:
      return visit_wide(std::uint64_t{});
    default:
      for (std::uint64_t i = 0; i < range.count; ++i) {
        visit(range.first + i, load_refcount(geometry, range.bytes, start + i));
      }
  }
}

}  // namespace varve
