// Refcount blocks: bit-exact reading and writing of counts of 1 to 64 bits, one by one and in runs.
// Widths below 8 bits are packed from the least significant bit of each byte; wider ones are
// big-endian.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "format/geometry.h"

namespace varve {

// REQUIRES of all: index (+ count) within the block's geometry.refcounts_per_block().
[[nodiscard]] std::uint64_t load_refcount(const Geometry& geometry, ConstBytes block,
                                          std::uint64_t index) noexcept;
// REQUIRES: value <= geometry.refcount_max().
void store_refcount(const Geometry& geometry, Bytes block, std::uint64_t index,
                    std::uint64_t value) noexcept;

// What stopped a bulk edit: the first index whose count could not change. Entries before it are
// changed, it and those after are not.
struct RefcountStop {
  std::uint64_t index = 0;
  std::uint64_t value = 0;
};
// Adds `delta` (1 or more) to `count` neighbouring counts; stops at a count that would overflow,
// or, with `refuse_zero`, at a count of 0 (a walker meets a reference to a free cluster).
[[nodiscard]] std::optional<RefcountStop> add_refcounts(const Geometry& geometry, Bytes block,
                                                        std::uint64_t index, std::uint64_t count,
                                                        std::uint64_t delta,
                                                        bool refuse_zero) noexcept;
// Subtracts `delta`; stops at a count that is lower.
[[nodiscard]] std::optional<RefcountStop> subtract_refcounts(const Geometry& geometry, Bytes block,
                                                             std::uint64_t index,
                                                             std::uint64_t count,
                                                             std::uint64_t delta) noexcept;
// The first of `count` neighbouring counts that is 0 or cannot double.
[[nodiscard]] std::optional<RefcountStop> find_undoublable(const Geometry& geometry,
                                                           ConstBytes block, std::uint64_t index,
                                                           std::uint64_t count) noexcept;
// Length of the run of equal "is zero" answers starting at `index`, at most `limit` entries.
[[nodiscard]] std::uint64_t zero_run(const Geometry& geometry, ConstBytes block,
                                     std::uint64_t index, std::uint64_t limit) noexcept;
[[nodiscard]] std::uint64_t nonzero_run(const Geometry& geometry, ConstBytes block,
                                        std::uint64_t index, std::uint64_t limit) noexcept;

// Length of the run of counts equal to `value`.
[[nodiscard]] std::uint64_t equal_run(const Geometry& geometry, ConstBytes block,
                                      std::uint64_t index, std::uint64_t limit,
                                      std::uint64_t value) noexcept;

}  // namespace varve
