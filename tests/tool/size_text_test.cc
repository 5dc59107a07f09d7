// Sizes: what qemu-img takes and refuses, and how it prints them.

#include "varve/size_text.h"

#include <gtest/gtest.h>

namespace varve::tool {
namespace {

TEST(ParseSize, TakesPlainNumbers) {
  EXPECT_EQ(parse_size("0").bytes, 0u);
  EXPECT_EQ(parse_size("010").bytes, 10u);
  EXPECT_EQ(parse_size("+1").bytes, 1u);
  EXPECT_EQ(parse_size(" 1").bytes, 1u);
  EXPECT_EQ(parse_size("1.").bytes, 1u);
  EXPECT_EQ(parse_size("1.0").bytes, 1u);
  EXPECT_EQ(parse_size("18446744073709551615").bytes, 18446744073709551615u);
}

TEST(ParseSize, TakesSuffixesInEitherCase) {
  const struct {
    const char* text;
    unsigned shift;
  } kRows[] = {{"1b", 0},  {"1B", 0},  {"1k", 10}, {"1K", 10}, {"1m", 20}, {"1M", 20}, {"1g", 30},
               {"1G", 30}, {"1t", 40}, {"1T", 40}, {"1p", 50}, {"1P", 50}, {"1e", 60}, {"1E", 60}};
  for (const auto& row : kRows) {
    EXPECT_EQ(parse_size(row.text).status, SizeStatus::ok) << row.text;
    EXPECT_EQ(parse_size(row.text).bytes, std::uint64_t{1} << row.shift) << row.text;
  }
}

TEST(ParseSize, RoundsFractionsToTheNearestByte) {
  EXPECT_EQ(parse_size(".5M").bytes, 524288u);
  EXPECT_EQ(parse_size("1.5k").bytes, 1536u);
  EXPECT_EQ(parse_size("0.1k").bytes, 102u);
  EXPECT_EQ(parse_size("1.4999999999999999999k").bytes, 1536u);
  EXPECT_EQ(parse_size("1.9999999999999999M").bytes, 2097152u);
  EXPECT_EQ(parse_size("7.9E").bytes, 9108079886394091136u);
}

TEST(ParseSize, TakesHexadecimalWithoutSuffix) {
  EXPECT_EQ(parse_size("0x10").bytes, 16u);
  EXPECT_EQ(parse_size("0XfF").bytes, 255u);
  EXPECT_EQ(parse_size("0x10k").status, SizeStatus::malformed);
  EXPECT_EQ(parse_size("0x").status, SizeStatus::malformed);
}

TEST(ParseSize, RefusesWhatIsNoSize) {
  for (const char* text :
       {"",  " ",  "foo",  "1Mb", "1kk",  "1k5", "1,5M", "1.5 M",   "1 ", "1.5", ".5",
        ".", ".M", "1.5b", "1e3", "1e3k", "inf", "nan",  "0x1.8p3", "1Q", "--1"}) {
    EXPECT_EQ(parse_size(text).status, SizeStatus::malformed) << "'" << text << "'";
  }
}

TEST(ParseSize, TellsWhatIsOutOfRange) {
  for (const char* text : {"-1", "-0", "16E", "18446744073709551616", "99999999999999999999T",
                           "0x10000000000000000"}) {
    EXPECT_EQ(parse_size(text).status, SizeStatus::out_of_range) << "'" << text << "'";
  }
}

TEST(FormatSize, KeepsThreeDigits) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(512), "512 B");
  EXPECT_EQ(format_size(999), "999 B");
  EXPECT_EQ(format_size(1000), "0.977 KiB");
  EXPECT_EQ(format_size(1024), "1 KiB");
  EXPECT_EQ(format_size(459264), "448 KiB");
  EXPECT_EQ(format_size(1536 * 1024), "1.5 MiB");
  EXPECT_EQ(format_size(std::uint64_t{20} << 30), "20 GiB");
  EXPECT_EQ(format_size(~std::uint64_t{0}), "16 EiB");
}

}  // namespace
}  // namespace varve::tool
