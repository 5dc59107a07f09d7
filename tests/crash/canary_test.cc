// Goal: the crash tests can fail. Method: the same machinery on storage that breaks its promises,
// or on an image damaged by hand, must find something wrong.
#include <array>
#include <vector>

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
    return examine(lab_, *guest_, prepared_->files, 1, Examination{});
  }
  std::uint64_t field(std::uint64_t offset) {
    std::array<std::byte, 8> raw{};
    prepared_->files.image.read(offset, raw);
    return load_be<std::uint64_t>(raw, 0);
  }
  void set_field(std::uint64_t offset, std::uint64_t value) {
    std::array<std::byte, 8> raw{};
    store_be(Bytes(raw), 0, value);
    prepared_->files.image.write(offset, raw);
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
  prepared_->files.image.write(60, one);
  EXPECT_TRUE(verdict());
}

TEST_F(OracleCanary, SeesAFlaggedEntryThatIsShared) {
  const std::uint64_t table = field(field(40)) & kOffsetMask;
  set_field(field(40), field(field(40)) ^ (std::uint64_t{1} << 63));
  ASSERT_NE(table, 0u);
  EXPECT_TRUE(verdict());
}

class DataFileCanary : public testing::Test {
 protected:
  // What the judge says of the prepared files with the sector at `offset` of the data file changed.
  std::string verdict_with(std::optional<std::uint64_t> offset) {
    std::string why;
    auto prepared = prepare(lab_, scenario_named("AllocatingWrite"), why);
    EXPECT_TRUE(prepared) << why;
    if (offset) {
      std::vector<std::byte> other(kSectorBytes, std::byte{7});
      prepared->files.data.write(*offset, other);
    }
    const Guest guest(
        lab_.rules(), prepared->version, [] { return sim::Moment{0}; }, prepared->next_stamp);
    const sim::CrashContent content(prepared->files.image, prepared->files.data, &identify_sector);
    StateJudge::Found found;
    return StateJudge(lab_).judge(content, guest, guest.expectation(1), false, found).value_or("");
  }

  Lab lab_{with_data_file(small_geometry(), true)};
};

TEST_F(DataFileCanary, SeesAChangedSectorThatAnEntryShows) {
  EXPECT_EQ(verdict_with(std::nullopt), "");
  EXPECT_NE(verdict_with(0).find("sector 0 holds"), std::string::npos);
}

// The image shows zeros there; whoever reads the file alone does not.
TEST_F(DataFileCanary, SeesOneThatOnlyTheRawFileShows) {
  const std::string verdict = verdict_with(std::uint64_t{16} * 4096 - 4096);
  EXPECT_NE(verdict.find("the data file by itself: sector 120 holds"), std::string::npos)
      << verdict;
}

}  // namespace
}  // namespace varve::model
