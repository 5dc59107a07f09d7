// Goal: a repair whose device fails says so or finishes, never harms, and the next repair finishes
// what it left. Method: of damaged images, I/O number i of the repair fails, alone or with all that
// follow, for each i until none is hit.
#include "maintenance/repair_fixture.h"
#include "sim/faulty_storage.h"

namespace varve::test {
namespace {

class RepairFaults : public RepairTest {
 protected:
  static OpenOptions for_repair() {
    OpenOptions options;
    options.writable = true;
    options.allow_corrupt = true;
    return options;
  }
  void expect_disk(Image& image, const std::vector<std::byte>& before) {
    std::vector<std::byte> bytes(before.size());
    EXPECT_TRUE(image.read(0, bytes).has_value());
    const auto old = open_snapshot(image, 0);
    ASSERT_TRUE(old.has_value()) << describe(old.error());
    EXPECT_TRUE((*old)->read(0, std::span(bytes).subspan(bytes.size() / 2)).has_value());
    EXPECT_TRUE((*old)->close().has_value());
    EXPECT_TRUE(bytes == before);
  }
  // False once nothing was hit.
  bool fail_one(const std::vector<std::byte>& damaged, const sim::FaultRule& rule,
                const std::vector<std::byte>& before) {
    sim::SimDisk disk;
    disk.content.write(0, damaged);
    sim::FaultPlan plan;
    {
      auto image = Image::open(std::make_unique<sim::FaultyStorage>(
                                   std::make_unique<sim::SimStorage>(*engine_, disk), plan),
                               "/lab", for_repair());
      EXPECT_TRUE(image.has_value()) << describe(image.error());
      if (!image) {
        return false;
      }
      plan.add(rule);
      const auto report = repair(**image, Repair::all);
      plan.lift();
      if (plan.hits() == 0) {
        EXPECT_TRUE(report.has_value() && !report->left);
        EXPECT_TRUE((*image)->close().has_value());
        return false;
      }
      judge(**image, report, plan);
      static_cast<void>((*image)->close());
    }
    auto image =
        Image::open(std::make_unique<sim::SimStorage>(*engine_, disk), "/lab", for_repair());
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    if (image) {
      const auto report = repair(**image, Repair::all);
      EXPECT_TRUE(report.has_value());
      EXPECT_FALSE(report->left.has_value());
      expect_clean(report->after);
      expect_disk(**image, before);
      EXPECT_TRUE((*image)->close().has_value());
    }
    return true;
  }
  // What the failing repair says, and what its image is good for.
  void judge(Image& image, const Result<RepairReport>& report, const sim::FaultPlan& plan) {
    std::vector<std::byte> data(cluster_, std::byte{9});
    const auto written = image.write(100 * cluster_, data);
    const bool is_poisoned = !written && written.error().code == ErrorCode::poisoned;
    // Refcount structures that are still broken are found by who needs them.
    const bool is_refused = !written && written.error().code == ErrorCode::corrupt &&
                            written.error().tag == IoTag::refcount_table;
    EXPECT_TRUE(written.has_value() || is_poisoned || is_refused) << describe(written.error());
    poisoned_ += is_poisoned ? 1 : 0;
    if (plan.hit_flush()) {
      EXPECT_TRUE(is_poisoned);
    }
    EXPECT_EQ(plan.writes_after_failed_flush(), 0u);
    if (!report) {
      EXPECT_TRUE(report.error().code == ErrorCode::io ||
                  report.error().code == ErrorCode::no_space)
          << describe(report.error());
      EXPECT_TRUE(report.error().tag != IoTag::none || plan.hit_flush())
          << describe(report.error());
      ++refused_;
    } else if (report->after.failures + report->after.corruptions + report->after.leaks != 0) {
      // What could not be read is among the findings, so nobody takes it for clean.
      EXPECT_TRUE(report->left.has_value() || report->after.failures != 0);
      ++incomplete_;
    }
  }
  void fail_each(bool has_broken_refcounts) {
    make_with_snapshot(small());
    const auto before = content();
    damage();
    constexpr std::uint64_t kCorruptBit = 2;
    const std::uint64_t features = offsetof(RawHeader, incompatible_features);
    put(features, get(features) | kCorruptBit);
    if (has_broken_refcounts) {
      put(refcount_table(), get(refcount_table()) | 4);
      put(l2(1), get(l2(1)) | 0x10);
      // Behind what is compared: a cluster over the L1, whose bytes the repair may change.
      put(l2(40), get(offsetof(RawHeader, l1_offset)) | kCopied);
    }
    const auto damaged = read_bytes(path_, 0, std::filesystem::file_size(path_));
    for (const int os_errno : {EIO, ENOSPC}) {
      for (const bool from_then_on : {false, true}) {
        std::uint64_t tried = 0;
        for (bool was_hit = true; was_hit && !HasFailure(); ++tried) {
          SCOPED_TRACE("I/O " + std::to_string(tried) +
                       (from_then_on ? " and all later ones" : "") + ": " +
                       std::strerror(os_errno));
          sim::FaultRule rule;
          rule.nth = tried;
          rule.from_then_on = from_then_on;
          rule.os_errno = os_errno;
          was_hit = fail_one(damaged, rule, before);
        }
        EXPECT_GT(tried, 20u);
      }
    }
    EXPECT_GT(refused_, 0u);
    EXPECT_GT(poisoned_, 0u);
    std::printf("repair under faults: %llu refused, %llu incomplete, %llu poisoned\n",
                static_cast<unsigned long long>(refused_),
                static_cast<unsigned long long>(incomplete_),
                static_cast<unsigned long long>(poisoned_));
  }

  std::uint64_t refused_ = 0;
  std::uint64_t incomplete_ = 0;
  std::uint64_t poisoned_ = 0;
};

TEST_F(RepairFaults, OfCountsAndFlagsAreSaidAndTheNextRepairFinishes) {
  fail_each(false);
}

TEST_F(RepairFaults, OfARebuildAreSaidAndTheNextRepairFinishes) {
  fail_each(true);
}

// The header is the last that is written: what it says then is unknown.
TEST_F(RepairFaults, AHeaderThatCannotBeWrittenPoisons) {
  make_with_snapshot(small());
  damage();
  const std::uint64_t features = offsetof(RawHeader, incompatible_features);
  put(features, get(features) | 2);
  sim::SimDisk disk;
  disk.content.write(0, read_bytes(path_, 0, std::filesystem::file_size(path_)));
  sim::FaultPlan plan;
  auto image = Image::open(
      std::make_unique<sim::FaultyStorage>(std::make_unique<sim::SimStorage>(*engine_, disk), plan),
      "/lab", for_repair());
  ASSERT_TRUE(image.has_value()) << describe(image.error());
  sim::FaultRule rule;
  rule.tag = IoTag::header;
  rule.operation = StorageOperation::write;
  plan.add(rule);
  const auto report = repair(**image, Repair::all);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().tag, IoTag::header);
  std::vector<std::byte> data(cluster_, std::byte{9});
  EXPECT_EQ((*image)->write(0, data).error().code, ErrorCode::poisoned);
  static_cast<void>((*image)->close());
}

}  // namespace
}  // namespace varve::test
