#include "meta/holds.h"

#include <cstdio>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "sim/random.h"

namespace varve::test {
namespace {

struct Holder final : Waiter {
  Hold hold;
  Hold::Mode mode = Hold::Mode::shared;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  int resumed = 0;

  Holder() = default;
  Holder(Hold::Mode how, std::uint64_t first, std::uint64_t last)
      : mode(how), begin(first), end(last) {}
  bool take(Holds& holds) { return holds.take(hold, mode, begin, end, *this); }
  void resume(const Result<void>& result) noexcept override {
    EXPECT_TRUE(result.has_value());
    ++resumed;
  }
};
constexpr auto kShared = Hold::Mode::shared;
constexpr auto kExclusive = Hold::Mode::exclusive;

TEST(Holds, SharedOnesOverlapAndExclusiveOnesDoNot) {
  Holds holds;
  Holder a(kShared, 0, 10);
  Holder b(kShared, 5, 15);
  Holder c(kExclusive, 9, 12);
  Holder d(kExclusive, 15, 20);
  EXPECT_TRUE(a.take(holds));
  EXPECT_FALSE(holds.empty());
  EXPECT_TRUE(b.take(holds));
  EXPECT_FALSE(c.take(holds));
  EXPECT_TRUE(d.take(holds));
  holds.give_back(a.hold);
  EXPECT_EQ(c.resumed, 0);
  holds.give_back(b.hold);
  EXPECT_EQ(c.resumed, 1);
  EXPECT_TRUE(c.hold.is_held());
  EXPECT_FALSE(holds.empty());
  holds.give_back(c.hold);
  holds.give_back(d.hold);
  EXPECT_TRUE(holds.empty());
}

TEST(Holds, NobodyOvertakesAWaiterInItsWay) {
  Holds holds;
  Holder reader(kShared, 0, 10);
  Holder writer(kExclusive, 0, 10);
  Holder late(kShared, 5, 6);
  Holder elsewhere(kShared, 20, 21);
  EXPECT_TRUE(reader.take(holds));
  EXPECT_FALSE(writer.take(holds));
  EXPECT_FALSE(late.take(holds));
  EXPECT_TRUE(elsewhere.take(holds));
  holds.give_back(reader.hold);
  EXPECT_TRUE(writer.hold.is_held());
  EXPECT_FALSE(late.hold.is_held());
  holds.give_back(writer.hold);
  EXPECT_TRUE(late.hold.is_held());
  holds.give_back(late.hold);
  holds.give_back(elsewhere.hold);
}

TEST(Holds, AResumedHolderMayGiveBackAtOnce) {
  struct Hasty final : Waiter {
    Holds* holds = nullptr;
    Hold hold;
    int resumed = 0;
    bool is_last = false;
    void resume(const Result<void>&) noexcept override {
      ++resumed;
      holds->give_back(hold);
      is_last = holds->empty();
    }
  };
  Holds holds;
  Holder first(kExclusive, 0, 4);
  Hasty second;
  Hasty third;
  second.holds = third.holds = &holds;
  EXPECT_TRUE(first.take(holds));
  EXPECT_FALSE(holds.take(second.hold, kExclusive, 0, 4, second));
  EXPECT_FALSE(holds.take(third.hold, kExclusive, 0, 4, third));
  holds.give_back(first.hold);
  EXPECT_EQ(second.resumed, 1);
  EXPECT_EQ(third.resumed, 1);
  EXPECT_FALSE(second.is_last);  // The third was still waiting.
  EXPECT_TRUE(third.is_last);
  EXPECT_TRUE(holds.empty());
}

// The rule spelled out: a request is granted exactly when nothing asked earlier and not given back
// conflicts.
TEST(Holds, RandomAgainstTheRule) {
  const std::uint64_t seed = sim::seed_from_environment();
  std::printf("VARVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  sim::Random random(seed);
  for (int round = 0; round < 30; ++round) {
    Holds holds;
    std::vector<std::unique_ptr<Holder>> asked;  // In order.
    const auto conflict = [](const Holder& a, const Holder& b) {
      return (a.mode == kExclusive || b.mode == kExclusive) && a.begin < b.end && b.begin < a.end;
    };
    const auto verify = [&] {
      for (std::size_t i = 0; i < asked.size(); ++i) {
        bool is_free = true;
        for (std::size_t j = 0; j < i; ++j) {
          is_free = is_free && !conflict(*asked[j], *asked[i]);
        }
        EXPECT_EQ(asked[i]->hold.is_held(), is_free);
      }
    };
    for (int step = 0; step < 300; ++step) {
      if (asked.size() < 12 && random.chance(55)) {
        const std::uint64_t begin = random.below(20);
        asked.push_back(std::make_unique<Holder>(random.chance(50) ? kShared : kExclusive, begin,
                                                 begin + random.between(1, 6)));
        const bool granted = asked.back()->take(holds);
        EXPECT_EQ(granted, asked.back()->hold.is_held());
      } else if (!asked.empty()) {
        const std::size_t one = random.below(asked.size());
        if (asked[one]->hold.is_held()) {
          holds.give_back(asked[one]->hold);
          asked.erase(asked.begin() + static_cast<std::ptrdiff_t>(one));
        }
      }
      verify();
    }
    while (!asked.empty()) {
      ASSERT_TRUE(asked.front()->hold.is_held());
      holds.give_back(asked.front()->hold);
      asked.erase(asked.begin());
    }
    EXPECT_TRUE(holds.empty());
  }
}

}  // namespace
}  // namespace varve::test
