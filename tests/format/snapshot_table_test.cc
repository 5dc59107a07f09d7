// The snapshot table: what is read is written again, and every limit has a name.
#include "format/snapshot_table.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/random.h"

namespace varve {
namespace {

using Memory = std::vector<std::byte>;

constexpr Geometry kGeometry{.cluster_bits = 16};
constexpr HostOffset kTable{0x50000};
constexpr std::uint64_t kDisk = kGiB;

SnapshotEntry entry(const std::string& id, const std::string& name) {
  SnapshotEntry made;
  made.l1_offset = HostOffset(0x70000);
  made.l1_entries = 2;
  made.id = id;
  made.name = name;
  made.date_seconds = 1700000000;
  made.disk_size = kDisk;
  return made;
}

Memory serialised(const SnapshotTable& table) {
  Memory bytes(table.serialised_bytes(), std::byte{0xee});
  const Result<void> outcome = table.serialise(bytes);
  EXPECT_TRUE(outcome) << describe(outcome.error());
  return bytes;
}

Result<SnapshotTable> parse(const Memory& bytes, std::uint32_t count,
                            std::uint64_t* used = nullptr) {
  return SnapshotTable::parse(bytes, count, 3, kGeometry, kTable, kDisk, used);
}

void expect_same(const SnapshotEntry& a, const SnapshotEntry& b) {
  EXPECT_EQ(a.l1_offset, b.l1_offset);
  EXPECT_EQ(a.l1_entries, b.l1_entries);
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.date_seconds, b.date_seconds);
  EXPECT_EQ(a.date_nanoseconds, b.date_nanoseconds);
  EXPECT_EQ(a.vm_clock_nanoseconds, b.vm_clock_nanoseconds);
  EXPECT_EQ(a.vm_state_bytes, b.vm_state_bytes);
  EXPECT_EQ(a.disk_size, b.disk_size);
  EXPECT_EQ(a.icount, b.icount);
  EXPECT_EQ(a.has_disk_size, b.has_disk_size);
  EXPECT_EQ(a.unknown_extra, b.unknown_extra);
}

TEST(SnapshotTable, ReadsWhatItWrote) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  for (int round = 0; round < 300; ++round) {
    SnapshotTable table;
    for (std::uint64_t n = random.below(6); n > 0; --n) {
      SnapshotEntry made = entry(std::to_string(n), std::string(random.below(30), 'n'));
      made.l1_entries = 40;
      made.date_nanoseconds = static_cast<std::uint32_t>(random.next());
      made.vm_clock_nanoseconds = random.next();
      made.vm_state_bytes = random.below(10 * kGiB);
      made.icount = static_cast<std::int64_t>(random.next());
      made.unknown_extra = Memory(random.below(20), std::byte{0x5a});
      if (random.chance(30)) {
        made.has_disk_size = false;
        made.icount = -1;
        made.vm_state_bytes = random.below(kGiB);
        made.unknown_extra.clear();
      }
      table.entries.push_back(made);
    }
    Memory bytes = serialised(table);
    const std::uint64_t size = bytes.size();
    bytes.resize(size + 100, std::byte{0xcc});
    std::uint64_t used = 0;
    const auto count = static_cast<std::uint32_t>(table.entries.size());
    const Result<SnapshotTable> found = parse(bytes, count, &used);
    ASSERT_TRUE(found) << describe(found.error());
    EXPECT_EQ(used, size);
    ASSERT_EQ(found->entries.size(), table.entries.size());
    for (std::size_t i = 0; i < table.entries.size(); ++i) {
      expect_same(found->entries[i], table.entries[i]);
    }
    bytes.resize(size);
    EXPECT_EQ(serialised(*found), bytes);
  }
}

// 40 bytes, no extra data: as version 2 wrote them.
TEST(SnapshotTable, FillsInWhatOldEntriesLack) {
  SnapshotEntry old = entry("1", "old");
  old.has_disk_size = false;
  old.vm_state_bytes = 4096;
  const Memory bytes = serialised({{old}});
  EXPECT_EQ(bytes.size(), 48u);
  const Result<SnapshotTable> table = parse(bytes, 1);
  ASSERT_TRUE(table);
  EXPECT_FALSE(table->entries[0].has_disk_size);
  EXPECT_EQ(table->entries[0].disk_size, kDisk);
  EXPECT_EQ(table->entries[0].vm_state_bytes, 4096u);
  EXPECT_EQ(table->entries[0].icount, -1);
}

TEST(SnapshotTable, TakesTheWideStateSizeOverTheNarrowOne) {
  SnapshotEntry wide = entry("1", "w");
  wide.l1_entries = 100;
  wide.vm_state_bytes = 5 * kGiB;
  const Memory bytes = serialised({{wide}});
  EXPECT_EQ(load_be<std::uint32_t>(bytes, offsetof(RawSnapshotEntry, vm_state_bytes)), 0u);
  EXPECT_EQ(parse(bytes, 1)->entries[0].vm_state_bytes, 5 * kGiB);
}

TEST(SnapshotTable, TreatsAPieceOfAFieldAsAbsent) {
  for (std::uint32_t extra = 0; extra <= 24; ++extra) {
    Memory bytes = serialised({{entry("1", "x")}});
    store_be<std::uint32_t>(bytes, offsetof(RawSnapshotEntry, extra_bytes), extra);
    const Result<SnapshotTable> table = parse(bytes, 1);
    ASSERT_TRUE(table);
    EXPECT_EQ(table->entries[0].has_disk_size, extra >= 16) << extra;
  }
}

struct Broken {
  const char* why;
  Corruption reason;
  std::function<void(SnapshotEntry&)> edit;
};

TEST(SnapshotTable, NamesTheRuleAnEntryBreaks) {
  const std::vector<Broken> cases = {
      {"fine", Corruption::none, [](SnapshotEntry&) {}},
      {"l1 size", Corruption::snapshot_l1_too_large,
       [](SnapshotEntry& e) { e.l1_entries = 4194305; }},
      {"l1 size at its limit", Corruption::none, [](SnapshotEntry& e) { e.l1_entries = 4194304; }},
      {"l1 alignment", Corruption::snapshot_l1_unaligned,
       [](SnapshotEntry& e) { e.l1_offset = HostOffset(0x70008); }},
      {"l1 range", Corruption::snapshot_l1_out_of_range,
       [](SnapshotEntry& e) { e.l1_offset = HostOffset(1ull << 56); }},
      {"l1 overflow", Corruption::snapshot_l1_out_of_range,
       [](SnapshotEntry& e) { e.l1_offset = HostOffset(~0ull << 16); }},
      {"l1 in the header", Corruption::snapshot_l1_overlaps_header,
       [](SnapshotEntry& e) { e.l1_offset = HostOffset(0); }},
      {"disk", Corruption::snapshot_disk_size_too_large,
       [](SnapshotEntry& e) { e.disk_size = (1ull << 51) + 1; }},
      {"disk of all ones", Corruption::snapshot_disk_size_too_large,
       [](SnapshotEntry& e) { e.disk_size = ~0ull; }},
      {"state", Corruption::snapshot_vm_state_too_large,
       [](SnapshotEntry& e) { e.vm_state_bytes = kGiB + 1; }},
  };
  for (const Broken& test : cases) {
    SnapshotEntry bad = entry("2", "bad");
    test.edit(bad);
    const Memory bytes = serialised({{entry("1", "good"), bad}});
    const Result<SnapshotTable> table = parse(bytes, 2);
    ASSERT_EQ(table.has_value(), test.reason == Corruption::none) << test.why;
    if (!table) {
      EXPECT_EQ(table.error().corruption, test.reason) << test.why;
      EXPECT_EQ(table.error().tag, IoTag::snapshot_table);
      // Inside the second entry.
      EXPECT_GE(table.error().offset, kTable.value() + 72) << test.why;
      EXPECT_LT(table.error().offset, kTable.value() + 144) << test.why;
    }
  }
}

TEST(SnapshotTable, RefusesTooMuchOfEverything) {
  Memory bytes = serialised({{entry("1", "x")}});
  EXPECT_EQ(parse(bytes, 65537).error().corruption, Corruption::snapshot_count_too_large);
  store_be<std::uint32_t>(bytes, offsetof(RawSnapshotEntry, extra_bytes), 1025);
  const Error error = parse(bytes, 1).error();
  EXPECT_EQ(error.corruption, Corruption::snapshot_extra_too_large);
  EXPECT_EQ(error.value, 1025u);
  EXPECT_EQ(error.limit, 1024u);
}

TEST(SnapshotTable, RefusesTablesBeyond64MiB) {
  SnapshotTable table;
  const SnapshotEntry large = entry("1", std::string(65535, 'x'));
  table.entries.assign(1024, large);
  EXPECT_GT(table.serialised_bytes(), kSnapshotTableBytesMax);
  Memory bytes(table.serialised_bytes());
  EXPECT_EQ(table.serialise(bytes).error().code, ErrorCode::out_of_range);
  table.entries.resize(1023);
  ASSERT_TRUE(table.serialise(bytes));
  EXPECT_TRUE(parse(bytes, 1023));
  // A 1024th entry just behind them.
  const Memory more = serialised({{large}});
  copy_bytes(Bytes(bytes).subspan(1023 * more.size(), more.size()), more);
  EXPECT_EQ(parse(bytes, 1024).error().corruption, Corruption::snapshot_table_too_large);
}

TEST(SnapshotTable, SaysHowManyBytesItNeeds) {
  const Memory bytes = serialised({{entry("1", "first"), entry("2", "second")}});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Memory cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    cut.shrink_to_fit();
    const Result<SnapshotTable> table = parse(cut, 2);
    if (table) {
      EXPECT_GT(size + 8, bytes.size()) << "only padding may be missing";
      continue;
    }
    EXPECT_EQ(table.error().code, ErrorCode::out_of_range);
    EXPECT_GT(table.error().limit, size);
    EXPECT_LE(table.error().limit, bytes.size());
  }
}

// History: a8475d7573.
TEST(SnapshotTable, SurvivesRandomBytes) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  const Memory good = serialised({{entry("1", "first"), entry("2", "second")}});
  for (int round = 0; round < 20000; ++round) {
    Memory bytes = good;
    for (std::uint64_t edits = 1 + random.below(6); edits > 0; --edits) {
      bytes[random.below(bytes.size())] = static_cast<std::byte>(random.next());
    }
    static_cast<void>(parse(bytes, static_cast<std::uint32_t>(1 + random.below(3))));
  }
}

TEST(SnapshotTable, PicksTheNextId) {
  const auto next = [](const std::vector<std::string>& ids) {
    SnapshotTable table;
    for (const std::string& id : ids) {
      table.entries.push_back(entry(id, ""));
    }
    return table.next_id();
  };
  EXPECT_EQ(next({}), "1");
  EXPECT_EQ(next({"1", "2"}), "3");
  EXPECT_EQ(next({"9", "name", "10"}), "11");
  EXPECT_EQ(next({"7up"}), "8");
  EXPECT_EQ(next({"99999999999999999999"}), "1");
  EXPECT_EQ(next({"18446744073709551615", "1", "3"}), "2");
}

TEST(SnapshotTable, RefusesToWriteWhatItCouldNotRead) {
  Memory target(200000);
  EXPECT_EQ((SnapshotTable{{entry("1", std::string(65536, 'x'))}}.serialise(target).error().code),
            ErrorCode::out_of_range);
  EXPECT_EQ((SnapshotTable{{entry(std::string(65536, 'x'), "")}}.serialise(target).error().code),
            ErrorCode::out_of_range);
  SnapshotEntry fat = entry("1", "fat");
  fat.unknown_extra = Memory(1001);
  EXPECT_EQ(SnapshotTable{{fat}}.serialise(target).error().code, ErrorCode::out_of_range);
}

}  // namespace
}  // namespace varve
