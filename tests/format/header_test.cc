// The header's rules one by one, by name; and every field driven to its edges.
#include "format/header.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "format/header_builder.h"
#include "sim/random.h"

namespace varve {
namespace {

using test::field_of;
using test::good_header;
using test::Memory;
using test::serialised;
using test::set_field;

// What parse says: the reason, or none for success; an `unsupported` counts as `otherwise`.
struct Verdict {
  bool good = false;
  ErrorCode code = ErrorCode::io;
  Corruption reason = Corruption::none;
  friend bool operator==(const Verdict&, const Verdict&) = default;
};
constexpr Verdict kGood{true, ErrorCode::io, Corruption::none};
constexpr Verdict kUnsupported{false, ErrorCode::unsupported, Corruption::none};
Verdict refused(Corruption reason) {
  return {false, ErrorCode::corrupt, reason};
}

std::ostream& operator<<(std::ostream& stream, const Verdict& verdict) {
  return stream << (verdict.good ? "good" : error_code_name(verdict.code)) << ' '
                << corruption_name(verdict.reason);
}

Verdict verdict_of(const Memory& cluster) {
  const Result<Header> header = Header::parse(cluster);
  if (header) {
    return kGood;
  }
  const Error& error = header.error();
  EXPECT_TRUE(error.code == ErrorCode::unsupported ||
              (error.code == ErrorCode::corrupt && error.corruption != Corruption::none))
      << describe(error);
  EXPECT_STRNE(error.what, "");
  EXPECT_NE(error.offset, Error::kNoOffset);
  EXPECT_LT(error.offset, cluster.size());
  return {false, error.code, error.corruption};
}

struct FieldCase {
  std::uint32_t version;
  const char* field;
  std::uint64_t value;
  Verdict expected;
};

// 64 KiB clusters, 10 GiB disk: 20 L1 entries.
const FieldCase kFieldCases[] = {
    {3, "magic", 0x514649fa, refused(Corruption::bad_magic)},
    {3, "version", 1, kUnsupported},
    {3, "version", 4, kUnsupported},
    {3, "cluster_bits", 8, refused(Corruption::cluster_bits_out_of_range)},
    {3, "cluster_bits", 22, refused(Corruption::cluster_bits_out_of_range)},
    {3, "cluster_bits", 40, refused(Corruption::cluster_bits_out_of_range)},
    {3, "encryption_method", 1, kUnsupported},
    {3, "encryption_method", 2, kUnsupported},
    {3, "virtual_size", 0, kGood},
    {3, "virtual_size", (20ull << 29), kGood},
    {3, "virtual_size", (20ull << 29) + 1, refused(Corruption::l1_table_too_small)},
    {3, "virtual_size", (1ull << 51), refused(Corruption::l1_table_too_small)},
    {3, "virtual_size", (1ull << 51) + 1, refused(Corruption::virtual_size_too_large)},
    {3, "virtual_size", ~0ull, refused(Corruption::virtual_size_too_large)},
    {3, "l1_entries", 19, refused(Corruption::l1_table_too_small)},
    {3, "l1_entries", 4194304, kGood},
    {3, "l1_entries", 4194305, refused(Corruption::l1_table_too_large)},
    {3, "l1_offset", 0, refused(Corruption::l1_table_overlaps_header)},
    {3, "l1_offset", 0x30200, refused(Corruption::l1_offset_unaligned)},
    {3, "l1_offset", (1ull << 56) - 65536, kGood},
    {3, "l1_offset", 1ull << 56, refused(Corruption::l1_table_out_of_range)},
    {3, "l1_offset", ~0ull << 16, refused(Corruption::l1_table_out_of_range)},
    {3, "l1_offset", 0x10000, refused(Corruption::tables_overlap)},
    {3, "refcount_table_offset", 0, refused(Corruption::refcount_table_overlaps_header)},
    {3, "refcount_table_offset", 0x10008, refused(Corruption::refcount_table_offset_unaligned)},
    {3, "refcount_table_offset", 1ull << 56, refused(Corruption::refcount_table_out_of_range)},
    {3, "refcount_table_offset", ~0ull << 16, refused(Corruption::refcount_table_out_of_range)},
    {3, "refcount_table_clusters", 0, refused(Corruption::refcount_table_empty)},
    {3, "refcount_table_clusters", 2, kGood},
    {3, "refcount_table_clusters", 129, refused(Corruption::refcount_table_too_large)},
    {3, "refcount_table_clusters", 0xffffffff, refused(Corruption::refcount_table_too_large)},
    {3, "snapshot_count", 65536, refused(Corruption::snapshot_table_overlaps_header)},
    {3, "snapshot_count", 65537, refused(Corruption::snapshot_count_too_large)},
    {3, "snapshot_table_offset", 0x200, refused(Corruption::snapshot_table_offset_unaligned)},
    {3, "snapshot_table_offset", 0x80000, kGood},
    {3, "snapshot_table_offset", ~0ull << 16, refused(Corruption::snapshot_table_out_of_range)},
    {3, "incompatible_features", kIncompatibleDirty | kIncompatibleCorrupt, kGood},
    {3, "incompatible_features", kIncompatibleDataFile, kGood},
    {3, "incompatible_features", kIncompatibleExtendedL2, refused(Corruption::l1_table_too_small)},
    {3, "incompatible_features", kIncompatibleCompression,
     refused(Corruption::compression_bit_without_type)},
    {3, "incompatible_features", 1u << 5, kUnsupported},
    {3, "incompatible_features", 1ull << 63, kUnsupported},
    {3, "compatible_features", ~0ull, kGood},
    {3, "autoclear_features", ~3ull, kGood},
    {3, "autoclear_features", kAutoclearBitmaps, refused(Corruption::bitmaps_extension_missing)},
    {3, "autoclear_features", kAutoclearDataFileRaw,
     refused(Corruption::data_file_raw_without_data_file)},
    {3, "refcount_order", 0, kGood},
    {3, "refcount_order", 6, kGood},
    {3, "refcount_order", 7, refused(Corruption::refcount_order_out_of_range)},
    {3, "refcount_order", 0xffffffff, refused(Corruption::refcount_order_out_of_range)},
    {3, "header_bytes", 96, refused(Corruption::header_length_too_small)},
    {3, "header_bytes", 0, refused(Corruption::header_length_too_small)},
    {3, "header_bytes", 108, refused(Corruption::header_length_unaligned)},
    {3, "header_bytes", 65536, kGood},
    {3, "header_bytes", 65544, refused(Corruption::header_beyond_cluster)},
    {3, "header_bytes", 0xfffffff8, refused(Corruption::header_beyond_cluster)},
    {3, "compression_type", 1, refused(Corruption::compression_type_without_bit)},
    {3, "backing_name_offset", 0x200, refused(Corruption::backing_name_empty)},
    {3, "backing_name_bytes", 77, kGood},
    // Version 2 ends at byte 72: what follows are extensions.
    {2, "refcount_table_clusters", 0, refused(Corruption::refcount_table_empty)},
    {2, "l1_offset", 1ull << 56, refused(Corruption::l1_table_out_of_range)},
};

TEST(Header, NamesTheRuleAFieldBreaks) {
  for (const FieldCase& test : kFieldCases) {
    Memory cluster = serialised(good_header(test.version));
    set_field(cluster, test.field, test.value);
    EXPECT_EQ(verdict_of(cluster), test.expected)
        << test.field << " = " << test.value << " in version " << test.version;
  }
}

TEST(Header, SaysFieldValueAndLimit) {
  Memory cluster = serialised(good_header());
  set_field(cluster, "refcount_table_clusters", 129);
  const Result<Header> header = Header::parse(cluster);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().value, 129u);
  EXPECT_EQ(header.error().limit, 128u);
  EXPECT_EQ(header.error().offset, field_of("refcount_table_clusters").offset);
  EXPECT_NE(std::string_view(header.error().what).find("refcount_table_clusters"),
            std::string_view::npos);
}

// Every field, driven to the values where arithmetic breaks, one by one: a name or success.
TEST(Header, SurvivesEveryFieldAtItsEdges) {
  for (const std::uint32_t version : {2u, 3u}) {
    for (const std::uint32_t bits : {9u, 14u, 16u, 21u}) {
      Memory cluster = serialised(good_header(version, bits));
      ASSERT_EQ(verdict_of(cluster), kGood);
      for (const Field& field : kHeaderFields) {
        if (field.size > 8 || field.name == std::string_view("padding")) {
          continue;
        }
        const std::uint64_t here = load_field(cluster, field);
        std::vector<std::uint64_t> values = {0, 1, here - 1, here + 1, ~0ull, ~0ull - 1};
        for (unsigned bit = 0; bit < field.size * 8; ++bit) {
          values.insert(values.end(), {1ull << bit, (1ull << bit) - 1, here ^ (1ull << bit)});
        }
        for (const std::uint64_t value : values) {
          set_field(cluster, field.name, value);
          verdict_of(cluster);
          static_cast<void>(Header::describe_unknown_features(cluster));
        }
        set_field(cluster, field.name, here);
      }
    }
  }
}

TEST(Header, SurvivesRandomDamage) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  Header header = good_header(3, 9);
  header.backing_name = "base.qcow2";
  header.extensions.push_back({kExtensionBackingFormat, test::to_memory("qcow2")});
  header.extensions.push_back({0x12345678, Memory(9, std::byte{7})});
  const Memory good = serialised(header);
  for (int round = 0; round < 20000; ++round) {
    Memory bad = good;
    for (std::uint64_t edits = 1 + random.below(4); edits > 0; --edits) {
      bad[8 + random.below(240)] = static_cast<std::byte>(random.next());
    }
    verdict_of(bad);
    static_cast<void>(Header::describe_unknown_features(bad));
  }
}

TEST(Header, RefusesFilesThatEndTooEarly) {
  const Memory cluster = serialised(good_header());
  for (const std::size_t size : {0u, 4u, 71u, 72u, 104u, 65535u}) {
    EXPECT_EQ(Header::parse(ConstBytes(cluster).first(size)).error().corruption,
              Corruption::header_too_short)
        << size;
  }
  EXPECT_EQ(*Header::bytes_needed(ConstBytes(cluster).first(104)), 65536u);
  EXPECT_TRUE(Header::parse(cluster));
}

TEST(Header, RefusesExtendedEntriesInSmallClusters) {
  Header header = good_header(3, 13);
  header.l1_entries *= 2;
  header.incompatible = kIncompatibleExtendedL2;
  EXPECT_EQ(verdict_of(serialised(header)), refused(Corruption::extended_l2_cluster_too_small));
  header = good_header(3, 14);
  header.l1_entries *= 2;
  header.incompatible = kIncompatibleExtendedL2;
  const Result<Header> parsed = Header::parse(serialised(header));
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->geometry.extended_l2);
}

TEST(Header, KnowsCompressionTypes) {
  Header header = good_header();
  header.incompatible = kIncompatibleCompression;
  header.compression = Compression::zstd;
  Memory cluster = serialised(header);
  EXPECT_EQ(Header::parse(cluster)->compression, Compression::zstd);
  set_field(cluster, "compression_type", 2);
  EXPECT_EQ(verdict_of(cluster), kUnsupported);
  // A header that ends before the field has none.
  set_field(cluster, "header_bytes", 104);
  EXPECT_EQ(verdict_of(cluster), refused(Corruption::compression_bit_without_type));
}

TEST(Header, RefusesWhatADataFileRulesOut) {
  Header header = good_header();
  header.incompatible = kIncompatibleDataFile;
  header.autoclear = kAutoclearDataFileRaw;
  EXPECT_EQ(verdict_of(serialised(header)), kGood);
  header.backing_name = "base";
  EXPECT_EQ(verdict_of(serialised(header)), refused(Corruption::data_file_raw_with_backing));
  header.autoclear = 0;
  EXPECT_EQ(verdict_of(serialised(header)), kGood);
  header.snapshot_count = 1;
  header.snapshot_table_offset = HostOffset(0x80000);
  EXPECT_EQ(verdict_of(serialised(header)), refused(Corruption::data_file_with_snapshots));
}

TEST(Header, RefusesSnapshotTablesOverOtherTables) {
  Header header = good_header();
  header.snapshot_count = 1;
  for (const HostOffset offset : {header.l1_offset, header.refcount_table_offset}) {
    header.snapshot_table_offset = offset;
    EXPECT_EQ(verdict_of(serialised(header)), refused(Corruption::tables_overlap));
  }
}

TEST(Header, KeepsTheBackingNameInsideTheFirstCluster) {
  for (const std::uint32_t version : {2u, 3u}) {
    Header header = good_header(version);
    header.backing_name = std::string(1023, 'b');
    const Memory good = serialised(header);
    ASSERT_EQ(Header::parse(good)->backing_name, header.backing_name);
    const auto edit = [&](const char* field, std::uint64_t value) {
      Memory bad = good;
      set_field(bad, field, value);
      return verdict_of(bad);
    };
    EXPECT_EQ(edit("backing_name_bytes", 1024), refused(Corruption::backing_name_too_long));
    EXPECT_EQ(edit("backing_name_bytes", ~0ull), refused(Corruption::backing_name_too_long));
    EXPECT_EQ(edit("backing_name_bytes", 0), refused(Corruption::backing_name_empty));
    EXPECT_EQ(edit("backing_name_offset", 65536 - 1022),
              refused(Corruption::backing_name_outside_cluster));
    EXPECT_EQ(edit("backing_name_offset", ~0ull),
              refused(Corruption::backing_name_outside_cluster));
    EXPECT_EQ(edit("backing_name_offset", version == 2 ? 64 : 104),
              refused(Corruption::backing_name_overlaps_header));
    Memory bad = good;
    bad[load_field(bad, field_of("backing_name_offset")) + 5] = std::byte{0};
    EXPECT_EQ(verdict_of(bad), refused(Corruption::backing_name_contains_nul));
  }
}

// History: e4603fe139.
TEST(Header, RewritesItselfByteForByte) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  for (int round = 0; round < 500; ++round) {
    Header header = good_header(random.chance(30) ? 2 : 3, 12);
    for (std::uint64_t n = random.below(4); n > 0; --n) {
      header.extensions.push_back({0x1000'0000u + static_cast<std::uint32_t>(n),
                                   Memory(random.below(40), static_cast<std::byte>(n))});
    }
    if (random.chance(50)) {
      header.backing_name = std::string(1 + random.below(50), 'x');
    }
    if (header.version == 3 && random.chance(30)) {
      header.unknown_header_fields = Memory(8 * random.below(4), std::byte{0xab});
      header.padding[3] = std::byte{1};
    }
    const Memory first = serialised(header);
    const Result<Header> parsed = Header::parse(first);
    ASSERT_TRUE(parsed) << describe(parsed.error());
    ASSERT_EQ(serialised(*parsed), first);
    ASSERT_EQ(parsed->extensions.size(), header.extensions.size());
  }
}

TEST(Header, SaysWhenItDoesNotFit) {
  Header header = good_header(3, 9);
  header.extensions.push_back(Header::known_feature_names());
  Memory cluster(512);
  EXPECT_TRUE(header.serialise(cluster));
  header.backing_name = "b";
  const Result<void> outcome = header.serialise(cluster);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::out_of_range);
  EXPECT_EQ(outcome.error().value, 513u);
  EXPECT_EQ(outcome.error().limit, 512u);
}

TEST(Header, KeepsTheShortHeaderItFound) {
  Header header = good_header();
  header.header_bytes = 104;
  const Memory cluster = serialised(header);
  EXPECT_EQ(load_field(cluster, field_of("header_bytes")), 104u);
  EXPECT_EQ(Header::parse(cluster)->header_bytes, 104u);
  header.compression = Compression::zstd;
  header.incompatible = kIncompatibleCompression;
  EXPECT_EQ(load_field(serialised(header), field_of("header_bytes")), 112u);
}

}  // namespace
}  // namespace varve
