// Every reason has a name of its own, in the words programs see.
#include <set>
#include <string>

#include <gtest/gtest.h>
#include <varve/corruption.h>

namespace varve {
namespace {

TEST(Corruption, HasOneNamePerReason) {
  std::set<std::string> names;
  for (unsigned i = 0; i < kCorruptionCount; ++i) {
    const std::string name = corruption_name(static_cast<Corruption>(i));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"), std::string::npos);
  }
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_STREQ(corruption_name(static_cast<Corruption>(kCorruptionCount)), "unknown");
}

}  // namespace
}  // namespace varve
