// Refcount blocks against a model that knows single bits only, for all seven widths.
#include "format/refcount.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/random.h"

namespace varve {
namespace {

using sim::Random;

// Wide counts get a block of several of the chunks that bulk edits work in.
Geometry geometry_of(std::uint32_t order) {
  return {.cluster_bits = order < 3 ? 9u : 12u, .refcount_order = order};
}

// Bit `bit` (0: least significant) of count `index`, by the format's words: below 8 bits, counts
// fill each byte from its least significant bit; from 8 bits on they are big-endian.
std::uint64_t bit_place(std::uint32_t width, std::uint64_t index, std::uint32_t bit) {
  if (width < 8) {
    return index * width + bit;
  }
  const std::uint64_t byte = index * (width / 8) + (width / 8 - 1 - bit / 8);
  return byte * 8 + bit % 8;
}

std::uint64_t model_load(const Geometry& geometry, const std::vector<std::byte>& block,
                         std::uint64_t index) {
  std::uint64_t value = 0;
  for (std::uint32_t bit = 0; bit < geometry.refcount_bits(); ++bit) {
    const std::uint64_t place = bit_place(geometry.refcount_bits(), index, bit);
    const auto byte = std::to_integer<std::uint64_t>(block[place / 8]);
    value |= ((byte >> (place % 8)) & 1) << bit;
  }
  return value;
}

void model_store(const Geometry& geometry, std::vector<std::byte>& block, std::uint64_t index,
                 std::uint64_t value) {
  for (std::uint32_t bit = 0; bit < geometry.refcount_bits(); ++bit) {
    const std::uint64_t place = bit_place(geometry.refcount_bits(), index, bit);
    const auto mask = static_cast<std::byte>(1u << (place % 8));
    block[place / 8] =
        ((value >> bit) & 1) != 0 ? block[place / 8] | mask : block[place / 8] & ~mask;
  }
}

std::uint64_t random_count(const Geometry& geometry, Random& random) {
  switch (random.below(5)) {
    case 0:
      return 0;
    case 1:
      return 1;
    case 2:
      return geometry.refcount_max();
    case 3:
      return geometry.refcount_max() - 1;
    default:
      return random.next() & geometry.refcount_max();
  }
}

std::vector<std::byte> random_block(const Geometry& geometry, Random& random) {
  std::vector<std::byte> block(geometry.cluster_bytes());
  // Stretches of one kind, so that bulk edits get some way before they stop.
  std::uint64_t value = 0;
  for (std::uint64_t i = 0; i < geometry.refcounts_per_block(); ++i) {
    if (random.below(400) < 3) {
      value = random_count(geometry, random);
    }
    model_store(geometry, block, i,
                random.below(2000) == 0 ? random_count(geometry, random) : value);
  }
  return block;
}

class RefcountWidth : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  RefcountWidth() : seed_(sim::seed_from_environment()), random_(seed_ + GetParam()) {
    RecordProperty("seed", std::to_string(seed_));
  }
  Geometry geometry_ = geometry_of(GetParam());
  std::uint64_t seed_;
  Random random_;
};

TEST_P(RefcountWidth, LoadsEveryCount) {
  std::vector<std::byte> block(geometry_.cluster_bytes());
  for (std::byte& byte : block) {
    byte = static_cast<std::byte>(random_.next());
  }
  for (std::uint64_t i = 0; i < geometry_.refcounts_per_block(); ++i) {
    ASSERT_EQ(load_refcount(geometry_, block, i), model_load(geometry_, block, i)) << i;
  }
}

// History: qcow2-rs d7c9c9e.
TEST_P(RefcountWidth, StoresTouchNoOtherBit) {
  std::vector<std::byte> block = random_block(geometry_, random_);
  std::vector<std::byte> model = block;
  for (std::uint64_t i = 0; i < geometry_.refcounts_per_block(); ++i) {
    const std::uint64_t value = random_count(geometry_, random_);
    store_refcount(geometry_, block, i, value);
    model_store(geometry_, model, i, value);
    ASSERT_TRUE(block == model) << i;
  }
}

TEST_P(RefcountWidth, BulkEditsEqualSingleOnes) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed_));
  for (int round = 0; round < 200; ++round) {
    std::vector<std::byte> block = random_block(geometry_, random_);
    std::vector<std::byte> model = block;
    const std::uint64_t index = random_.below(geometry_.refcounts_per_block());
    const std::uint64_t count = random_.below(geometry_.refcounts_per_block() - index + 1);
    const std::uint64_t delta =
        random_.chance(80) ? 1 + random_.below(2) : 1 + random_count(geometry_, random_) / 2;
    const bool add = random_.chance(50);
    const bool refuse_zero = random_.chance(50);
    std::optional<RefcountStop> expected;
    for (std::uint64_t i = index; i < index + count; ++i) {
      const std::uint64_t value = model_load(geometry_, model, i);
      const bool refused = add ? delta > geometry_.refcount_max() ||
                                     value > geometry_.refcount_max() - delta ||
                                     (refuse_zero && value == 0)
                               : value < delta;
      if (refused) {
        expected = RefcountStop{i, value};
        break;
      }
      model_store(geometry_, model, i, add ? value + delta : value - delta);
    }
    const std::optional<RefcountStop> stop =
        add ? add_refcounts(geometry_, block, index, count, delta, refuse_zero)
            : subtract_refcounts(geometry_, block, index, count, delta);
    ASSERT_EQ(stop.has_value(), expected.has_value());
    if (stop) {
      ASSERT_EQ(stop->index, expected->index);
      ASSERT_EQ(stop->value, expected->value);
    }
    ASSERT_EQ(block, model);
  }
}

TEST_P(RefcountWidth, FindsTheFirstCountThatCannotDouble) {
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed_));
  const std::uint64_t half = geometry_.refcount_max() / 2;
  std::vector<std::byte> block(geometry_.cluster_bytes());
  for (int round = 0; round < 100; ++round) {
    for (std::uint64_t i = 0; i < geometry_.refcounts_per_block(); ++i) {
      const std::uint64_t count = random_count(geometry_, random_) & half;
      store_refcount(geometry_, block, i, std::min(half, std::max<std::uint64_t>(count, 1)));
    }
    const std::uint64_t odd = random_.below(geometry_.refcounts_per_block());
    store_refcount(geometry_, block, odd, random_.chance(50) ? 0 : half + 1);
    const std::uint64_t index = random_.below(geometry_.refcounts_per_block());
    const std::uint64_t count = random_.below(geometry_.refcounts_per_block() - index + 1);
    std::optional<std::uint64_t> expected;
    for (std::uint64_t i = index; i < index + count && !expected; ++i) {
      const std::uint64_t value = model_load(geometry_, block, i);
      expected = value == 0 || value > half ? std::optional(i) : std::nullopt;
    }
    const auto stop = find_undoublable(geometry_, block, index, count);
    ASSERT_EQ(stop.has_value(), expected.has_value());
    if (stop) {
      ASSERT_EQ(stop->index, *expected);
      ASSERT_EQ(stop->value, model_load(geometry_, block, *expected));
    }
  }
}

TEST_P(RefcountWidth, RunsEndAtTheFirstOtherAnswer) {
  const std::vector<std::byte> block = random_block(geometry_, random_);
  const std::uint64_t per_block = geometry_.refcounts_per_block();
  for (std::uint64_t index = 0; index < per_block; ++index) {
    const std::uint64_t limit =
        random_.chance(50) ? per_block - index : random_.below(per_block - index + 1);
    for (const bool zero : {true, false}) {
      std::uint64_t expected = 0;
      while (expected < limit && (model_load(geometry_, block, index + expected) == 0) == zero) {
        ++expected;
      }
      ASSERT_EQ(zero ? zero_run(geometry_, block, index, limit)
                     : nonzero_run(geometry_, block, index, limit),
                expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllWidths, RefcountWidth, ::testing::Range(0u, 7u));

}  // namespace
}  // namespace varve
