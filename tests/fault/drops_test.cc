// Goal: no memory to remember what was dropped is an error of the request that dropped it, and
// nothing is lost. Method: a snapshot that is frozen holds drops back, so that no flush makes room;
// clusters are dropped one by one up to what is remembered without an allocation and beyond, with
// every allocation failing (tests/sim/allocation_faults.h).
#include <cstddef>
#include <cstring>

#include <gtest/gtest.h>
#include <varve/check.h>
#include <varve/create.h>
#include <varve/image.h>
#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>

#include "base/bytes.h"
#include "format/header.h"
#include "model/lab.h"
#include "sim/allocation_faults.h"
#include "sim/sim_disk.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kDroppedCluster = 512;
constexpr std::uint64_t kDroppedClusters = 4'300;  // More than are remembered at first: 4096.
constexpr std::uint64_t kBehind = 10;              // So many are behind the end of the disk.

class Drops : public testing::Test {
 protected:
  Drops() : engine_(make_test_engine()) {}

  std::unique_ptr<Image> open() {
    OpenOptions options;
    options.writable = true;
    auto image = Image::open(std::make_unique<sim::SimStorage>(*engine_, disk_), "/", options);
    EXPECT_TRUE(image.has_value());
    return image ? std::move(*image) : nullptr;
  }
  // Clusters that follow each other on the disk and not in the file; the last are behind its end.
  void prepare() {
    CreateOptions options;
    options.cluster_bytes = kDroppedCluster;
    options.size_bytes = kDroppedClusters * kDroppedCluster;
    sim::SimStorage storage(*engine_, disk_);
    ASSERT_TRUE(create_image_in(storage, nullptr, options).has_value());
    const auto image = open();
    const std::vector<std::byte> bytes(kDroppedCluster, std::byte{7});
    for (std::uint64_t i = kDroppedClusters; i-- > 0;) {
      ASSERT_TRUE(image->write(i * kDroppedCluster, bytes).has_value());
    }
    ASSERT_TRUE(image->close().has_value());
    std::byte size[8];
    store_be(Bytes(size), 0, (kDroppedClusters - kBehind) * kDroppedCluster);
    disk_.content.write(offsetof(RawHeader, virtual_size), size);
  }
  static bool is_of_drops(const Error& error) {
    return error.code == ErrorCode::no_memory &&
           std::strcmp(error.what, "cannot remember more released clusters") == 0;
  }
  // With every allocation failing.
  template <class Call>
  static Result<void> without_memory(Call call) {
    sim::AllocationFaults::arm(0, true);
    const Result<void> result = sim::within_window(call);
    sim::AllocationFaults::disarm();
    return result;
  }

  std::unique_ptr<Engine> engine_;
  sim::SimDisk disk_;
};

TEST_F(Drops, WithoutMemoryToRememberThemAreErrorsAndLeaveTheDiskAsItWas) {
  prepare();
  const auto image = open();
  OperationOptions stepwise;
  stepwise.stepwise = true;
  auto creation = start_create(*image, {}, stepwise);
  ASSERT_TRUE(creation.has_value());
  ASSERT_TRUE((*creation)->wait_for(SnapshotPhase::ready).has_value());
  ASSERT_TRUE((*creation)->freeze().has_value());
  // One after the other, until there is no room.
  std::uint64_t dropped = 0;
  Result<void> result;
  while (result && dropped < kDroppedClusters - kBehind) {
    const auto drop = [&] { return image->discard(dropped * kDroppedCluster, kDroppedCluster); };
    result = without_memory(drop);
    if (!result && !is_of_drops(result.error())) {
      ASSERT_EQ(result.error().code, ErrorCode::no_memory);
      result = drop();  // Something else took memory: it is there now.
    }
    dropped += result ? 1 : 0;
  }
  ASSERT_FALSE(result.has_value()) << "there was room for all";
  EXPECT_GT(dropped, 4'000u);
  std::vector<std::byte> found(kDroppedCluster);
  ASSERT_TRUE(image->read(dropped * kDroppedCluster, found).has_value());
  EXPECT_EQ(found, std::vector<std::byte>(kDroppedCluster, std::byte{7}));
  // Growing drops what is behind the end first.
  const std::uint64_t old_size = image->size();
  const auto grow = [&] { return image->grow(kDroppedClusters * kDroppedCluster); };
  bool was_told = false;
  for (std::uint64_t index = 0; !was_told; ++index) {
    sim::AllocationFaults::arm(index, true);
    const Result<void> grown = sim::within_window(grow);
    sim::AllocationFaults::disarm();
    ASSERT_FALSE(grown.has_value()) << "there was room for all";
    ASSERT_EQ(grown.error().code, ErrorCode::no_memory);
    ASSERT_EQ(image->size(), old_size);
    was_told = is_of_drops(grown.error());
  }
  // With memory both go on.
  ASSERT_TRUE(grow().has_value());
  for (; dropped < kDroppedClusters; ++dropped) {
    ASSERT_TRUE(image->discard(dropped * kDroppedCluster, kDroppedCluster).has_value());
  }
  ASSERT_TRUE((*creation)->publish().has_value());
  ASSERT_TRUE((*creation)->wait().has_value());
  creation->reset();
  std::vector<std::byte> all(image->size(), std::byte{1});
  ASSERT_TRUE(image->read(0, all).has_value());
  EXPECT_EQ(all, std::vector<std::byte>(kDroppedClusters * kDroppedCluster));
  const auto snapshot = open_snapshot(*image, 0);
  ASSERT_TRUE(snapshot.has_value());
  all.assign((*snapshot)->size(), std::byte{1});
  EXPECT_EQ(all.size(), old_size);
  ASSERT_TRUE((*snapshot)->read(0, all).has_value());
  EXPECT_EQ(all, std::vector<std::byte>(old_size, std::byte{7}));
  ASSERT_TRUE((*snapshot)->close().has_value());
  ASSERT_TRUE(image->close().has_value());
  const auto again = open();
  const auto report = check(*again);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->corruptions + report->leaks, 0u);
  ASSERT_TRUE(again->close().has_value());
}

}  // namespace
}  // namespace varve::model
