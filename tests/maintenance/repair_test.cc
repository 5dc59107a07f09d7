// Goal: repairing makes every count and flag true, never changes what a disk or a snapshot holds,
// and is never worse than not repairing, wherever it is interrupted. Method: images damaged in
// known places, repaired, checked by Varve and by qemu-img; power cuts during a repair.
#include <filesystem>

#include <varve/state.h>

#include "maintenance/check_fixture.h"
#include "sim/crash_states.h"
#include "sim/random.h"
#include "sim/sim_disk.h"

namespace varve::testing {
namespace {

class RepairTest : public CheckTest {
 protected:
  RepairReport run_repair(Repair what) {
    OpenOptions options;
    options.writable = true;
    options.allow_corrupt = true;
    auto image = Image::open(*engine_, path_, options);
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    if (!image) {
      return {};
    }
    Result<RepairReport> report = repair(**image, what);
    EXPECT_TRUE(report.has_value()) << describe(report.error());
    EXPECT_TRUE((*image)->close().has_value());
    return report ? std::move(*report) : RepairReport();
  }
  // What the disk and its one snapshot hold.
  std::vector<std::byte> content() {
    const auto image = open(false);
    std::vector<std::byte> bytes(2 * 32 * cluster_);
    const auto half = std::span(bytes).first(bytes.size() / 2);
    EXPECT_TRUE(image->read(0, half).has_value());
    const auto snapshot = open_snapshot(*image, 0);
    EXPECT_TRUE(snapshot.has_value());
    EXPECT_TRUE((*snapshot)->read(0, std::span(bytes).subspan(bytes.size() / 2)).has_value());
    EXPECT_TRUE((*snapshot)->close().has_value());
    EXPECT_TRUE(image->close().has_value());
    return bytes;
  }
  // An image with one snapshot, of whose clusters some are the active disk's alone.
  void make_with_snapshot(const CreateOptions& options) {
    make(options);
    add_snapshot("old");
    const auto image = open(true);
    write(*image, 4, 6);
    ASSERT_TRUE(image->close().has_value());
  }
  // Counts of shared and single clusters too high and too low, a flag that lies, and two leaks.
  void damage() const {
    put(count_of(host(0)), 9, 2);
    put(count_of(host(1)), 1, 2);
    put(count_of(host(5)), 3, 2);
    put(l2(6), get(l2(6)) & ~kCopied);
    put(l2(0), get(l2(0)) | kCopied);
    put(count_of(get(refcount_table())), 2, 2);
  }
  void expect_repaired() {
    expect_clean(run());
    if (has_qemu_img()) {
      EXPECT_EQ(qemu_words().value_or("").find("ERROR"), std::string::npos);
      EXPECT_EQ(qemu_words().value_or("").find("Leaked"), std::string::npos);
    }
  }
};

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
  const auto damaged = read_bytes(path_, 0, std::filesystem::file_size(path_));
  const CheckReport found = run();
  sim::SparseBytes start;
  start.write(0, damaged);
  sim::CrashDisk disk(start);
  OpenOptions writable;
  writable.writable = true;
  {
    auto image = Image::open(std::make_unique<sim::CrashStorage>(*engine_, disk), "/lab", writable);
    ASSERT_TRUE(image.has_value()) << describe(image.error());
    ASSERT_TRUE(repair(**image, Repair::all).has_value());
    ASSERT_TRUE((*image)->close().has_value());
  }
  sim::SectorImage states(disk.start());
  const std::uint64_t count = sim::for_each_crash_state(
      disk, {}, states, [&](const sim::CrashState& state, sim::SectorImage& left) {
        SCOPED_TRACE(state.text());
        sim::SimDisk again;
        again.content = left.to_sparse();
        auto image =
            Image::open(std::make_unique<sim::SimStorage>(*engine_, again), "/lab", writable);
        EXPECT_TRUE(image.has_value());
        const auto report = image ? repair(**image, Repair::all) : RepairReport();
        EXPECT_TRUE(report.has_value());
        // Counts that are too low come first: what follows is leaks and flags.
        EXPECT_LE(report->before.corruptions, found.corruptions + found.leaks);
        expect_clean(report->after);
        std::vector<std::byte> bytes(before.size() / 2);
        EXPECT_TRUE((*image)->read(0, bytes).has_value());
        EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), before.begin()));
        EXPECT_TRUE((*image)->close().has_value());
        return !HasFailure();
      });
  EXPECT_GT(count, 10u);
}

}  // namespace
}  // namespace varve::testing
