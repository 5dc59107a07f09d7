// Goal: the crash tests can fail. Method: the same machinery on storage that breaks its promises,
// or on an image damaged by hand, must find something wrong.
#include <array>

#include <gtest/gtest.h>

#include "base/units.h"
#include "model/crash_explorer.h"

namespace varve::model {
namespace {

const Scenario& scenario_named(const std::string& name) {
  for (const Scenario& scenario : scenarios()) {
    if (scenario.name == name) {
      return scenario;
    }
  }
  ADD_FAILURE() << "no scenario is called " << name;
  return scenarios().front();
}

GeometryCase small_geometry() {
  return make_geometry("C4k", 4096, 64 * kKiB + 1536);
}

class CrashCanary : public testing::TestWithParam<const char*> {};

// Without barriers between its writes no order survives a cut.
TEST_P(CrashCanary, StorageThatIgnoresFlushesIsFoundOut) {
  Lab lab(small_geometry());
  const Scenario& scenario = scenario_named(GetParam());
  std::string why;
  const auto prepared = prepare(lab, scenario, why);
  ASSERT_TRUE(prepared) << why;
  sim::FaultPlan plan;
  sim::FaultRule no_flush;
  no_flush.operation = StorageOperation::flush;
  no_flush.from_then_on = true;
  no_flush.effect = sim::FaultEffect::lost;
  plan.add(no_flush);
  CrashRun run(lab, scenario, *prepared);
  const auto wrong = run.run(&plan);
  ASSERT_FALSE(wrong) << *wrong;
  EXPECT_TRUE(run.explore({}).wrong);
  EXPECT_NE(run.order_violation(), "");
}

INSTANTIATE_TEST_SUITE_P(Scenarios, CrashCanary,
                         testing::Values("AllocatingWrite", "CopyOnWrite", "Flush",
                                         "SnapshotCreate", "SnapshotApply", "SnapshotDelete"),
                         [](const testing::TestParamInfo<const char*>& parameter) {
                           return std::string(parameter.param);
                         });

class OracleCanary : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    prepared_ = prepare(lab_, scenario_named("SnapshotApply"), why);
    ASSERT_TRUE(prepared_) << why;
    guest_.emplace(
        lab_.rules(), prepared_->version, [] { return sim::Moment{0}; }, prepared_->next_stamp);
  }
  std::optional<std::string> verdict() {
    return examine(lab_, *guest_, prepared_->file, 1, Examination{});
  }
  std::uint64_t field(std::uint64_t offset) {
    std::array<std::byte, 8> raw{};
    prepared_->file.read(offset, raw);
    return load_be<std::uint64_t>(raw, 0);
  }
  void set_field(std::uint64_t offset, std::uint64_t value) {
    std::array<std::byte, 8> raw{};
    store_be(Bytes(raw), 0, value);
    prepared_->file.write(offset, raw);
  }

  static constexpr std::uint64_t kOffsetMask = 0x00ff'ffff'ffff'fe00;

  Lab lab_{small_geometry()};
  std::optional<Prepared> prepared_;
  std::optional<Guest> guest_;
};

TEST_F(OracleCanary, IsContentWithAGoodImage) {
  const auto wrong = verdict();
  EXPECT_FALSE(wrong) << *wrong;
}

TEST_F(OracleCanary, SeesOneChangedByteOfData) {
  const std::uint64_t table = field(field(40)) & kOffsetMask;
  const std::uint64_t data = field(table) & kOffsetMask;
  set_field(data + 8, ~field(data + 8));
  EXPECT_TRUE(verdict());
}

TEST_F(OracleCanary, SeesACountBelowTheReferences) {
  const std::uint64_t block = field(field(48));
  set_field(block, field(block) & 0x0000'0000'ffff'ffff);
  EXPECT_TRUE(verdict());
}

TEST_F(OracleCanary, SeesAMissingSnapshot) {
  std::array<std::byte, 4> one{};
  one[3] = std::byte{1};
  prepared_->file.write(60, one);
  EXPECT_TRUE(verdict());
}

TEST_F(OracleCanary, SeesAFlaggedEntryThatIsShared) {
  const std::uint64_t table = field(field(40)) & kOffsetMask;
  set_field(field(40), field(field(40)) ^ (std::uint64_t{1} << 63));
  ASSERT_NE(table, 0u);
  EXPECT_TRUE(verdict());
}

}  // namespace
}  // namespace varve::model
