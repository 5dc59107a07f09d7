// Goal: the crash states of a disk are exactly what a power cut may leave: flushed changes always,
// others in any subset of sectors.
#include "sim/crash_states.h"

#include <memory>
#include <set>

#include <gtest/gtest.h>

#include "sim/blocking.h"

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
  static std::string shape(const SparseBytes& content, std::uint64_t sectors) {
    std::string text;
    for (std::uint64_t i = 0; i < sectors; ++i) {
      Flat byte(1);
      content.read(i * kCrashSectorBytes, byte);
      text += static_cast<char>('0' + static_cast<int>(byte[0]));
    }
    return text;
  }
  static std::set<std::string> shapes(const CrashDisk& disk, std::uint64_t sectors,
                                      Moment from = 0) {
    std::set<std::string> found;
    CrashOptions options;
    options.random_subsets = 40;
    for_each_crash_state(disk, options, [&](const CrashState& state, const SparseBytes& content) {
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

TEST_F(CrashStates, WritesTearAtSectors) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  write(storage, 0, 1536, 1);
  const std::set<std::string> found = shapes(disk, 3);
  EXPECT_TRUE(found.count("100") == 1 || found.count("110") == 1);
  EXPECT_TRUE(found.count("001") == 1 || found.count("011") == 1);
}

TEST_F(CrashStates, SizeChangesAndDiscardsAreChangesLikeAnyOther) {
  start_.write(0, Flat(1024, std::byte{1}));
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  ASSERT_TRUE(blocking(storage, StorageOperation::discard, 0, 512));
  ASSERT_TRUE(blocking(storage, StorageOperation::resize, 4096, 0));
  std::set<std::pair<std::string, std::uint64_t>> found;
  for_each_crash_state(disk, {}, [&](const CrashState&, const SparseBytes& content) {
    found.insert({shape(content, 2), content.size()});
    return true;
  });
  EXPECT_EQ(found.count({"11", 1024}), 1u);
  EXPECT_EQ(found.count({"01", 1024}), 1u);
  EXPECT_EQ(found.count({"11", 4096}), 1u);
  EXPECT_EQ(found.count({"01", 4096}), 1u);
}

TEST_F(CrashStates, SameSeedSameStates) {
  CrashDisk disk(start_);
  CrashStorage storage(*engine_, disk);
  for (std::uint64_t i = 0; i < 6; ++i) {
    write(storage, i * 512, 2048, 1 + static_cast<int>(i));
  }
  const auto collect = [&] {
    std::vector<std::string> list;
    for_each_crash_state(disk, {}, [&](const CrashState& state, const SparseBytes& content) {
      list.push_back(state.description + " " + shape(content, 9));
      return true;
    });
    return list;
  };
  EXPECT_EQ(collect(), collect());
}

}  // namespace
}  // namespace varve::sim
