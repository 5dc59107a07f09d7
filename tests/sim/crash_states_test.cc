// Goal: the crash states of a disk are exactly what a power cut may leave: flushed changes always,
// others in any subset of sectors.
#include "sim/crash_states.h"

#include <map>
#include <memory>
#include <set>

#include <gtest/gtest.h>

#include "sim/blocking.h"
#include "sim/flat_set.h"

namespace varve::sim {
namespace {

using Flat = std::vector<std::byte>;

class CrashStates : public testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.backend = AioBackend::threads;
    auto engine = Engine::create(options);
    ASSERT_TRUE(engine.has_value());
    engine_ = std::move(*engine);
  }
  void write(CrashStorage& storage, std::uint64_t offset, std::size_t size, int value) {
    ASSERT_TRUE(blocking_write(storage, offset, Flat(size, static_cast<std::byte>(value))));
  }
  // The first byte of each of `sectors` sectors, as text: "1020".
  static std::string shape(const SectorImage& content, std::uint64_t sectors) {
    std::string text;
    for (std::uint64_t i = 0; i < sectors; ++i) {
      Flat byte(1);
      content.read(i * kCrashSectorBytes, byte);
      text += static_cast<char>('0' + static_cast<int>(byte[0]));
    }
    return text;
  }
  static std::set<std::string> shapes(const CrashDisk& disk, std::uint64_t sectors, Moment from = 0,
                                      const std::vector<Moment>* promised = nullptr) {
    std::set<std::string> found;
    CrashOptions options;
    options.random_subsets = 40;
    options.promised = promised;
    SectorImage start(disk.start());
    for_each_crash_state(disk, options, start, [&](const CrashState& state, SectorImage& content) {
      if (state.moment >= from) {
        found.insert(shape(content, sectors));
      }
      return true;
    });
    return found;
  }

  std::unique_ptr<Engine> engine_;
  SparseBytes start_;
};

TEST_F(CrashStates, UnsyncedWritesSurviveInAnySubset) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  write(storage, 0, 512, 1);
  write(storage, 512, 512, 2);
  write(storage, 1024, 512, 3);
  const std::set<std::string> expected = {"000", "100", "020", "003", "120", "103", "023", "123"};
  EXPECT_EQ(shapes(disk, 3), expected);
}

TEST_F(CrashStates, FlushedWritesAlwaysSurvive) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  write(storage, 0, 512, 1);
  ASSERT_TRUE(blocking_flush(storage));
  const Moment flushed = disk.now();
  write(storage, 512, 512, 2);
  const std::set<std::string> expected = {"10", "12"};
  EXPECT_EQ(shapes(disk, 2, flushed), expected);
}

TEST_F(CrashStates, FlushCoversOnlyWhatCompletedBeforeItWasSubmitted) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  Flat bytes(512, std::byte{1});
  Pending late(StorageOperation::write, IoTag::none, 0, Bytes(bytes));
  storage.submit(late.request);
  Pending flush(StorageOperation::flush, IoTag::none, 0, 0);
  storage.submit(flush.request);
  ASSERT_TRUE(flush.wait(*engine_));
  ASSERT_TRUE(late.wait(*engine_));
  EXPECT_EQ(shapes(disk, 1, disk.mark()), (std::set<std::string>{"0", "1"}));
  ASSERT_TRUE(blocking_flush(storage));
  EXPECT_EQ(shapes(disk, 1, disk.mark()), (std::set<std::string>{"1"}));
}

TEST_F(CrashStates, ShortWritesTearInEveryWay) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  write(storage, 0, 1536, 1);
  const std::set<std::string> expected = {"000", "100", "010", "110", "001", "101", "011", "111"};
  EXPECT_EQ(shapes(disk, 3), expected);
}

TEST_F(CrashStates, LongWritesTearAtTheirEndsAndInTurns) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  write(storage, 0, 6 * 512, 1);
  const std::set<std::string> found = shapes(disk, 6);
  for (const char* shape : {"100000", "011111", "000001", "111110", "101010", "010101"}) {
    EXPECT_EQ(found.count(shape), 1u) << shape;
  }
}

TEST_F(CrashStates, ManyChangesAreLostAndKeptOneByOneAndAsPrefixes) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  constexpr std::size_t kChanges = 9;
  for (std::size_t i = 0; i < kChanges; ++i) {
    write(storage, i * 512, 512, 1);
  }
  const std::set<std::string> found = shapes(disk, kChanges, disk.mark());
  for (std::size_t i = 0; i < kChanges; ++i) {
    std::string lost(kChanges, '1');
    std::string kept(kChanges, '0');
    lost[i] = '0';
    kept[i] = '1';
    EXPECT_EQ(found.count(lost), 1u) << lost;
    EXPECT_EQ(found.count(kept), 1u) << kept;
    EXPECT_EQ(found.count(std::string(i, '1') + std::string(kChanges - i, '0')), 1u) << i;
  }
}

TEST_F(CrashStates, EqualContentHasEqualHashAndRollbackRestoresIt) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  for (std::uint64_t i = 0; i < 5; ++i) {
    write(storage, i * 300, 700, 1 + static_cast<int>(i));
  }
  ASSERT_TRUE(blocking(storage, StorageOperation::resize, 900, 0));
  ASSERT_TRUE(blocking(storage, StorageOperation::resize, 3000, 0));
  std::map<std::uint64_t, std::vector<std::byte>> contents;
  SectorImage start(disk.start());
  const std::uint64_t visited =
      for_each_crash_state(disk, {}, start, [&](const CrashState&, SectorImage& content) {
        const SparseBytes sparse = content.to_sparse();
        const auto flat = sparse.flat();
        const auto [found, is_new] = contents.try_emplace(content.hash(), flat);
        EXPECT_EQ(found->second, flat);
        EXPECT_EQ(SectorImage(sparse).hash(), content.hash());
        return true;
      });
  EXPECT_GT(contents.size(), 20u);
  EXPECT_LT(contents.size(), visited);
}

TEST_F(CrashStates, SizeChangesAndDiscardsAreChangesLikeAnyOther) {
  start_.write(0, Flat(1024, std::byte{1}));
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  ASSERT_TRUE(blocking(storage, StorageOperation::discard, 0, 512));
  ASSERT_TRUE(blocking(storage, StorageOperation::resize, 4096, 0));
  std::set<std::pair<std::string, std::uint64_t>> found;
  SectorImage start(disk.start());
  for_each_crash_state(disk, {}, start, [&](const CrashState&, SectorImage& content) {
    found.insert({shape(content, 2), content.size()});
    return true;
  });
  EXPECT_EQ(found.count({"11", 1024}), 1u);
  EXPECT_EQ(found.count({"01", 1024}), 1u);
  EXPECT_EQ(found.count({"11", 4096}), 1u);
  EXPECT_EQ(found.count({"01", 4096}), 1u);
}

TEST_F(CrashStates, WithPromisesEveryContentIsStillShownAndAllOfThemWhereOneIsMade) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  write(storage, 0, 512, 1);
  write(storage, 512, 512, 2);
  ASSERT_TRUE(blocking_flush(storage));
  write(storage, 1024, 512, 3);
  write(storage, 0, 512, 4);
  disk.mark();
  write(storage, 512, 512, 5);
  const std::vector<Moment> first = {0};
  const std::vector<Moment> last = {0, disk.mark()};
  const std::set<std::string> all = shapes(disk, 3);
  EXPECT_EQ(shapes(disk, 3, 0, &first), all);
  EXPECT_EQ(shapes(disk, 3, last[1], &last), shapes(disk, 3, last[1]));
  EXPECT_EQ(shapes(disk, 3, last[1], &last).size(), 8u);
}

TEST(FlatSet, HoldsWhatWasPutIn) {
  FlatSet set;
  for (std::uint64_t turn = 0; turn < 2; ++turn) {
    for (std::uint64_t i = 0; i < 5000; ++i) {
      EXPECT_EQ(set.insert(i * i), turn == 0);
    }
  }
  EXPECT_EQ(set.size(), 5000u);
  set.clear();
  EXPECT_EQ(set.size(), 0u);
  EXPECT_TRUE(set.insert(0));
}

TEST_F(CrashStates, SameSeedSameStates) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  for (std::uint64_t i = 0; i < 6; ++i) {
    write(storage, i * 512, 2048, 1 + static_cast<int>(i));
  }
  const auto collect = [&] {
    std::vector<std::string> list;
    SectorImage start(disk.start());
    for_each_crash_state(disk, {}, start, [&](const CrashState& state, SectorImage& content) {
      list.push_back(state.text() + " " + shape(content, 9));
      return true;
    });
    return list;
  };
  EXPECT_EQ(collect(), collect());
}

// The shapes of both files: "12" is the first's 1 and the second's 2.
std::set<std::string> shapes_of_two(const CrashDisk& disk, Moment from) {
  std::set<std::string> found;
  CrashContent content(disk);
  const auto first_byte = [](const SectorImage& file) {
    Flat byte(1);
    file.read(0, byte);
    return static_cast<char>('0' + static_cast<int>(byte[0]));
  };
  for_each_crash_state(disk, {}, content, [&](const CrashState& state, CrashContent& left) {
    if (state.moment >= from) {
      found.insert({first_byte(left.file), first_byte(left.second)});
    }
    return true;
  });
  return found;
}

TEST_F(CrashStates, TwoFilesLoseAnySubsetOfBothAndAreFlushedEachByItself) {
  const SparseBytes second;
  CrashDisk disk(start_, second);
  CrashStorage image(*engine_, disk);
  CrashStorage data(*engine_, disk, 1);
  write(image, 0, 512, 1);
  write(data, 0, 512, 2);
  const std::set<std::string> any = {"00", "10", "02", "12"};
  EXPECT_EQ(shapes_of_two(disk, 0), any);
  ASSERT_TRUE(blocking_flush(data));
  const std::set<std::string> with_data = {"02", "12"};
  EXPECT_EQ(shapes_of_two(disk, disk.now()), with_data);
  ASSERT_TRUE(blocking_flush(image));
  EXPECT_EQ(shapes_of_two(disk, disk.now()), std::set<std::string>{"12"});
}

TEST_F(CrashStates, WhatAFailedFlushCoveredNoLaterOneMakesDurable) {
  CrashDisk disk(start_);
  {
    CrashStorage storage(*engine_, disk);
    write(storage, 0, 512, 1);
    disk.fail_next_flush();
    EXPECT_FALSE(blocking_flush(storage));
    write(storage, 512, 512, 2);
    ASSERT_TRUE(blocking_flush(storage));
    const std::set<std::string> expected = {"02", "12"};
    EXPECT_EQ(shapes(disk, 2, disk.now()), expected);
    Flat seen(1);
    ASSERT_TRUE(blocking_read(storage, 0, seen));
    EXPECT_EQ(seen[0], std::byte{1}) << "it is read back until it is forgotten";
  }
  disk.forget_abandoned();
  EXPECT_EQ(shapes(disk, 2, disk.now()), std::set<std::string>{"02"});
  CrashStorage storage(*engine_, disk);
  Flat seen(1);
  ASSERT_TRUE(blocking_read(storage, 0, seen));
  EXPECT_EQ(seen[0], std::byte{0});
}

}  // namespace
}  // namespace varve::sim
