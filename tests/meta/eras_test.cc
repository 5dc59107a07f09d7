#include "meta/eras.h"

#include <cstdio>
#include <map>

#include <gtest/gtest.h>

#include "sim/random.h"

namespace varve::test {
namespace {

TEST(Eras, NothingInFlightDrainsAtOnce) {
  Eras eras;
  ASSERT_TRUE(eras.reserve(4).has_value());
  EXPECT_TRUE(eras.is_drained(eras.seal()));
}

TEST(Eras, ADropWaitsForThoseBeforeItOnly) {
  Eras eras;
  ASSERT_TRUE(eras.reserve(4).has_value());
  const std::uint64_t before = eras.enter();
  const std::uint64_t stamp = eras.seal();
  const std::uint64_t after = eras.enter();
  EXPECT_FALSE(eras.is_drained(stamp));
  eras.leave(before);
  EXPECT_TRUE(eras.is_drained(stamp));
  eras.leave(after);
}

TEST(Eras, ALaterOneDoesNotDrainAnEarlierOne) {
  Eras eras;
  ASSERT_TRUE(eras.reserve(4).has_value());
  const std::uint64_t first = eras.enter();
  const std::uint64_t stamp = eras.seal();
  const std::uint64_t second = eras.enter();
  const std::uint64_t later = eras.seal();
  eras.leave(second);
  EXPECT_FALSE(eras.is_drained(stamp));
  EXPECT_FALSE(eras.is_drained(later));
  eras.leave(first);
  EXPECT_TRUE(eras.is_drained(stamp));
  EXPECT_TRUE(eras.is_drained(later));
}

// Against every request in flight kept by hand: a drop is never idle too early, and always in the
// end.
TEST(Eras, RandomAgainstAModel) {
  const std::uint64_t seed = sim::seed_from_environment();
  std::printf("VARVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  sim::Random random(seed);
  for (int round = 0; round < 50; ++round) {
    constexpr std::size_t kRequestsMax = 5;
    Eras eras;
    ASSERT_TRUE(eras.reserve(kRequestsMax).has_value());
    std::map<std::uint64_t, std::uint64_t> in_flight;  // By order of entry: the era.
    struct Drop {
      std::uint64_t stamp;
      std::uint64_t entered_before;
    };
    std::vector<Drop> drops;
    std::uint64_t entered = 0;
    for (int step = 0; step < 400; ++step) {
      if (random.chance(40) && in_flight.size() < kRequestsMax) {
        in_flight[entered++] = eras.enter();
      } else if (random.chance(50) && !in_flight.empty()) {
        auto one = in_flight.begin();
        std::advance(one, static_cast<std::ptrdiff_t>(random.below(in_flight.size())));
        eras.leave(one->second);
        in_flight.erase(one);
      } else if (random.chance(30)) {
        drops.push_back({eras.seal(), entered});
      }
      for (const Drop& drop : drops) {
        const bool may_be_seen =
            !in_flight.empty() && in_flight.begin()->first < drop.entered_before;
        EXPECT_FALSE(may_be_seen && eras.is_drained(drop.stamp));
      }
    }
    for (const auto& [order, era] : in_flight) {
      eras.leave(era);
    }
    for (const Drop& drop : drops) {
      EXPECT_TRUE(eras.is_drained(drop.stamp));
    }
  }
}

}  // namespace
}  // namespace varve::test
