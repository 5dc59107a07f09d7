// Lists of key=value pairs, cache modes and numbers of the command line.

#include "varve/options.h"

#include <gtest/gtest.h>

#include "varve/json_text.h"

namespace varve::tool {
namespace {

TEST(KeyValues, SplitsAtSingleCommasOnly) {
  const KeyValueList list = parse_key_values("a=1,b=x,,y,c=");
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0], std::pair(std::string("a"), std::string("1")));
  EXPECT_EQ(list[1], std::pair(std::string("b"), std::string("x,y")));
  EXPECT_EQ(list[2], std::pair(std::string("c"), std::string("")));
}

TEST(KeyValues, TakesBareWordsAsFlags) {
  const KeyValueList list = parse_key_values("lazy_refcounts,noextended_l2,nocow");
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0], std::pair(std::string("lazy_refcounts"), std::string("on")));
  EXPECT_EQ(list[1], std::pair(std::string("extended_l2"), std::string("off")));
  EXPECT_EQ(list[2], std::pair(std::string("nocow"), std::string("on")));
}

TEST(KeyValues, GivesTheFirstBareWordToTheImpliedKey) {
  const KeyValueList list = parse_key_values("disk.raw,driver=raw", "file");
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0], std::pair(std::string("file"), std::string("disk.raw")));
}

TEST(KeyValues, FindsTheLastOfRepeatedKeys) {
  const KeyValueList list = parse_key_values("a=1,b=2,a=3");
  EXPECT_EQ(find_value(list, "a"), "3");
  EXPECT_EQ(find_value(list, "c"), std::nullopt);
}

TEST(OptionList, MustNotBeEmptyOrEndInACommma) {
  EXPECT_TRUE(is_option_list("a=1"));
  EXPECT_FALSE(is_option_list(""));
  EXPECT_FALSE(is_option_list(",a=1"));
  EXPECT_FALSE(is_option_list("a=1,"));
}

TEST(CacheModes, AreQemus) {
  EXPECT_TRUE(parse_cache_mode("none")->direct);
  EXPECT_TRUE(parse_cache_mode("directsync")->direct);
  EXPECT_TRUE(parse_cache_mode("directsync")->write_through);
  EXPECT_TRUE(parse_cache_mode("unsafe")->flush_ignored);
  EXPECT_TRUE(parse_cache_mode("writethrough")->write_through);
  EXPECT_FALSE(parse_cache_mode("writeback")->direct);
  EXPECT_FALSE(parse_cache_mode("fast").has_value());
}

TEST(JsonText, IndentsByFourAndKeepsTheOrder) {
  Json node;
  node["z"] = 1;
  node["a"] = Json::array();
  node["m"]["text"] = "quote \" and \n";
  node["o"] = Json::object();
  EXPECT_EQ(format_json(node),
            "{\n    \"z\": 1,\n    \"a\": [\n    ],\n    \"m\": {\n        \"text\": \"quote \\\" "
            "and \\n\"\n    },\n    \"o\": {\n    }\n}");
}

}  // namespace
}  // namespace varve::tool
