#include "meta/table_proof.h"

#include "meta/meta_fixture.h"
#include "sim/faulty_storage.h"

namespace varve::test {
namespace {

class TableProofTest : public MetaTest {
 protected:
  std::unique_ptr<Storage> make_storage() override {
    return std::make_unique<sim::FaultyStorage>(MetaTest::make_storage(), plan_);
  }
  void set(GuestOffset guest, L2Entry entry) {
    ASSERT_TRUE(prepare_table(guest).has_value());
    static_cast<void>(metadata_->map.exchange(guest, entry));
  }
  sim::FaultPlan plan_;
};

TEST_F(TableProofTest, ATableThatCannotBeReadIsNotTakenForSound) {
  open(small(4096, 16));
  set(GuestOffset(0), L2Entry::zero(metadata_->geometry));
  set(GuestOffset(metadata_->geometry.l2_coverage()), L2Entry::zero(metadata_->geometry));
  ASSERT_TRUE(flush().has_value());
  load();
  ASSERT_TRUE(prove_tables(*metadata_).has_value());
  // The first one, read among others and alone.
  for (const std::uint64_t nth : {0u, 1u}) {
    sim::FaultRule rule;
    rule.tag = IoTag::l2;
    rule.nth = nth;
    plan_.add(rule);
  }
  const Result<void> proven = prove_tables(*metadata_);
  ASSERT_FALSE(proven.has_value());
  EXPECT_EQ(proven.error().code, ErrorCode::io);
  EXPECT_EQ(plan_.hits(), 2u);
}

// The format counts compressed data in sectors: the last of them may lie behind the end of the
// file, but no more than that.
TEST_F(TableProofTest, CompressedDataMayEndInTheClusterBehindTheFile) {
  for (const auto& [begin, length, is_sound] :
       {std::tuple(3000u, 2000u, true), {4000u, 7700u, false}, {100u, 200u, true}}) {
    disk_.content = sim::SparseBytes();
    open(small(4096, 16));
    set(GuestOffset(0), L2Entry::zero(metadata_->geometry));
    const HostOffset last = metadata_->geometry.offset_of(claim(1)->run.first);
    set(GuestOffset(0),
        L2Entry::compressed(metadata_->geometry, {HostOffset(last.value() + begin), length}));
    ASSERT_TRUE(flush().has_value());
    disk_.content.resize(last.value() + 4096);
    load();
    const Result<void> proven = prove_tables(*metadata_);
    EXPECT_EQ(proven.has_value(), is_sound) << begin;
    if (!proven) {
      EXPECT_EQ(proven.error().corruption, Corruption::cluster_beyond_end_of_file);
      EXPECT_EQ(proven.error().offset, metadata_->l1.entry(0).offset().value());
    }
  }
}

}  // namespace
}  // namespace varve::test
