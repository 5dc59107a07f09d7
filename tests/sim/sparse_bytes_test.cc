// Goal: the content store of all simulations behaves as a flat array, overlays included. Method:
// the same random changes to both, compared throughout.
#include "sim/sparse_bytes.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "sim/random.h"

namespace varve::sim {
namespace {

using Flat = std::vector<std::byte>;

void change_both(Random& random, SparseBytes& sparse, Flat& flat) {
  const std::uint64_t offset = random.below(40000);
  const std::uint64_t length = random.chance(30) ? random.below(20000) : random.below(700);
  switch (random.below(4)) {
    case 0:
    case 1: {
      Flat data(static_cast<std::size_t>(length), static_cast<std::byte>(random.between(1, 255)));
      sparse.write(offset, data);
      if (length > 0) {
        flat.resize(std::max<std::size_t>(flat.size(), offset + length));
        std::copy(data.begin(), data.end(), flat.begin() + static_cast<std::ptrdiff_t>(offset));
      }
      break;
    }
    case 2: {
      sparse.zero(offset, length);
      const std::size_t from = std::min<std::size_t>(flat.size(), offset);
      const std::size_t to = std::min<std::size_t>(flat.size(), offset + length);
      std::fill(flat.begin() + static_cast<std::ptrdiff_t>(from),
                flat.begin() + static_cast<std::ptrdiff_t>(to), std::byte{0});
      break;
    }
    default:
      sparse.resize(offset);
      flat.resize(static_cast<std::size_t>(offset));
      break;
  }
}

TEST(SparseBytes, EqualsAFlatArrayUnderRandomChanges) {
  const std::uint64_t seed = seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  Random random(seed);
  for (int round = 0; round < 20; ++round) {
    SparseBytes sparse;
    Flat flat;
    for (int i = 0; i < 60; ++i) {
      change_both(random, sparse, flat);
      ASSERT_EQ(sparse.size(), flat.size());
      ASSERT_EQ(sparse.flat(), flat);
    }
  }
}

TEST(SparseBytes, OverlayLeavesItsBaseAlone) {
  const std::uint64_t seed = seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  Random random(seed ^ 7);
  for (int round = 0; round < 20; ++round) {
    SparseBytes base;
    Flat flat;
    for (int i = 0; i < 10; ++i) {
      change_both(random, base, flat);
    }
    const Flat before = base.flat();
    SparseBytes middle(&base);
    change_both(random, middle, flat);
    SparseBytes overlay(&middle);
    for (int i = 0; i < 30; ++i) {
      change_both(random, overlay, flat);
      ASSERT_EQ(overlay.flat(), flat);
    }
    ASSERT_EQ(overlay.clone().flat(), flat);
    ASSERT_EQ(base.flat(), before);
  }
}

TEST(SparseBytes, ReadsZerosPastTheEnd) {
  SparseBytes sparse;
  sparse.write(0, Flat(10, std::byte{7}));
  Flat read(20, std::byte{9});
  sparse.read(5, read);
  EXPECT_EQ(read[4], std::byte{7});
  EXPECT_TRUE(is_all_zero(ConstBytes(read).subspan(5)));
}

}  // namespace
}  // namespace varve::sim
