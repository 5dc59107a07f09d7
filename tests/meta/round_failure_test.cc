#include "meta/commit.h"
#include "meta/meta_fixture.h"
#include "sim/faulty_storage.h"

namespace varve::test {
namespace {

class RoundFailureTest : public MetaTest {
 protected:
  std::unique_ptr<Storage> make_storage() override {
    return std::make_unique<sim::FaultyStorage>(MetaTest::make_storage(), plan_);
  }
  sim::FaultPlan plan_;
};

// What a failed round could not write is owed to the table as it stood when the round began; a
// growth has written the whole of the other one.
TEST_F(RoundFailureTest, OfAnL1ThatHasMovedLeavesTheNewOneAlone) {
  open(small());
  ASSERT_TRUE(prepare_table(GuestOffset(0)).has_value());
  const std::uint64_t entries = metadata_->l1.size();
  const HostOffset place = metadata_->l1.offset();
  const std::uint64_t raw = metadata_->l1.entry(0).raw();
  sim::FaultRule rule;
  rule.tag = IoTag::l1;
  rule.operation = StorageOperation::write;
  plan_.add(rule);
  BlockingWaiter waiter(*engine_);
  metadata_->commit.flush(waiter);
  while (metadata_->l1.is_dirty()) {  // Until the round has taken its copy.
    engine_->wait();
  }
  metadata_->l1.relocate(entries + 1, HostOffset(4 * kMiB));
  EXPECT_FALSE(waiter.wait().has_value());
  EXPECT_EQ(plan_.hits(), 1u);
  EXPECT_FALSE(metadata_->l1.is_dirty());
  metadata_->l1.restore(entries, place);
  ASSERT_TRUE(flush().has_value());
  EXPECT_EQ(be64_at(place.value()), raw);
}

}  // namespace
}  // namespace varve::test
