#include "format/refcount.h"

#include <array>
#include <span>

#include "base/assert.h"

namespace varve {
namespace {

// Counts decoded at a time by the bulk edits: small enough for the stack, large enough for the
// compiler's vector loops.
constexpr std::size_t kChunk = 256;

template <class Integer>
struct Chunk {
  static constexpr std::size_t kBytes = kChunk * sizeof(Integer);
  std::array<Integer, kChunk> counts;

  void load(ConstBytes block, std::uint64_t index) noexcept {
    copy_bytes(std::as_writable_bytes(std::span(counts)),
               block.subspan(index * sizeof(Integer), kBytes));
    swap();
  }
  void store(Bytes block, std::uint64_t index) noexcept {
    swap();
    copy_bytes(block.subspan(index * sizeof(Integer), kBytes), std::as_bytes(std::span(counts)));
  }

 private:
  void swap() noexcept {
    for (Integer& count : counts) {
      count = big_endian(count);
    }
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
// tested before they are changed, in loops of fixed length without an exit, which the compiler
// turns into vector instructions; what is left, and a chunk with a refused count, goes one by one.
template <class Integer, class Refuse, class Change>
std::optional<RefcountStop> edit_counts(Bytes block, std::uint64_t index, std::uint64_t count,
                                        Refuse refuse, Change change) noexcept {
  Chunk<Integer> chunk;
  for (; count >= kChunk; index += kChunk, count -= kChunk) {
    chunk.load(block, index);
    Integer refused = 0;
    for (const Integer value : chunk.counts) {
      refused = static_cast<Integer>(refused | static_cast<Integer>(refuse(value)));
    }
    if (refused != 0) {
      break;
    }
    for (Integer& value : chunk.counts) {
      value = change(value);
    }
    chunk.store(block, index);
  }
  for (std::uint64_t i = index; i < index + count; ++i) {
    const auto value = load_be<Integer>(block, i * sizeof(Integer));
    if (refuse(value)) {
      return RefcountStop{i, value};
    }
    store_be(block, i * sizeof(Integer), change(value));
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

// Length of the run of counts for which "is zero" answers `zero`. Words that hold only such counts
// are taken whole.
std::uint64_t run_length(const Geometry& geometry, ConstBytes block, std::uint64_t index,
                         std::uint64_t limit, bool zero) noexcept {
  assert_range(geometry, block, index, limit);
  const std::uint64_t per_word = 64 >> geometry.refcount_order;
  const std::uint64_t lowest_bits = ~std::uint64_t{0} / geometry.refcount_max();
  const std::uint64_t highest_bits = lowest_bits << (geometry.refcount_bits() - 1);
  std::uint64_t length = 0;
  while (length < limit) {
    const std::uint64_t bit = (index + length) << geometry.refcount_order;
    if (bit % 64 == 0 && limit - length >= per_word) {
      const auto word = load_be<std::uint64_t>(block, bit / 8);
      // A borrow reaches the highest bit of a count only where some count is zero.
      const bool has_zero = ((word - lowest_bits) & ~word & highest_bits) != 0;
      if (zero ? word == 0 : !has_zero) {
        length += per_word;
        continue;
      }
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

std::optional<RefcountStop> find_undoublable(const Geometry& geometry, ConstBytes block,
                                             std::uint64_t index, std::uint64_t count) noexcept {
  assert_range(geometry, block, index, count);
  const std::uint64_t per_word = 64 >> geometry.refcount_order;
  const std::uint64_t lowest_bits = ~std::uint64_t{0} / geometry.refcount_max();
  const std::uint64_t highest_bits = lowest_bits << (geometry.refcount_bits() - 1);
  const std::uint64_t end = index + count;
  while (index < end) {
    const std::uint64_t bit = index << geometry.refcount_order;
    if (bit % 64 == 0 && end - index >= per_word) {
      // A count above half has its highest bit set, and a borrow from 0 sets it.
      const auto word = load_be<std::uint64_t>(block, bit / 8);
      if (((word | (word - lowest_bits)) & highest_bits) == 0) {
        index += per_word;
        continue;
      }
    }
    const std::uint64_t value = load_refcount(geometry, block, index);
    if (value == 0 || value > geometry.refcount_max() / 2) {
      return RefcountStop{index, value};
    }
    ++index;
  }
  return std::nullopt;
}

std::uint64_t zero_run(const Geometry& geometry, ConstBytes block, std::uint64_t index,
                       std::uint64_t limit) noexcept {
  return run_length(geometry, block, index, limit, true);
}

std::uint64_t nonzero_run(const Geometry& geometry, ConstBytes block, std::uint64_t index,
                          std::uint64_t limit) noexcept {
  return run_length(geometry, block, index, limit, false);
}

std::uint64_t equal_run(const Geometry& geometry, ConstBytes block, std::uint64_t index,
                        std::uint64_t limit, std::uint64_t value) noexcept {
  assert_range(geometry, block, index, limit);
  std::uint64_t length = 0;
  if (is_packed(geometry)) {
    while (length < limit && load_refcount(geometry, block, index + length) == value) {
      ++length;
    }
    return length;
  }
  return with_integer(geometry, [&](auto type) noexcept -> std::uint64_t {
    while (length < limit &&
           load_be<decltype(type)>(block, (index + length) * sizeof(type)) == value) {
      ++length;
    }
    return length;
  });
}

}  // namespace varve
