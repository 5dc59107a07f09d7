// The bitmap directory: every rule of an entry by name.
#include "format/bitmap_directory.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "format/header_builder.h"
#include "sim/random.h"

namespace varve {
namespace {

using test::Memory;
using test::to_memory;

constexpr Geometry kGeometry{.cluster_bits = 16};
constexpr HostOffset kDirectory{0x90000};

Memory entry(const std::string& name, std::size_t extra_bytes = 0) {
  RawBitmapEntry raw{};
  raw.table_offset.set(0xa0000);
  raw.table_entries.set(3);
  raw.flags.set(BitmapEntry::kAuto);
  raw.type = std::byte{1};
  raw.granularity_bits = std::byte{16};
  raw.name_bytes.set(static_cast<std::uint16_t>(name.size()));
  raw.extra_bytes.set(static_cast<std::uint32_t>(extra_bytes));
  Memory bytes(round_up(sizeof(raw) + extra_bytes + name.size(), 8));
  store(bytes, 0, raw);
  copy_bytes(Bytes(bytes).subspan(sizeof(raw) + extra_bytes, name.size()), to_memory(name));
  return bytes;
}

Memory joined(const Memory& a, const Memory& b) {
  Memory both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

Result<std::vector<BitmapEntry>> parse(const Memory& directory, std::uint32_t count) {
  return parse_bitmap_directory(directory, {count, directory.size(), kDirectory}, kGeometry);
}

TEST(BitmapDirectory, ReadsEveryField) {
  const auto bitmaps = parse(joined(entry("one", 5), entry("second")), 2);
  ASSERT_TRUE(bitmaps) << describe(bitmaps.error());
  ASSERT_EQ(bitmaps->size(), 2u);
  const BitmapEntry& first = bitmaps->at(0);
  EXPECT_EQ(first.table_offset, HostOffset(0xa0000));
  EXPECT_EQ(first.table_entries, 3u);
  EXPECT_EQ(first.flags, BitmapEntry::kAuto);
  EXPECT_EQ(first.type, 1);
  EXPECT_EQ(first.granularity_bits, 16);
  EXPECT_EQ(first.name, "one");
  EXPECT_EQ(first.extra_bytes, 5u);
  EXPECT_EQ(first.flags_offset, 12u);
  EXPECT_EQ(bitmaps->at(1).name, "second");
  EXPECT_EQ(bitmaps->at(1).flags_offset, 32u + 12);
}

TEST(BitmapDirectory, NamesTheRuleAnEntryBreaks) {
  struct Broken {
    Corruption reason;
    std::function<void(RawBitmapEntry&)> edit;
  };
  const std::vector<Broken> cases = {
      {Corruption::none, [](RawBitmapEntry&) {}},
      {Corruption::bitmap_table_unaligned, [](RawBitmapEntry& e) { e.table_offset.set(0xa0008); }},
      {Corruption::bitmap_table_out_of_range, [](RawBitmapEntry& e) { e.table_offset.set(0); }},
      {Corruption::bitmap_table_out_of_range,
       [](RawBitmapEntry& e) { e.table_offset.set(~0ull << 16); }},
      {Corruption::bitmap_table_too_large,
       [](RawBitmapEntry& e) { e.table_entries.set(kBitmapTableEntriesMax + 1); }},
      {Corruption::none, [](RawBitmapEntry& e) { e.table_entries.set(kBitmapTableEntriesMax); }},
      {Corruption::none, [](RawBitmapEntry& e) { e.flags.set(7); }},
      {Corruption::bitmap_flags_reserved, [](RawBitmapEntry& e) { e.flags.set(8); }},
      {Corruption::bitmap_type_unknown, [](RawBitmapEntry& e) { e.type = std::byte{0}; }},
      {Corruption::bitmap_type_unknown, [](RawBitmapEntry& e) { e.type = std::byte{2}; }},
      {Corruption::none, [](RawBitmapEntry& e) { e.granularity_bits = std::byte{63}; }},
      {Corruption::bitmap_granularity_out_of_range,
       [](RawBitmapEntry& e) { e.granularity_bits = std::byte{64}; }},
      {Corruption::bitmap_name_empty, [](RawBitmapEntry& e) { e.name_bytes.set(0); }},
      {Corruption::bitmap_directory_truncated, [](RawBitmapEntry& e) { e.name_bytes.set(1000); }},
      {Corruption::bitmap_directory_truncated,
       [](RawBitmapEntry& e) { e.extra_bytes.set(0xffffffff); }},
      {Corruption::bitmap_padding_not_zero, [](RawBitmapEntry& e) { e.name_bytes.set(3); }},
  };
  for (const Broken& test : cases) {
    Memory bytes = joined(entry("first"), entry("name"));
    RawBitmapEntry raw = *load<RawBitmapEntry>(bytes, 32);
    test.edit(raw);
    store(bytes, 32, raw);
    const auto bitmaps = parse(bytes, 2);
    EXPECT_EQ(bitmaps ? Corruption::none : bitmaps.error().corruption, test.reason)
        << corruption_name(test.reason);
    if (!bitmaps) {
      EXPECT_GE(bitmaps.error().offset, kDirectory.value() + 32);
      EXPECT_LT(bitmaps.error().offset, kDirectory.value() + 64);
    }
  }
}

TEST(BitmapDirectory, RefusesLongNamesAndTheSameNameTwice) {
  EXPECT_TRUE(parse(entry(std::string(1023, 'n')), 1));
  EXPECT_EQ(parse(entry(std::string(1024, 'n')), 1).error().corruption,
            Corruption::bitmap_name_too_long);
  EXPECT_EQ(parse(joined(entry("same"), entry("same")), 2).error().corruption,
            Corruption::bitmap_name_duplicate);
}

TEST(BitmapDirectory, CountsItsBytesExactly) {
  const Memory two = joined(entry("one"), entry("two"));
  EXPECT_EQ(parse(two, 1).error().corruption, Corruption::bitmap_directory_trailing_bytes);
  EXPECT_EQ(parse(two, 3).error().corruption, Corruption::bitmap_directory_truncated);
  EXPECT_EQ(
      parse_bitmap_directory(two, {2, two.size() + 1, kDirectory}, kGeometry).error().corruption,
      Corruption::bitmap_directory_truncated);
  // A buffer that is longer than the directory is fine.
  EXPECT_TRUE(
      parse_bitmap_directory(joined(two, Memory(100)), {2, two.size(), kDirectory}, kGeometry));
}

TEST(BitmapDirectory, SurvivesRandomDamage) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  const Memory good = joined(entry("one", 9), entry("two"));
  for (int round = 0; round < 20000; ++round) {
    Memory bytes = good;
    for (std::uint64_t edits = 1 + random.below(5); edits > 0; --edits) {
      bytes[random.below(bytes.size())] = static_cast<std::byte>(random.next());
    }
    static_cast<void>(parse(bytes, static_cast<std::uint32_t>(random.below(4))));
  }
}

}  // namespace
}  // namespace varve
