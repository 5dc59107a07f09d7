#include "meta/control_slot.h"

#include <gtest/gtest.h>

namespace varve::test {
namespace {

struct Operation final : Waiter {
  void resume(const Result<void>&) noexcept override {}
};

TEST(ControlSlot, WhoWithdrawsIsPassedOverAndWhoHasItCannot) {
  ControlSlot slot;
  Operation first;
  Operation second;
  ASSERT_TRUE(slot.try_take());
  EXPECT_FALSE(slot.try_take());
  slot.wait(first);
  slot.wait(second);
  EXPECT_EQ(slot.pass_on(), &first);
  EXPECT_FALSE(slot.withdraw(first));  // It has the slot.
  EXPECT_TRUE(slot.withdraw(second));
  EXPECT_FALSE(slot.withdraw(second));
  EXPECT_TRUE(slot.is_taken());
  EXPECT_EQ(slot.pass_on(), nullptr);
  EXPECT_FALSE(slot.is_taken());
}

}  // namespace
}  // namespace varve::test
