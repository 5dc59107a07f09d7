// The command language: words, numbers, patterns, durations. Expectations were read off qemu-io.

#include "io_parse.h"

#include <gtest/gtest.h>

namespace varve::tool {
namespace {

using Words = std::vector<std::string>;

TEST(SplitWords, SeparatesAtSpacesOnly) {
  EXPECT_EQ(split_words(""), Words{});
  EXPECT_EQ(split_words("   "), Words{});
  EXPECT_EQ(split_words("  read   -v 0  512 "), (Words{"read", "-v", "0", "512"}));
  EXPECT_EQ(split_words("read\t0 'a b'"), (Words{"read\t0", "'a", "b'"}));
}

struct CountCase {
  const char* text;
  std::uint64_t value;
};

TEST(ParseCount, TakesDecimalHexadecimalAndSuffixes) {
  for (const CountCase& c :
       std::initializer_list<CountCase>{{"0", 0},
                                        {"512", 512},
                                        {"010", 10},
                                        {"+5", 5},
                                        {"0x10", 16},
                                        {"1b", 1},
                                        {"1B", 1},
                                        {"64k", 65536},
                                        {"1.5K", 1536},
                                        {".5k", 512},
                                        {"1.", 1},
                                        {"1.00", 1},
                                        {"2M", 2097152},
                                        {"1G", 1073741824},
                                        {"1T", 1099511627776},
                                        {"1e", 1152921504606846976},
                                        {"9223372036854775807", 9223372036854775807}}) {
    std::string complaint;
    EXPECT_EQ(parse_count(c.text, complaint), c.value) << c.text;
  }
}

TEST(ParseCount, RefusesWhatIsNoNumber) {
  for (const char* text :
       {"", "x", "k", "''", "1kb", "1.5", "1.5b", "0x", "0x10k", "1..5k", "1e3", "0x1.8", "64k "}) {
    std::string complaint;
    EXPECT_EQ(parse_count(text, complaint), std::nullopt) << text;
    EXPECT_EQ(complaint,
              "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ");
  }
}

TEST(ParseCount, RefusesWhatIsNegativeOrBeyond63Bits) {
  for (const char* text : {"-1", "-0", "8E", "9E", "9223372036854775808", "99999999999999999999"}) {
    std::string complaint;
    EXPECT_EQ(parse_count(text, complaint), std::nullopt) << text;
    EXPECT_EQ(complaint, "Parsing error: argument too large -- ");
  }
}

TEST(ParsePattern, TakesOneByteInAnyBase) {
  EXPECT_EQ(parse_pattern("0"), 0);
  EXPECT_EQ(parse_pattern("255"), 255);
  EXPECT_EQ(parse_pattern("0xff"), 255);
  EXPECT_EQ(parse_pattern("010"), 8);
  EXPECT_EQ(parse_pattern("+7"), 7);
}

TEST(ParsePattern, RefusesTheRest) {
  for (const char* text : {"256", "-1", "x", "0x", "0x1g", "1k", "99999999999999999999"}) {
    EXPECT_EQ(parse_pattern(text), std::nullopt) << text;
  }
}

TEST(ParseSleep, TakesWholeMilliseconds) {
  EXPECT_EQ(parse_sleep("10").milliseconds, 10);
  EXPECT_EQ(parse_sleep("0x10").milliseconds, 16);
  EXPECT_EQ(parse_sleep("-0").status, SleepStatus::ok);
  EXPECT_EQ(parse_sleep("99999999999999999999").status, SleepStatus::overflow);
  for (const char* text : {"", "x", "1x", "-1", "1.5", "''"}) {
    EXPECT_EQ(parse_sleep(text).status, SleepStatus::malformed) << text;
  }
}

TEST(FindShortBooleans, NamesElementsWithoutAValue) {
  EXPECT_EQ(find_short_booleans("driver=raw,read-only=on"), Words{});
  EXPECT_EQ(find_short_booleans("driver=raw,nofoo"), Words{"nofoo"});
  EXPECT_EQ(find_short_booleans("disk,,one"), Words{"disk,one"});
  EXPECT_EQ(find_short_booleans(","), Words{""});
  EXPECT_EQ(find_short_booleans(""), Words{});
}

TEST(EscapeCommas, DoublesThem) {
  EXPECT_EQ(escape_commas("a,b"), "a,,b");
  EXPECT_EQ(escape_commas("plain"), "plain");
}

}  // namespace
}  // namespace varve::tool
