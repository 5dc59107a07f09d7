// Every bit of L1 and L2 entries in every geometry: either it means something, or it is refused by
// name.
#include "format/l2_entry.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "format/header.h"
#include "format/l1_entry.h"
#include "sim/random.h"

namespace varve {
namespace {

constexpr HostOffset kWhere{0x1234};

std::vector<Geometry> all_geometries() {
  std::vector<Geometry> geometries;
  for (std::uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
    geometries.push_back({.cluster_bits = bits});
    if (bits >= kExtendedL2ClusterBitsMin) {
      geometries.push_back({.cluster_bits = bits, .extended_l2 = true});
    }
  }
  return geometries;
}

class EveryGeometry : public ::testing::TestWithParam<Geometry> {
 protected:
  const Geometry& geometry() const { return GetParam(); }

  Corruption verdict(const L2Entry& entry, std::uint32_t version = 3,
                     bool data_file = false) const {
    const Result<void> outcome = entry.validate(geometry(), version, data_file, kWhere);
    if (outcome) {
      return Corruption::none;
    }
    EXPECT_EQ(outcome.error().code, ErrorCode::corrupt);
    EXPECT_EQ(outcome.error().tag, IoTag::l2);
    EXPECT_EQ(outcome.error().offset, kWhere.value());
    return outcome.error().corruption;
  }
};

INSTANTIATE_TEST_SUITE_P(All, EveryGeometry, ::testing::ValuesIn(all_geometries()),
                         [](const auto& instance) {
                           return std::to_string(instance.param.cluster_bits) +
                                  (instance.param.extended_l2 ? "Extended" : "Standard");
                         });

TEST_P(EveryGeometry, JudgesEveryBitOfAnL1Entry) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const L1Entry entry((std::uint64_t{1} << bit) | L1Entry::kCopied);
    const Result<void> outcome = entry.validate(geometry(), kWhere);
    if (bit <= 8 || (bit >= 56 && bit <= 62)) {
      ASSERT_FALSE(outcome) << bit;
      EXPECT_EQ(outcome.error().corruption, Corruption::l1_entry_reserved_bits) << bit;
    } else if (bit < geometry().cluster_bits) {
      ASSERT_FALSE(outcome) << bit;
      EXPECT_EQ(outcome.error().corruption, Corruption::l2_table_unaligned) << bit;
    } else {
      EXPECT_TRUE(outcome) << bit;
    }
  }
}

// History: 9631c7822e.
TEST_P(EveryGeometry, JudgesEveryBitOfAStandardEntry) {
  const HostOffset host(std::uint64_t{1} << 40);
  for (unsigned bit = 0; bit < 62; ++bit) {
    const L2Entry entry(L2Entry::standard(host, true).raw() ^ (std::uint64_t{1} << bit));
    Corruption expected = Corruption::none;
    if (bit == 0) {
      expected = geometry().extended_l2 ? Corruption::zero_flag_in_extended_l2 : Corruption::none;
    } else if (bit <= 8 || bit >= 56) {
      expected = Corruption::l2_entry_reserved_bits;
    } else if (bit < geometry().cluster_bits) {
      expected = Corruption::cluster_offset_unaligned;
    } else if (bit == 40) {
      expected = Corruption::copied_without_cluster;
    }
    EXPECT_EQ(verdict(entry), expected) << bit;
  }
}

TEST_P(EveryGeometry, RefusesTheZeroFlagInVersion2) {
  if (!geometry().extended_l2) {
    EXPECT_EQ(verdict(L2Entry::zero(geometry()), 2), Corruption::zero_flag_in_v2);
    EXPECT_EQ(verdict(L2Entry::zero(geometry()), 3), Corruption::none);
  }
}

TEST_P(EveryGeometry, TakesOffsetZeroOnlyFromADataFile) {
  const L2Entry entry = L2Entry::standard(HostOffset(0), true);
  EXPECT_EQ(verdict(entry), Corruption::copied_without_cluster);
  EXPECT_EQ(verdict(entry, 3, true), Corruption::none);
  EXPECT_EQ(entry.kind(geometry()), ClusterKind::unallocated);
  EXPECT_EQ(entry.kind(geometry(), true), ClusterKind::standard);
  EXPECT_TRUE(entry.has_host(true));
  EXPECT_FALSE(L2Entry::unallocated().has_host(true));
}

TEST_P(EveryGeometry, SpellsZeroClustersItsOwnWay) {
  const L2Entry zero = L2Entry::zero(geometry());
  EXPECT_EQ(verdict(zero), Corruption::none);
  for (std::uint32_t i = 0; i < geometry().subclusters(); ++i) {
    EXPECT_EQ(zero.subcluster(geometry(), i), SubclusterKind::zero);
  }
}

// History: 9631c7822e.
TEST_P(EveryGeometry, JudgesEverySubclusterBit) {
  if (!geometry().extended_l2) {
    return;
  }
  const HostOffset host(geometry().cluster_bytes());
  for (std::uint32_t i = 0; i < 32; ++i) {
    const std::uint64_t data = std::uint64_t{1} << i;
    const std::uint64_t zero = data << 32;
    EXPECT_EQ(verdict(L2Entry::extended(host, true, data)), Corruption::none);
    EXPECT_EQ(verdict(L2Entry::extended(host, true, zero)), Corruption::none);
    EXPECT_EQ(verdict(L2Entry(0, zero)), Corruption::none);
    EXPECT_EQ(verdict(L2Entry(0, data)), Corruption::subcluster_without_cluster);
    EXPECT_EQ(verdict(L2Entry::extended(host, true, data | zero)),
              Corruption::subcluster_bits_conflict);
    for (std::uint32_t other = 0; other < 32; ++other) {
      EXPECT_EQ(L2Entry::extended(host, true, data).subcluster(geometry(), other),
                other == i ? SubclusterKind::data : SubclusterKind::unallocated);
      EXPECT_EQ(L2Entry::extended(host, true, zero).subcluster(geometry(), other),
                other == i ? SubclusterKind::zero : SubclusterKind::unallocated);
    }
  }
}

// History: c883db0df9.
TEST_P(EveryGeometry, RoundTripsCompressedExtents) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  const std::uint32_t shift = 62 - (geometry().cluster_bits - 8);
  const std::uint64_t offset_end = std::min(std::uint64_t{1} << shift, kHostOffsetEnd);
  for (int round = 0; round < 2000; ++round) {
    const std::uint64_t length = 1 + random.below(geometry().cluster_bytes());
    const std::uint64_t offset =
        geometry().cluster_bytes() + random.below(offset_end - 3 * geometry().cluster_bytes());
    const CompressedExtent extent{HostOffset(offset), length};
    ASSERT_TRUE(L2Entry::is_compressible_at(geometry(), extent));
    const L2Entry entry = L2Entry::compressed(geometry(), extent);
    ASSERT_EQ(entry.kind(geometry()), ClusterKind::compressed);
    ASSERT_EQ(verdict(entry), Corruption::none);
    ASSERT_EQ(verdict(entry, 3, true), Corruption::compressed_with_data_file);
    const CompressedExtent found = entry.compressed_extent(geometry());
    ASSERT_EQ(found.offset.value(), offset);
    // The descriptor names whole sectors: the last one the bytes touch, and not one more.
    ASSERT_EQ((offset + found.length) % 512, 0u);
    ASSERT_GE(found.length, length);
    ASSERT_LT(found.length - length, 512u);
  }
}

TEST_P(EveryGeometry, KnowsWhereCompressedDataCannotBeNamed) {
  const std::uint32_t shift = 62 - (geometry().cluster_bits - 8);
  const std::uint64_t offset_end = std::uint64_t{1} << shift;
  EXPECT_FALSE(L2Entry::is_compressible_at(geometry(), {HostOffset(0), 0}));
  EXPECT_FALSE(L2Entry::is_compressible_at(geometry(), {HostOffset(offset_end), 1}));
  EXPECT_FALSE(L2Entry::is_compressible_at(geometry(), {HostOffset(kHostOffsetEnd), 1}));
  EXPECT_FALSE(L2Entry::is_compressible_at(geometry(), {HostOffset(kHostOffsetEnd - 1), 2}));
  const std::uint64_t sectors = std::uint64_t{1} << (geometry().cluster_bits - 8);
  EXPECT_TRUE(L2Entry::is_compressible_at(geometry(), {HostOffset(0), sectors * 512}));
  EXPECT_FALSE(L2Entry::is_compressible_at(geometry(), {HostOffset(0), sectors * 512 + 1}));
  EXPECT_FALSE(L2Entry::is_compressible_at(geometry(), {HostOffset(511), sectors * 512}));
}

TEST_P(EveryGeometry, JudgesEveryBitOfACompressedEntry) {
  const std::uint32_t shift = 62 - (geometry().cluster_bits - 8);
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (bit == 62) {
      continue;
    }
    const L2Entry entry(L2Entry::kCompressed | geometry().cluster_bytes() |
                        (std::uint64_t{1} << bit));
    Corruption expected = Corruption::none;
    if (bit == 63) {
      expected = Corruption::compressed_entry_copied;
    } else if (bit >= 56 && bit < shift) {
      expected = Corruption::compressed_offset_out_of_range;
    }
    EXPECT_EQ(verdict(entry), expected) << bit;
  }
  EXPECT_EQ(verdict(L2Entry(L2Entry::kCompressed | 512, 1)), Corruption::compressed_entry_bitmap);
  // The header's cluster is nobody else's.
  EXPECT_EQ(verdict(L2Entry(L2Entry::kCompressed | (geometry().cluster_bytes() - 1))),
            Corruption::compressed_offset_out_of_range);
}

TEST_P(EveryGeometry, LoadsWhatItStored) {
  std::vector<std::byte> table(geometry().cluster_bytes());
  const auto entry_at = [&](std::uint64_t index) {
    const std::uint64_t host = (index + 1) << geometry().cluster_bits;
    return L2Entry(host, geometry().extended_l2 ? ~index : 0);
  };
  for (std::uint64_t i = 0; i < geometry().l2_entries(); ++i) {
    entry_at(i).store(geometry(), table, i);
  }
  for (std::uint64_t i = 0; i < geometry().l2_entries(); ++i) {
    ASSERT_EQ(L2Entry::load(geometry(), table, i), entry_at(i));
  }
}

TEST(L2Entry, SpellsACompressedClusterAsTheFormatDoes) {
  // 64 KiB clusters: the sector count begins at bit 54. 0x50200 + 1000 bytes touch 2 sectors.
  const Geometry geometry{.cluster_bits = 16};
  EXPECT_EQ(L2Entry::compressed(geometry, {HostOffset(0x50200), 1000}).raw(),
            0x4040'0000'0005'0200u);
  const L2Entry odd = L2Entry::compressed(geometry, {HostOffset(0x501ff), 2});
  EXPECT_EQ(odd.raw(), 0x4040'0000'0005'01ffu);
  EXPECT_EQ(odd.compressed_extent(geometry).length, 513u);
}

}  // namespace
}  // namespace varve
