// Goal: from its creation on, an image answers whatever fails below it (requests, locks,
// allocations) by name, loses nothing it told durable, and opens again. Method: each life runs once
// to count what can fail, then again with number i failing, once and from then on (life.h).
//
// VARVE_LIFE_RUNS bounds the runs per life and kind of fault (0: all); VARVE_SEED chooses them.
#include "fault/life.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "format/header.h"
#include "model/lab.h"
#include "sim/random.h"

namespace varve::model {
namespace {

constexpr std::uint64_t kLifeRuns = 10;  // In an ordinary run.

class Lives : public testing::TestWithParam<Life> {
 protected:
  Lives() : engine_(make_test_engine()), run_(GetParam(), *engine_) {}

  // Each of `count` faults twice, or as many of them as an ordinary run has time for.
  template <class MakeFault>
  void fail_each(std::uint64_t count, MakeFault make_fault) {
    ASSERT_GT(count, 0u);
    const std::uint64_t seed = sim::seed_from_environment();
    const std::uint64_t limit = sim::environment_number("VARVE_LIFE_RUNS", kLifeRuns);
    std::uint64_t left = 2 * count;
    std::uint64_t wanted = limit == 0 ? left : std::min(limit, left);
    sim::Random choice(seed);
    for (std::uint64_t index = 0; index < count; ++index) {
      for (const bool from_then_on : {false, true}) {
        if (choice.below(left--) >= wanted) {
          continue;
        }
        --wanted;
        ASSERT_EQ(run_.run(make_fault(index, from_then_on)), "")
            << "VARVE_SEED=" << seed << ", number " << index << " of " << count
            << (from_then_on ? " and all later ones" : "");
        EXPECT_TRUE(run_.hits() > 0 || make_fault(index, from_then_on).damage) << index;
      }
    }
  }

  std::unique_ptr<Engine> engine_;
  LifeRun run_;
};

TEST_P(Lives, UnderRequestsThatFail) {
  ASSERT_EQ(run_.run({}), "") << "already without a fault";
  for (const int os_errno : {EIO, ENOSPC}) {
    ASSERT_EQ(run_.run({}), "");
    fail_each(run_.requests(), [&](std::uint64_t index, bool from_then_on) {
      sim::FaultRule rule;
      rule.nth = index;
      rule.from_then_on = from_then_on;
      rule.os_errno = os_errno;
      LifeRun::Fault fault;
      fault.request = rule;
      return fault;
    });
  }
}

TEST_P(Lives, UnderLocksThatFail) {
  ASSERT_EQ(run_.run({}), "") << "already without a fault";
  fail_each(run_.calls(), [](std::uint64_t index, bool) {
    LifeRun::Fault fault;
    fault.call = index;
    return fault;
  });
}

TEST_P(Lives, UnderAllocationsThatFail) {
  ASSERT_EQ(run_.run({}), "") << "already without a fault";
  ASSERT_GT(run_.allocations(), 5u) << "nothing was counted";
  fail_each(run_.allocations(), [](std::uint64_t index, bool from_then_on) {
    LifeRun::Fault fault;
    fault.allocation = index;
    fault.from_then_on = from_then_on;
    return fault;
  });
}

// Every entry of every table of a small image takes values that no sane writer leaves there.
class Damages : public Lives {
 protected:
  std::uint64_t at(std::uint64_t offset) {
    std::byte bytes[8];
    run_.file().read(offset, bytes);
    return load_be<std::uint64_t>(ConstBytes(bytes), 0);
  }
  // The first entries of a table, and some of those behind them.
  void add(std::uint64_t table, std::uint64_t entries) {
    for (std::uint64_t i = 0; i < entries; ++i) {
      places_.push_back(table + i * 8);
    }
  }
  void find_places() {
    constexpr std::uint64_t kHost = 0x00ff'ffff'ffff'fe00;
    const std::uint64_t l1 = at(offsetof(RawHeader, l1_offset));
    const std::uint64_t refcounts = at(offsetof(RawHeader, refcount_table_offset));
    add(l1, 2);
    add(at(l1) & kHost, 6);
    add(refcounts, 2);
    add(at(refcounts) & kHost, 12);
    const std::uint64_t snapshots = at(offsetof(RawHeader, snapshot_table_offset));
    if (snapshots != 0) {
      add(snapshots, 1);  // The first snapshot's L1.
      add(at(snapshots) & kHost, 2);
      add(at(at(snapshots) & kHost) & kHost, 4);
    }
    for (const std::size_t field :
         {offsetof(RawHeader, l1_offset), offsetof(RawHeader, refcount_table_offset),
          offsetof(RawHeader, snapshot_table_offset)}) {
      places_.push_back(field);
    }
    values_ = {0,
               1,
               kHost,
               l1,
               refcounts,
               l1 | std::uint64_t{1} << 63,
               std::uint64_t{1} << 63,
               std::uint64_t{1} << 62 | l1,
               std::uint64_t{3} << 62 | 0x1234'5678,
               ~std::uint64_t{0},
               (std::uint64_t{1} << 31) | std::uint64_t{1} << 63,
               l1 + 512,
               l1 - 512,
               at(l1)};
  }
  std::vector<std::uint64_t> places_;
  std::vector<std::uint64_t> values_;
};

TEST_P(Damages, AreToldByName) {
  ASSERT_EQ(run_.run({}), "") << "already without damage";
  find_places();
  fail_each(places_.size() * values_.size(), [&](std::uint64_t index, bool) {
    LifeRun::Fault fault;
    fault.damage = {places_[index / values_.size()], values_[index % values_.size()]};
    return fault;
  });
}

std::vector<Life> damaged_lives() {
  std::vector<Life> chosen;
  for (const Life& life : lives()) {
    if (life.name == "Trees" || life.name == "TreesWide" || life.name == "Narrow" ||
        life.name == "MetadataExtended" || life.name == "Moves" || life.name == "FallocVersion2") {
      chosen.push_back(life);
    }
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Each, Damages, testing::ValuesIn(damaged_lives()),
                         [](const testing::TestParamInfo<Life>& parameter) {
                           return parameter.param.name;
                         });
INSTANTIATE_TEST_SUITE_P(Each, Lives, testing::ValuesIn(lives()),
                         [](const testing::TestParamInfo<Life>& parameter) {
                           return parameter.param.name;
                         });

}  // namespace
}  // namespace varve::model
