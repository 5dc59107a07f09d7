#include "format/refcount.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "base/assert.h"

namespace varve {
namespace {

// Counts decoded at a time by the bulk edits: small enough for the stack, large enough for the
// compiler's vector loops.
constexpr std::size_t kChunk = 256;

template <class Integer>
struct Chunk {
  std::array<Integer, kChunk> counts;

  void load(ConstBytes block, std::uint64_t index, std::size_t n) noexcept {
    const std::span<Integer> used(counts.data(), n);
    copy_bytes(std::as_writable_bytes(used),
               block.subspan(index * sizeof(Integer), n * sizeof(Integer)));
    for (Integer& count : used) {
      count = big_endian(count);
    }
  }
  void store(Bytes block, std::uint64_t index, std::size_t n) noexcept {
    const std::span<Integer> used(counts.data(), n);
    for (Integer& count : used) {
      count = big_endian(count);
    }
    copy_bytes(block.subspan(index * sizeof(Integer), n * sizeof(Integer)), std::as_bytes(used));
  }
};

// Calls `visit` with a value of the unsigned type of the counts' width. REQUIRES: whole bytes.
template <class Visitor>
auto with_integer(const Geometry& geometry, Visitor visit) noexcept {
  switch (geometry.refcount_order) {
    case 3:
      return visit(std::uint8_t{});
    case 4:
      return visit(std::uint16_t{});
    case 5:
      return visit(std::uint32_t{});
    default:
      return visit(std::uint64_t{});
  }
}

// Applies `change` to the counts `refuse` accepts, in order, until it refuses one. Whole chunks are
// tested before they are changed, without an exit inside the loop, so that both loops vectorise.
template <class Integer, class Refuse, class Change>
std::optional<RefcountStop> edit_counts(Bytes block, std::uint64_t index, std::uint64_t count,
                                        Refuse refuse, Change change) noexcept {
  Chunk<Integer> chunk;
  while (count != 0) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(count, kChunk));
    chunk.load(block, index, n);
    bool refused = false;
    for (std::size_t i = 0; i < n; ++i) {
      refused |= refuse(chunk.counts[i]);
    }
    std::size_t good = n;
    if (refused) {
      good = 0;
      while (!refuse(chunk.counts[good])) {
        ++good;
      }
    }
    const RefcountStop stop{index + good, refused ? std::uint64_t{chunk.counts[good]} : 0};
    for (std::size_t i = 0; i < good; ++i) {
      chunk.counts[i] = change(chunk.counts[i]);
    }
    chunk.store(block, index, good);
    if (refused) {
      return stop;
    }
    index += n;
    count -= n;
  }
  return std::nullopt;
}

// The same one count at a time, for widths below a byte.
template <class Refuse, class Change>
std::optional<RefcountStop> edit_packed(const Geometry& geometry, Bytes block, std::uint64_t index,
                                        std::uint64_t count, Refuse refuse,
                                        Change change) noexcept {
  for (std::uint64_t i = index; i < index + count; ++i) {
    const std::uint64_t value = load_refcount(geometry, block, i);
    if (refuse(value)) {
      return RefcountStop{i, value};
    }
    store_refcount(geometry, block, i, change(value));
  }
  return std::nullopt;
}

bool is_packed(const Geometry& geometry) noexcept {
  return geometry.refcount_order < 3;
}

void assert_range(const Geometry& geometry, ConstBytes block, std::uint64_t index,
                  std::uint64_t count) noexcept {
  VARVE_ASSERT(block.size() >= geometry.cluster_bytes());
  VARVE_ASSERT(range_fits(index, count, geometry.refcounts_per_block()));
}

// Length of the run of counts for which "is zero" answers `zero`.
std::uint64_t run_length(const Geometry& geometry, ConstBytes block, std::uint64_t index,
                         std::uint64_t limit, bool zero) noexcept {
  assert_range(geometry, block, index, limit);
  std::uint64_t length = 0;
  while (length < limit) {
    // A whole word of zeros answers for all its counts at once.
    const std::uint64_t bit = (index + length) << geometry.refcount_order;
    const std::uint64_t per_word = 64 >> geometry.refcount_order;
    if (bit % 64 == 0 && limit - length >= per_word &&
        load_be<std::uint64_t>(block, bit / 8) == 0) {
      if (!zero) {
        return length;
      }
      length += per_word;
      continue;
    }
    if ((load_refcount(geometry, block, index + length) == 0) != zero) {
      return length;
    }
    ++length;
  }
  return length;
}

}  // namespace

std::uint64_t load_refcount(const Geometry& geometry, ConstBytes block,
                            std::uint64_t index) noexcept {
  assert_range(geometry, block, index, 1);
  if (is_packed(geometry)) {
    const std::uint64_t bit = index << geometry.refcount_order;
    const auto byte = std::to_integer<unsigned>(block[bit / 8]);
    return (byte >> (bit % 8)) & geometry.refcount_max();
  }
  return with_integer(geometry, [&](auto type) noexcept -> std::uint64_t {
    return load_be<decltype(type)>(block, index * sizeof(type));
  });
}

void store_refcount(const Geometry& geometry, Bytes block, std::uint64_t index,
                    std::uint64_t value) noexcept {
  assert_range(geometry, block, index, 1);
  VARVE_ASSERT(value <= geometry.refcount_max());
  if (is_packed(geometry)) {
    const std::uint64_t bit = index << geometry.refcount_order;
    const auto mask = static_cast<unsigned>(geometry.refcount_max()) << (bit % 8);
    const auto byte = std::to_integer<unsigned>(block[bit / 8]);
    block[bit / 8] = std::byte((byte & ~mask & 0xff) | (static_cast<unsigned>(value) << (bit % 8)));
    return;
  }
  with_integer(geometry, [&](auto type) noexcept {
    store_be(block, index * sizeof(type), static_cast<decltype(type)>(value));
  });
}

std::optional<RefcountStop> add_refcounts(const Geometry& geometry, Bytes block,
                                          std::uint64_t index, std::uint64_t count,
                                          std::uint64_t delta, bool refuse_zero) noexcept {
  assert_range(geometry, block, index, count);
  if (count == 0) {
    return std::nullopt;
  }
  if (delta > geometry.refcount_max()) {
    return RefcountStop{index, load_refcount(geometry, block, index)};
  }
  const std::uint64_t highest = geometry.refcount_max() - delta;
  const std::uint64_t lowest = refuse_zero ? 1 : 0;
  if (is_packed(geometry)) {
    return edit_packed(
        geometry, block, index, count,
        [=](std::uint64_t value) { return value > highest || value < lowest; },
        [=](std::uint64_t value) { return value + delta; });
  }
  return with_integer(geometry, [&](auto type) noexcept {
    using Integer = decltype(type);
    const auto high = static_cast<Integer>(highest);
    const auto low = static_cast<Integer>(lowest);
    const auto step = static_cast<Integer>(delta);
    return edit_counts<Integer>(
        block, index, count, [=](Integer value) { return (value > high) | (value < low); },
        [=](Integer value) { return static_cast<Integer>(value + step); });
  });
}

std::optional<RefcountStop> subtract_refcounts(const Geometry& geometry, Bytes block,
                                               std::uint64_t index, std::uint64_t count,
                                               std::uint64_t delta) noexcept {
  assert_range(geometry, block, index, count);
  if (count == 0) {
    return std::nullopt;
  }
  if (delta > geometry.refcount_max()) {
    return RefcountStop{index, load_refcount(geometry, block, index)};
  }
  if (is_packed(geometry)) {
    return edit_packed(
        geometry, block, index, count, [=](std::uint64_t value) { return value < delta; },
        [=](std::uint64_t value) { return value - delta; });
  }
  return with_integer(geometry, [&](auto type) noexcept {
    using Integer = decltype(type);
    const auto step = static_cast<Integer>(delta);
    return edit_counts<Integer>(
        block, index, count, [=](Integer value) { return value < step; },
        [=](Integer value) { return static_cast<Integer>(value - step); });
  });
}

std::uint64_t zero_run(const Geometry& geometry, ConstBytes block, std::uint64_t index,
                       std::uint64_t limit) noexcept {
  return run_length(geometry, block, index, limit, true);
}

std::uint64_t nonzero_run(const Geometry& geometry, ConstBytes block, std::uint64_t index,
                          std::uint64_t limit) noexcept {
  return run_length(geometry, block, index, limit, false);
}

}  // namespace varve
