// Goal: repairing makes every count and flag true, never changes what a disk or a snapshot holds,
// and is never worse than not repairing, wherever it is interrupted. Method: images damaged in
// known places, repaired, checked by Varve and by qemu-img; power cuts during a repair.
#include <varve/state.h>

#include "format/snapshot_table.h"
#include "maintenance/repair_fixture.h"
#include "sim/random.h"

namespace varve::test {
namespace {

// History: 3cce51c919.
TEST_F(RepairTest, CountsAndFlagsBecomeTrueAndContentStays) {
  for (const std::uint32_t cluster_bytes : {512u, 4096u, 65536u}) {
    SCOPED_TRACE(cluster_bytes);
    make_with_snapshot(small(cluster_bytes));
    const auto before = content();
    damage();
    EXPECT_GT(run().corruptions, 0u);
    const RepairReport report = run_repair(Repair::all);
    EXPECT_FALSE(report.left.has_value());
    EXPECT_GT(report.before.corruptions, 0u);
    EXPECT_GT(report.before.leaks, 0u);
    expect_clean(report.after);
    expect_repaired();
    EXPECT_EQ(content(), before);
  }
}

// History: 3cce51c919.
TEST_F(RepairTest, DoesNothingTheSecondTime) {
  make_with_snapshot(small());
  damage();
  (void)run_repair(Repair::all);
  const auto bytes = read_bytes(path_, 0, std::filesystem::file_size(path_));
  const RepairReport again = run_repair(Repair::all);
  expect_clean(again.before);
  expect_clean(again.after);
  EXPECT_EQ(read_bytes(path_, 0, std::filesystem::file_size(path_)), bytes);
}

TEST_F(RepairTest, LeaksAloneAreGivenBack) {
  make_with_snapshot(small());
  const auto before = content();
  put(count_of(host(0)), 9, 2);
  put(count_of(get(refcount_table())), 2, 2);
  const RepairReport report = run_repair(Repair::leaks);
  EXPECT_EQ(report.before.leaks, 2u);
  expect_clean(report.after);
  expect_repaired();
  EXPECT_EQ(content(), before);
}

TEST_F(RepairTest, LeaksStayWhereACountIsTooLow) {
  make_with_snapshot(small());
  damage();
  const std::uint64_t first = count_of(host(0));
  const RepairReport report = run_repair(Repair::leaks);
  ASSERT_TRUE(report.left.has_value());
  EXPECT_EQ(report.left->corruption, Corruption::refcount_too_low);
  EXPECT_EQ(report.after.corruptions, report.before.corruptions);
  EXPECT_EQ(report.after.leaks, report.before.leaks);
  EXPECT_EQ(get(first, 2), 9u);
}

// What an entry beyond the end refers to cannot be known: nothing may be given back.
TEST_F(RepairTest, NoCountGoesDownWhileAReferenceCannotBeFollowed) {
  make_with_snapshot(small());
  put(count_of(host(0)), 9, 2);
  put(l1(1), (std::uint64_t{1} << 40) | kCopied);
  for (const Repair what : {Repair::leaks, Repair::all}) {
    const RepairReport report = run_repair(what);
    ASSERT_TRUE(report.left.has_value());
    EXPECT_EQ(report.left->tag, IoTag::l1);
    EXPECT_EQ(report.left->offset, l1(1));
    EXPECT_EQ(report.after.leaks, report.before.leaks);
    EXPECT_EQ(get(count_of(host(0)), 2), 9u);
  }
}

TEST_F(RepairTest, TheCorruptMarkGoesOnceNothingIsWrong) {
  constexpr std::uint64_t kCorruptBit = 2;
  make_with_snapshot(small());
  const std::uint64_t features = offsetof(RawHeader, incompatible_features);
  put(features, get(features) | kCorruptBit);
  put(l1(1), (std::uint64_t{1} << 40) | kCopied);
  (void)run_repair(Repair::all);
  EXPECT_NE(get(features) & kCorruptBit, 0u);
  put(l1(1), 0);
  damage();
  (void)run_repair(Repair::all);
  EXPECT_EQ(get(features) & kCorruptBit, 0u);
  expect_repaired();
}

TEST_F(RepairTest, AnImageInUseIsRefused) {
  make_with_snapshot(small());
  {
    const auto image = open(false);
    const auto refused = repair(*image, Repair::all);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::read_only);
  }
  const auto image = open(true);
  auto state = StateWriter::create(*image);
  ASSERT_TRUE(state.has_value());
  const auto refused = repair(*image, Repair::all);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::busy);
  state->reset();
  EXPECT_TRUE(repair(*image, Repair::all).has_value());
  // And the image goes on.
  write(*image, 20, 2);
  EXPECT_TRUE(image->close().has_value());
  expect_repaired();
}

TEST_F(RepairTest, APowerCutLeavesNothingWorseAndTheNextRepairFinishes) {
  make_with_snapshot(small());
  const auto before = content();
  damage();
  const CheckReport found = run();
  OpenOptions writable;
  writable.writable = true;
  expect_every_cut_finished(writable, before, [&](Image&, const RepairReport& report) {
    // Counts that are too low come first: what follows is leaks and flags.
    EXPECT_LE(report.before.corruptions, found.corruptions + found.leaks);
  });
}

// --- refcount structures that cannot be trusted

// Every way in which they can be broken; the content must not depend on any of them.
TEST_F(RepairTest, BrokenRefcountStructuresAreMadeAnew) {
  struct Case {
    const char* name;
    std::function<void()> damage;
  };
  const Case cases[] = {
      {"no block", [this] { put(refcount_table(), 0); }},
      {"reserved bits", [this] { put(refcount_table(), get(refcount_table()) | 5); }},
      {"unaligned", [this] { put(refcount_table(), get(refcount_table()) | 512); }},
      {"behind the end", [this] { put(refcount_table(), std::uint64_t{1} << 40); }},
      {"two entries, one block", [this] { put(refcount_table() + 8, get(refcount_table())); }},
      {"over the L1", [this] { put(refcount_table(), get(offsetof(RawHeader, l1_offset))); }},
      {"over an L2", [this] { put(refcount_table(), get(l1()) & kOffset); }},
      {"over data", [this] { put(refcount_table(), host(2)); }},
      {"over the table", [this] { put(refcount_table(), refcount_table()); }},
      {"table behind the end",
       [this] { put(offsetof(RawHeader, refcount_table_offset), std::uint64_t{1} << 40); }},
      {"table of noise",
       [this] {
         for (std::uint64_t at = 0; at < cluster_; at += 8) {
           put(refcount_table() + at, 0x1234'5678'9abc'def0 * (at + 1));
         }
       }},
  };
  for (const Case& tried : cases) {
    SCOPED_TRACE(tried.name);
    make_with_snapshot(small());
    const auto before = content();
    tried.damage();
    const RepairReport report = run_repair(Repair::all);
    EXPECT_TRUE(report.refcounts_rebuilt);
    EXPECT_TRUE(report.lost.empty());
    EXPECT_FALSE(report.left.has_value()) << describe(*report.left);
    EXPECT_GT(report.before.corruptions, 0u);
    expect_clean(report.after);
    expect_repaired();
    EXPECT_EQ(content(), before);
    // And the second time nothing is done.
    const RepairReport again = run_repair(Repair::all);
    EXPECT_FALSE(again.refcounts_rebuilt);
    expect_clean(again.before);
    // The image is written like any other.
    const auto image = open(true);
    write(*image, 40, 60);
    EXPECT_TRUE(image->close().has_value());
    expect_repaired();
  }
}

TEST_F(RepairTest, RefcountsAreMadeAnewForEveryWidth) {
  for (const std::uint32_t bits : {1u, 2u, 8u, 32u, 64u}) {
    SCOPED_TRACE(bits);
    CreateOptions options = small(bits == 64 ? 512 : 4096);
    options.refcount_bits = bits;
    make(options);
    put(refcount_table(), get(refcount_table()) | 4);
    const RepairReport report = run_repair(Repair::all);
    EXPECT_TRUE(report.refcounts_rebuilt);
    expect_clean(report.after);
    expect_repaired();
  }
}

// A device cannot grow: the new structures stand in free clusters.
// History: c7c0681bc8.
TEST_F(RepairTest, RefcountsAreMadeAnewInsideStorageOfAFixedSize) {
  make_with_snapshot(small());
  // All space inside is in use: what earlier sessions have freed is the disk's.
  std::uint64_t used = 0;
  for (std::uint64_t at = 0; at < std::filesystem::file_size(path_); at += cluster_) {
    if (get(count_of(at), 2) == 0) {
      put(l2(100 + used++), at | kCopied);
    }
  }
  const auto before = content();
  put(refcount_table(), get(refcount_table()) | 4);
  const auto damaged = read_bytes(path_, 0, std::filesystem::file_size(path_));
  OpenOptions options;
  options.writable = true;
  options.allow_corrupt = true;
  // Room for the new block and the new table, or one cluster too little.
  for (const std::uint64_t room : {std::uint64_t{2}, std::uint64_t{1}}) {
    SCOPED_TRACE(room);
    sim::SimDisk disk;
    disk.capabilities.fixed_size = true;
    disk.content.write(0, damaged);
    disk.content.resize(round_up(damaged.size(), cluster_) + room * cluster_);
    auto image = Image::open(std::make_unique<sim::SimStorage>(*engine_, disk), "/lab", options);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    const auto report = repair(**image, Repair::all);
    if (room == 2) {
      ASSERT_TRUE(report.has_value()) << describe(report.error());
      EXPECT_TRUE(report->refcounts_rebuilt);
      expect_clean(report->after);
      std::vector<std::byte> bytes(before.size() / 2);
      EXPECT_TRUE((*image)->read(0, bytes).has_value());
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), before.begin()));
    } else {
      ASSERT_FALSE(report.has_value());
      EXPECT_EQ(report.error().code, ErrorCode::no_space);
    }
    EXPECT_TRUE((*image)->close().has_value());
  }
}

TEST_F(RepairTest, StrayBitsAreClearedAndWhatTheyHidIsThereAgain) {
  make_with_snapshot(small());
  const auto before = content();
  const std::uint64_t old_l1 = get(get(offsetof(RawHeader, snapshot_table_offset)));
  put(l1(), get(l1()) | 0x0100'0000'0000'0006);
  put(old_l1, get(old_l1) | 8);
  put(l2(1), get(l2(1)) | 0x10);
  put(l2(5), get(l2(5)) | std::uint64_t{1} << 56);
  put(l2(20), kCopied);
  const RepairReport report = run_repair(Repair::all);
  EXPECT_EQ(report.entries_mended, 5u);
  EXPECT_FALSE(report.left.has_value());
  expect_clean(report.after);
  expect_repaired();
  EXPECT_EQ(content(), before);
}

// --- the snapshot table

// History: f91f1f159b.
TEST_F(RepairTest, SnapshotsThatCannotBeReadAreNamedAndLeaveTheTable) {
  struct Case {
    const char* name;
    std::size_t at;  // In the entry.
    std::uint64_t value;
    std::size_t size;
    Loss::Kind kind;
    std::size_t left;  // Of three snapshots, the second being damaged.
  };
  const Case cases[] = {
      {"L1 unaligned", offsetof(RawSnapshotEntry, l1_offset), 12345, 8, Loss::Kind::snapshot, 2},
      {"L1 behind the end", offsetof(RawSnapshotEntry, l1_offset), std::uint64_t{1} << 40, 8,
       Loss::Kind::snapshot, 2},
      {"L1 too large", offsetof(RawSnapshotEntry, l1_entries), 0xffff'ffff, 4, Loss::Kind::snapshot,
       2},
      {"extra data too large", offsetof(RawSnapshotEntry, extra_bytes), 0x10000, 4,
       Loss::Kind::rest_of_table, 1},
      {"state too large", sizeof(RawSnapshotEntry), std::uint64_t{1} << 60, 8,
       Loss::Kind::machine_state, 3},
      {"disk too large", sizeof(RawSnapshotEntry) + 8, std::uint64_t{1} << 62, 8,
       Loss::Kind::disk_size, 3},
  };
  for (const Case& tried : cases) {
    SCOPED_TRACE(tried.name);
    make_with_snapshot(small());
    add_snapshot("second");
    add_snapshot("third");
    const auto before = content();
    put(second_entry() + tried.at, tried.value, tried.size);
    OpenOptions options;
    options.writable = true;
    options.allow_corrupt = true;
    auto image = Image::open(*engine_, path_, options);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    const auto bytes = read_bytes(path_, 0, std::filesystem::file_size(path_));
    // Told before anything is written.
    std::vector<Loss> told;
    CheckOptions check_options;
    check_options.about_to_lose = [&](const Loss& loss) {
      told.push_back(loss);
      EXPECT_EQ(read_bytes(path_, 0, bytes.size()), bytes);
    };
    // Leaks alone are not worth a snapshot.
    const auto refused = repair(**image, Repair::leaks, check_options);
    ASSERT_TRUE(refused.has_value());
    EXPECT_TRUE(refused->left.has_value());
    EXPECT_TRUE(told.empty());
    const auto report = repair(**image, Repair::all, check_options);
    ASSERT_TRUE(report.has_value()) << describe(report.error());
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].kind, tried.kind);
    EXPECT_EQ(told[0].index, 1u);
    EXPECT_EQ(told[0].count, tried.kind == Loss::Kind::rest_of_table ? 2u : 1u);
    EXPECT_EQ(told[0].name, tried.kind == Loss::Kind::rest_of_table ? "" : "second");
    expect_clean(report->after);
    EXPECT_TRUE((*image)->close().has_value());
    expect_repaired();
    EXPECT_EQ(content(), before);
    const auto again = open(false);
    const auto list = list_snapshots(*again);
    ASSERT_TRUE(list.has_value());
    EXPECT_EQ(list->size(), tried.left);
  }
}

// What the disk reads stays; what it reads stands where nothing else is.
TEST_F(RepairTest, WhatLiesOverATableGetsAPlaceOfItsOwn) {
  const auto places = [this]() -> std::vector<std::uint64_t> {
    const std::uint64_t snapshots = get(offsetof(RawHeader, snapshot_table_offset));
    return {get(offsetof(RawHeader, l1_offset)),
            get(l1()) & kOffset,
            refcount_table(),
            snapshots,
            get(snapshots),
            get(get(snapshots)) & kOffset};
  };
  for (std::size_t i = 0; i < 6; ++i) {
    for (const bool in_snapshot : {false, true}) {
      if (in_snapshot && i % 2 == 1) {
        continue;
      }
      SCOPED_TRACE(std::to_string(i) + (in_snapshot ? " in the snapshot" : ""));
      make_with_snapshot(small());
      const std::vector<std::uint64_t> places_before = places();
      const std::uint64_t refcounts_before = refcount_table();
      const std::uint64_t old_table = get(places_before[4]) & kOffset;
      const std::uint64_t place = in_snapshot ? old_table + 8 : l2(6);
      put(place, places_before[i] | (in_snapshot ? 0 : kCopied));
      const std::uint64_t hidden = in_snapshot ? 32 + 1 : 6;
      auto before = content();
      const RepairReport report = run_repair(Repair::all);
      // A refcount table that lies over something is made anew elsewhere.
      const bool is_refcounts = places_before[i] == refcounts_before;
      EXPECT_EQ(report.refcounts_rebuilt, is_refcounts);
      EXPECT_EQ(report.overlaps_separated, is_refcounts ? 0u : 1u);
      EXPECT_FALSE(report.left.has_value()) << describe(*report.left);
      expect_clean(report.after);
      expect_repaired();
      // The table itself may have been repaired, so that cluster may differ: nothing else.
      auto after = content();
      const auto forget = [&](std::vector<std::byte>& bytes) {
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(hidden * cluster_), cluster_,
                    std::byte{0});
      };
      forget(before);
      forget(after);
      EXPECT_EQ(after, before);
      const auto image = open(true);
      write(*image, 0, 12);
      EXPECT_TRUE(image->close().has_value());
      expect_repaired();
    }
  }
}

TEST_F(RepairTest, TwoSlotsOfOneTableGetATableEach) {
  make_with_snapshot(small());
  put(l1(1), get(l1()));
  const auto before = content();
  const RepairReport report = run_repair(Repair::all);
  EXPECT_EQ(report.overlaps_separated, 1u);
  expect_clean(report.after);
  expect_repaired();
  EXPECT_NE(get(l1(1)) & kOffset, get(l1()) & kOffset);
  EXPECT_EQ(content(), before);
  const auto image = open(false);
  std::vector<std::byte> first(4 * cluster_);
  std::vector<std::byte> second(4 * cluster_);
  EXPECT_TRUE(image->read(0, first).has_value());
  EXPECT_TRUE(image->read(cluster_ / 8 * cluster_, second).has_value());
  EXPECT_EQ(first, second);
}

// What a power cut leaves of any of these is repaired the next time, to the same content.
TEST_F(RepairTest, APowerCutDuringARebuildLeavesNothingWorse) {
  for (const bool has_lost_snapshot : {false, true}) {
    SCOPED_TRACE(has_lost_snapshot);
    make_with_snapshot(small());
    add_snapshot("second");
    add_snapshot("third");
    const auto before = content();
    put(refcount_table(), get(refcount_table()) | 4);
    put(l2(1), get(l2(1)) | 0x10);
    put(l2(6), get(l2(6)) & ~kCopied);
    // Behind what is compared: a cluster over the L1, whose bytes the repair may change.
    put(l2(40), get(offsetof(RawHeader, l1_offset)) | kCopied);
    if (has_lost_snapshot) {
      const std::uint64_t table = get(offsetof(RawHeader, snapshot_table_offset));
      const std::uint64_t name = get(table + offsetof(RawSnapshotEntry, name_bytes), 2);
      const std::uint64_t id = get(table + offsetof(RawSnapshotEntry, id_bytes), 2);
      const std::uint64_t extra = get(table + offsetof(RawSnapshotEntry, extra_bytes), 4);
      put(table + round_up(sizeof(RawSnapshotEntry) + name + id + extra, 8), 12345);
    }
    OpenOptions options;
    options.writable = true;
    options.allow_corrupt = true;
    expect_every_cut_finished(options, before, [&](Image& image, const RepairReport&) {
      std::vector<std::byte> bytes(before.size() / 2);
      const auto old = open_snapshot(image, 0);
      EXPECT_TRUE(old.has_value());
      EXPECT_TRUE((*old)->read(0, bytes).has_value());
      EXPECT_TRUE(std::equal(bytes.rbegin(), bytes.rend(), before.rbegin()));
      EXPECT_TRUE((*old)->close().has_value());
    });
  }
}

}  // namespace
}  // namespace varve::test
