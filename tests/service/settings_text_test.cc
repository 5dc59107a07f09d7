// Goal: SnapshotSettings texts are taken as Hyper-V's clients print them, and each rule of refusal
// holds. Method: a table of texts for each side, and seeded mutations of a good text.
#include "service/settings_text.h"

#include <gtest/gtest.h>

#include "service/cim_xml.h"
#include "sim/random.h"

namespace varve {
namespace {

const std::string kOpen = R"(<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData">)";
const std::string kClose = "</INSTANCE>";

std::string instance(const std::string& properties) {
  return kOpen + properties + kClose;
}
std::string property(const std::string& name, const std::string& type, const std::string& value) {
  return "<PROPERTY NAME=\"" + name + "\" TYPE=\"" + type + "\"><VALUE>" + value +
         "</VALUE></PROPERTY>";
}
std::string of_system(const std::string& properties) {
  return "<INSTANCE CLASSNAME=\"Msvm_VirtualSystemSettingData\">" + properties + kClose;
}

// As the reference pages' clients print it.
const std::string kGood =
    R"(<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData">)"
    R"(<PROPERTY NAME="ConsistencyLevel" TYPE="uint8"><VALUE>2</VALUE></PROPERTY>)"
    R"(<PROPERTY NAME="GuestBackupType" TYPE="uint8"><VALUE>1</VALUE></PROPERTY>)"
    R"(<PROPERTY NAME="IgnoreNonSnapshottableDisks" TYPE="boolean"><VALUE>true</VALUE></PROPERTY>)"
    R"(</INSTANCE>)";

void expect_good(const RequestedSettings& settings) {
  EXPECT_EQ(settings.consistency, ConsistencyLevel::crash);
  EXPECT_EQ(settings.guest_backup, GuestBackupType::full);
  EXPECT_TRUE(settings.ignore_non_snapshottable_disks);
}

TEST(SettingsText, NothingMeansDefaults) {
  for (const std::optional<std::string_view> text :
       {std::optional<std::string_view>(), std::optional<std::string_view>("")}) {
    const auto settings = parse_snapshot_settings(text);
    ASSERT_TRUE(settings);
    EXPECT_EQ(settings->element_name, "");
    EXPECT_EQ(settings->consistency, ConsistencyLevel::unknown);
    EXPECT_EQ(settings->guest_backup, GuestBackupType::undefined);
    EXPECT_FALSE(settings->ignore_non_snapshottable_disks);
  }
}

TEST(SettingsText, ReadsWhatClientsPrint) {
  const std::string texts[] = {
      kGood,
      "\xef\xbb\xbf" + kGood,
      "<?xml version=\"1.0\" encoding=\"utf-16\"?>" + kGood,
      "<?xml version=\"1.0\"?>\r\n<!-- by hand -->\r\n" + kGood + "\r\n",
      // WMI DTD 2.0: system properties, origins, qualifiers.
      instance(R"(<QUALIFIER NAME="dynamic" TYPE="boolean"><VALUE>TRUE</VALUE></QUALIFIER>)"
               R"(<PROPERTY NAME="__PATH" TYPE="string"></PROPERTY>)"
               R"(<PROPERTY NAME="__GENUS" CLASSORIGIN="___SYSTEM" TYPE="sint32"><VALUE>2</VALUE>)"
               R"(</PROPERTY><PROPERTY.ARRAY NAME="__DERIVATION" TYPE="string"><VALUE.ARRAY>)"
               R"(<VALUE>CIM_SettingData</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>)"
               R"(<PROPERTY NAME="ConsistencyLevel" CLASSORIGIN="Msvm_X" PROPAGATED="true" )"
               R"(TYPE="uint8"><QUALIFIER NAME="q" TYPE="string"/><VALUE>2</VALUE></PROPERTY>)"
               R"(<PROPERTY NAME="Description" TYPE="string"></PROPERTY>)"
               R"(<PROPERTY NAME="Caption" TYPE="string"/>)" +
               property("GuestBackupType", "uint8", "1") +
               property("IgnoreNonSnapshottableDisks", "boolean", "TRUE")),
      // Any letter case of names, hexadecimal numbers, white space between elements.
      "<INSTANCE CLASSNAME=\"msvm_virtualsystemsnapshotsettingdata\">\n  " +
          property("CONSISTENCYLEVEL", "uint8", "0x2") + "\n" +
          property("guestbackuptype", "UINT8", "1") + "\n" +
          property("ignorenonsnapshottabledisks", "boolean", "True") + "\n</INSTANCE>",
  };
  for (const std::string& text : texts) {
    const auto settings = parse_snapshot_settings(text);
    ASSERT_TRUE(settings) << text;
    expect_good(*settings);
  }
}

TEST(SettingsText, NullPropertiesAreDefaults) {
  const auto settings = parse_snapshot_settings(
      instance(R"(<PROPERTY NAME="ConsistencyLevel" TYPE="uint8"></PROPERTY>)"
               R"(<PROPERTY NAME="IgnoreNonSnapshottableDisks" TYPE="boolean"/>)"
               R"(<PROPERTY NAME="ElementName" TYPE="string"/>)"));
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->consistency, ConsistencyLevel::unknown);
  EXPECT_FALSE(settings->ignore_non_snapshottable_disks);
  EXPECT_EQ(settings->element_name, "");
}

TEST(SettingsText, TakesNamesAndNotesFromSystemSettings) {
  const auto settings = parse_snapshot_settings(of_system(
      property("ElementName", "string", "a &amp; b &#x20ac;<![CDATA[ <c>]]>") +
      R"(<PROPERTY.ARRAY NAME="Notes" TYPE="string"><VALUE.ARRAY><VALUE>one</VALUE><VALUE/>)"
      R"(<VALUE>two
lines</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>)" +
      property("UserSnapshotType", "uint16", "5") +
      property("CreationTime", "datetime", "20261129141500.000000+000")));
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->element_name, "a & b \xe2\x82\xac <c>");
  EXPECT_EQ(settings->notes, (std::vector<std::string>{"one", "", "two\nlines"}));

  const auto base = parse_snapshot_settings("<INSTANCE CLASSNAME=\"CIM_SettingData\">" +
                                            property("ElementName", "string", "base") + kClose);
  ASSERT_TRUE(base);
  EXPECT_EQ(base->element_name, "base");
}

std::string repeated(const std::string& text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) {
    all += text;
  }
  return all;
}
std::string notes_of(std::size_t count, std::size_t bytes) {
  return of_system("<PROPERTY.ARRAY NAME=\"Notes\" TYPE=\"string\"><VALUE.ARRAY>" +
                   repeated("<VALUE>" + std::string(bytes, 'n') + "</VALUE>", count) +
                   "</VALUE.ARRAY></PROPERTY.ARRAY>");
}

TEST(SettingsText, KeepsLimits) {
  const auto named = [](const std::string& name) {
    return parse_snapshot_settings(instance(property("ElementName", "string", name)));
  };
  EXPECT_TRUE(named(std::string(100, 'n')));
  EXPECT_FALSE(named("varve: pending"));
  EXPECT_FALSE(named(std::string(101, 'n')));
  EXPECT_TRUE(named(repeated("\xe2\x82\xac", 85)));   // 255 bytes.
  EXPECT_FALSE(named(repeated("\xe2\x82\xac", 86)));  // 258 bytes, 86 characters.
  EXPECT_TRUE(parse_snapshot_settings(notes_of(1, 512)));
  EXPECT_TRUE(parse_snapshot_settings(notes_of(32, 16)));
  EXPECT_FALSE(parse_snapshot_settings(notes_of(1, 513)));
  EXPECT_FALSE(parse_snapshot_settings(notes_of(33, 1)));
  const std::string padded = kGood + std::string(kEmbeddedInstanceBytesMax - kGood.size(), ' ');
  EXPECT_TRUE(parse_snapshot_settings(padded));
  EXPECT_FALSE(parse_snapshot_settings(padded + ' '));
}

struct Refusal {
  const char* rule;
  std::string text;
};

std::vector<Refusal> malformed() {
  const std::string level = property("ConsistencyLevel", "uint8", "2");
  return {
      {"white space alone", "  "},
      {"no XML", "ConsistencyLevel=2"},
      {"MOF", "instance of Msvm_VirtualSystemSnapshotSettingData\n{\n  ConsistencyLevel = 2;\n};"},
      {"an object path", R"(\\H\root\virtualization\v2:Msvm_VirtualSystemSnapshotSettingData)"},
      {"cut short", kGood.substr(0, kGood.size() - 5)},
      {"not closed", kOpen + level},
      {"closed by another name", kOpen + level + "</instance>"},
      {"an attribute without quotes", "<INSTANCE CLASSNAME=X></INSTANCE>"},
      {"an attribute twice",
       "<INSTANCE CLASSNAME=\"CIM_SettingData\" CLASSNAME=\"CIM_SettingData\"></INSTANCE>"},
      {"an attribute of a property twice",
       instance(R"(<PROPERTY NAME="Caption" TYPE="string" TYPE="string"/>)")},
      {"a document type", "<!DOCTYPE INSTANCE>" + kGood},
      {"an entity of a document type", "<!DOCTYPE I [<!ENTITY a \"aa\"><!ENTITY b \"&a;&a;\">]>" +
                                           instance(property("ElementName", "string", "&b;"))},
      {"an entity nobody defined", instance(property("ElementName", "string", "&nbsp;"))},
      {"an ampersand alone", instance(property("ElementName", "string", "a & b"))},
      {"a character XML has not", instance(property("ElementName", "string", "&#0;"))},
      {"a surrogate", instance(property("ElementName", "string", "&#xd800;"))},
      {"beyond Unicode", instance(property("ElementName", "string", "&#x110000;"))},
      {"a control character", instance(property("ElementName", "string", "a\x01"))},
      {"a zero byte", kGood + std::string(1, '\0')},
      {"bytes that are no UTF-8", instance(property("ElementName", "string", "\xff"))},
      {"an overlong character", instance(property("ElementName", "string", "\xc0\xaf"))},
      {"UTF-16", std::string("<\0I\0N\0S\0T\0", 10)},
      {"two roots", kGood + kGood},
      {"text before the root", "x" + kGood},
      {"text behind the root", kGood + "x"},
      {"CDATA behind the root", kGood + "<![CDATA[ ]]>"},
      {"a processing instruction", "<?php ?>" + kGood},
      {"a declaration behind a comment", "<!-- c --><?xml version=\"1.0\"?>" + kGood},
  };
}

std::vector<Refusal> misshapen() {
  return {
      {"another root", "<CLASS NAME=\"Msvm_VirtualSystemSnapshotSettingData\"></CLASS>"},
      {"a root of another case",
       "<instance CLASSNAME=\"Msvm_VirtualSystemSnapshotSettingData\"></instance>"},
      {"no class", "<INSTANCE></INSTANCE>"},
      {"an empty class", "<INSTANCE CLASSNAME=\"\"></INSTANCE>"},
      {"text between properties", instance("text")},
      {"CDATA between properties", instance("<![CDATA[ ]]>")},
      {"an element nobody knows", instance("<METHOD NAME=\"x\"/>")},
      {"a property without a name", instance("<PROPERTY TYPE=\"string\"/>")},
      {"a property without a type", instance("<PROPERTY NAME=\"Caption\"/>")},
      {"two values", instance(R"(<PROPERTY NAME="Caption" TYPE="string"><VALUE>a</VALUE>)"
                              R"(<VALUE>b</VALUE></PROPERTY>)")},
      {"an element in a value", instance(property("Caption", "string", "<b/>"))},
      {"text beside a value",
       instance(R"(<PROPERTY NAME="Caption" TYPE="string">x<VALUE>a</VALUE></PROPERTY>)")},
      {"an array's value in a scalar",
       instance(R"(<PROPERTY NAME="Caption" TYPE="string"><VALUE.ARRAY/></PROPERTY>)")},
      {"a reference", instance(R"(<PROPERTY.REFERENCE NAME="Caption"/>)")},
  };
}

std::vector<Refusal> wrong() {
  const std::string level = property("ConsistencyLevel", "uint8", "2");
  return {
      {"an unknown class", "<INSTANCE CLASSNAME=\"Msvm_ComputerSystem\"></INSTANCE>"},
      {"a property twice", instance(level + level)},
      {"a property twice in another case",
       instance(level + property("consistencylevel", "uint8", "1"))},
      {"an unknown property", instance(property("Colour", "string", "blue"))},
      {"a property of another class", "<INSTANCE CLASSNAME=\"CIM_SettingData\">" + level + kClose},
      {"another type", instance(property("ConsistencyLevel", "uint16", "2"))},
      {"another type of a null",
       instance(R"(<PROPERTY NAME="ConsistencyLevel" TYPE="string"></PROPERTY>)")},
      {"a scalar as an array",
       instance(R"(<PROPERTY.ARRAY NAME="ConsistencyLevel" TYPE="uint8"/>)")},
      {"an array as a scalar", of_system(property("Notes", "string", "n"))},
      {"beyond the value map", instance(property("ConsistencyLevel", "uint8", "3"))},
      {"beyond the other value map", instance(property("GuestBackupType", "uint8", "3"))},
      {"beyond the type", instance(property("ConsistencyLevel", "uint8", "256"))},
      {"beyond every type",
       instance(property("ConsistencyLevel", "uint8", "99999999999999999999999"))},
      {"a negative number", instance(property("ConsistencyLevel", "uint8", "-1"))},
      {"a plus sign", instance(property("ConsistencyLevel", "uint8", "+1"))},
      {"white space round a number", instance(property("ConsistencyLevel", "uint8", " 1"))},
      {"an empty number", instance(property("ConsistencyLevel", "uint8", ""))},
      {"half a hexadecimal number", instance(property("ConsistencyLevel", "uint8", "0x"))},
      {"a word", instance(property("ConsistencyLevel", "uint8", "Crash"))},
      {"a number as boolean", instance(property("IgnoreNonSnapshottableDisks", "boolean", "1"))},
      {"an empty boolean", instance(property("IgnoreNonSnapshottableDisks", "boolean", ""))},
      {"a date that is none", of_system(property("CreationTime", "datetime", "yesterday"))},
      {"UserSnapshotType off its map", of_system(property("UserSnapshotType", "uint16", "1"))},
  };
}

TEST(SettingsText, RefusesMalformedTexts) {
  for (const Refusal& each : malformed()) {
    EXPECT_FALSE(parse_cim_instance(each.text)) << each.rule << ": " << each.text;
    EXPECT_FALSE(parse_snapshot_settings(each.text)) << each.rule << ": " << each.text;
  }
}

TEST(SettingsText, RefusesWhatIsNoInstance) {
  for (const Refusal& each : misshapen()) {
    EXPECT_FALSE(parse_cim_instance(each.text)) << each.rule << ": " << each.text;
    EXPECT_FALSE(parse_snapshot_settings(each.text)) << each.rule << ": " << each.text;
  }
}

TEST(SettingsText, RefusesWhatTheClassDoesNotHave) {
  for (const Refusal& each : wrong()) {
    EXPECT_TRUE(parse_cim_instance(each.text)) << each.rule << ": " << each.text;
    EXPECT_FALSE(parse_snapshot_settings(each.text)) << each.rule << ": " << each.text;
  }
}

TEST(SettingsText, DeepNestingCostsNothing) {
  std::string text = kOpen;
  while (text.size() + 2 * sizeof("<QUALIFIER>") < kEmbeddedInstanceBytesMax) {
    text += "<a>";
  }
  EXPECT_FALSE(parse_snapshot_settings(text));
}

TEST(SettingsText, SurvivesMutation) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  const std::string pool[] = {"<",       ">",     "/",      "&",       "\"",   "<![CDATA[",
                              "]]>",     "<!--",  "-->",    "<?",      "?>",   "<!DOCTYPE",
                              "&#x41;",  "&amp;", "VALUE",  "\xc3",    "\xa9", std::string(1, '\0'),
                              "<VALUE>", "=",     " NAME=", "PROPERTY"};
  std::uint64_t accepted = 0;
  for (int run = 0; run < 20'000; ++run) {
    std::string text = kGood;
    for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
      const std::size_t at = random.below(text.size());
      switch (random.below(4)) {
        case 0:
          text.insert(at, pool[random.below(std::size(pool))]);
          break;
        case 1:
          text.erase(at, 1 + random.below(16));
          break;
        case 2:
          text[at] = static_cast<char>(random.below(256));
          break;
        default:
          text.insert(at, text.substr(random.below(text.size()), random.below(80)));
          break;
      }
      text += text.empty() ? "x" : "";
    }
    const auto settings = parse_snapshot_settings(text);
    if (settings) {
      ++accepted;
      EXPECT_LE(settings->consistency, ConsistencyLevel::crash);
      EXPECT_LE(settings->guest_backup, GuestBackupType::copy);
      EXPECT_TRUE(settings->element_name.empty() || is_element_name(settings->element_name));
    }
  }
  // Mutations that change nothing of weight (the case of a letter, a number) pass: the run reaches
  // what lies behind the grammar.
  EXPECT_GT(accepted, 10u);
}

TEST(CimWriter, WritesWhatTheReaderReads) {
  CimWriter writer("Msvm_VirtualSystemSettingData");
  writer.text("ElementName", "a<b>&\"c\"\r\n\x01")
      .texts("Notes", {"one", ""})
      .number("UserSnapshotType", "uint16", 3)
      .boolean("IsSaved", true)
      .null("Parent", "string");
  const std::string text = writer.take();
  EXPECT_EQ(text.find('\n'), text.rfind('\n'));
  EXPECT_NE(text.find("<PROPERTY NAME=\"IsSaved\" TYPE=\"boolean\"><VALUE>true</VALUE></PROPERTY>"),
            std::string::npos);
  const auto back = parse_cim_instance(text);
  ASSERT_TRUE(back) << text;
  ASSERT_EQ(back->properties.size(), 5u);
  EXPECT_EQ(back->properties[0].values[0], "a<b>&\"c\"\r\n");
  EXPECT_EQ(back->properties[1].values, (std::vector<std::string>{"one", ""}));
  EXPECT_TRUE(back->properties[4].is_null);
  EXPECT_TRUE(parse_snapshot_settings(text));
}

}  // namespace
}  // namespace varve
