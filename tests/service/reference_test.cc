// Goal: every accepted spelling of a reference names the same object, every other text is refused,
// and what is printed is canonical. Method: tables of spellings, and seeded mutations that must
// neither crash nor name an object the text does not hold.
#include "service/reference.h"

#include <iostream>

#include <gtest/gtest.h>

#include "sim/random.h"

namespace varve {
namespace {

constexpr const char* kGuid = "7F1D2C3E-0001-4ABC-8DEF-00112233AABB";

const References& references() {
  static const References kReferences("HOST1");
  return kReferences;
}
Uuid guid() {
  return *Uuid::parse(kGuid);
}

TEST(Reference, PrintsTheCanonicalForm) {
  const std::string place = R"(\\HOST1\root\virtualization\v2:)";
  const std::string id = kGuid;
  EXPECT_EQ(
      references().print(ReferenceKind::system, guid()),
      place + R"(Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",Name=")" + id + '"');
  EXPECT_EQ(references().print(ReferenceKind::setting_data, guid()),
            place + R"(Msvm_VirtualSystemSettingData.InstanceID="Microsoft:)" + id + '"');
  EXPECT_EQ(references().print(ReferenceKind::job, guid()),
            place + R"(Msvm_ConcreteJob.InstanceID=")" + id + '"');
  EXPECT_EQ(references().print(ReferenceKind::collection, guid()),
            place + R"(Msvm_VirtualSystemCollection.CollectionID=")" + id + '"');
  EXPECT_EQ(references().print(ReferenceKind::snapshot_collection, guid()),
            place + R"(Msvm_SnapshotCollection.CollectionID=")" + id + '"');
}

TEST(Reference, ReadsWhatItPrints) {
  for (int kind = 0; kind <= static_cast<int>(ReferenceKind::snapshot_collection); ++kind) {
    const auto each = static_cast<ReferenceKind>(kind);
    EXPECT_EQ(references().parse(each, references().print(each, guid())), guid()) << kind;
  }
}

TEST(Reference, AcceptsEverySpelling) {
  const std::string keys =
      R"(CreationClassName="Msvm_ComputerSystem",Name="7F1D2C3E-0001-4ABC-8DEF-00112233AABB")";
  const std::string spellings[] = {
      R"(\\HOST1\root\virtualization\v2:Msvm_ComputerSystem.)" + keys,
      R"(\\host1\ROOT\Virtualization\V2:msvm_computersystem.)" + keys,
      R"(\\.\root\virtualization\v2:Msvm_ComputerSystem.)" + keys,
      R"(//./root/virtualization/v2:Msvm_ComputerSystem.)" + keys,
      R"(//HOST1/root\virtualization/v2:Msvm_ComputerSystem.)" + keys,
      R"(root\virtualization\v2:Msvm_ComputerSystem.)" + keys,
      "Msvm_ComputerSystem." + keys,
      "CIM_ComputerSystem." + keys,
      R"(Msvm_ComputerSystem.CreationClassName='Msvm_ComputerSystem',)"
      R"(Name='7f1d2c3e-0001-4abc-8def-00112233aabb')",
      R"(Msvm_ComputerSystem.Name="7F1D2C3E-0001-4ABC-8DEF-00112233AABB",)"
      R"(CreationClassName="Msvm_ComputerSystem")",
      R"(Msvm_ComputerSystem.NAME="7F1D2C3E-0001-4ABC-8DEF-00112233AABB",)"
      R"(creationclassname="MSVM_COMPUTERSYSTEM")",
  };
  for (const std::string& text : spellings) {
    EXPECT_EQ(references().parse(ReferenceKind::system, text), guid()) << text;
  }
}

TEST(Reference, AcceptsBaseClasses) {
  const std::string id = kGuid;
  EXPECT_EQ(references().parse(ReferenceKind::setting_data,
                               "CIM_VirtualSystemSettingData.InstanceID=\"microsoft:" + id + '"'),
            guid());
  EXPECT_EQ(references().parse(ReferenceKind::job, "CIM_ConcreteJob.InstanceID=\"" + id + '"'),
            guid());
  for (const ReferenceKind kind : {ReferenceKind::collection, ReferenceKind::snapshot_collection}) {
    EXPECT_EQ(references().parse(kind, "CIM_CollectionOfMSEs.CollectionID=\"" + id + '"'), guid());
  }
}

TEST(Reference, TakesEscapesApart) {
  const auto path = parse_object_path(R"(X.A="a\"b\\c\'d",B='e"f')");
  ASSERT_TRUE(path);
  ASSERT_EQ(path->keys.size(), 2u);
  EXPECT_EQ(path->keys[0].value, R"(a"b\c'd)");
  EXPECT_EQ(path->keys[1].value, R"(e"f)");
}

TEST(Reference, RefusesOtherTexts) {
  const std::string id = kGuid;
  const std::string good = "CreationClassName=\"Msvm_ComputerSystem\",Name=\"" + id + '"';
  const std::string texts[] = {
      "",
      " ",
      id,
      "Msvm_ComputerSystem",
      "Msvm_ComputerSystem.",
      "Msvm_ComputerSystem=@",
      "." + good,
      // No host, no namespace, half of one, other ones.
      R"(\HOST1\root\virtualization\v2:Msvm_ComputerSystem.)" + good,
      R"(\\\root\virtualization\v2:Msvm_ComputerSystem.)" + good,
      R"(\\HOST1\Msvm_ComputerSystem.)" + good,
      R"(\\HOST1:Msvm_ComputerSystem.)" + good,
      R"(\\HOST2\root\virtualization\v2:Msvm_ComputerSystem.)" + good,
      R"(\\HOST1\root\cimv2:Msvm_ComputerSystem.)" + good,
      R"(\\HOST1\root\virtualization:Msvm_ComputerSystem.)" + good,
      R"(\\HOST1\root\\virtualization\v2:Msvm_ComputerSystem.)" + good,
      R"(\root\virtualization\v2:Msvm_ComputerSystem.)" + good,
      ":Msvm_ComputerSystem." + good,
      // Another class.
      "Msvm_VirtualSystemSettingData." + good,
      "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" + id + '"',
      "Msvm_ComputerSystemX." + good,
      // Keys: missing, one too many, twice, another value.
      "Msvm_ComputerSystem.Name=\"" + id + '"',
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\"",
      "Msvm_ComputerSystem." + good + ",Other=\"1\"",
      "Msvm_ComputerSystem." + good + ",name=\"" + id + '"',
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_Other\",Name=\"" + id + '"',
      // White space, quoting, what follows.
      "Msvm_ComputerSystem. " + good,
      " Msvm_ComputerSystem." + good,
      "Msvm_ComputerSystem." + good + " ",
      "Msvm_ComputerSystem." + good + ",",
      "Msvm_ComputerSystem." + good + "x",
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\", Name=\"" + id + '"',
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=" + id,
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" + id,
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" + id + '\'',
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"\\x" + id + '"',
      // Values that are no GUID.
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"HOST1\"",
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"{" + id + "}\"",
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" + id + " \"",
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"\"",
      "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","
      "Name=\"00000000-0000-0000-0000-000000000000\"",
      // Too long to be one.
      "Msvm_ComputerSystem." + good + ",Other=\"" + std::string(kReferenceBytesMax, 'x') + '"',
      // The other language of the house.
      "<INSTANCE CLASSNAME=\"Msvm_ComputerSystem\"></INSTANCE>",
  };
  for (const std::string& text : texts) {
    EXPECT_FALSE(references().parse(ReferenceKind::system, text)) << text;
  }
  EXPECT_FALSE(references().parse(ReferenceKind::system, std::nullopt));
}

TEST(Reference, RefusesInstanceIdsOfOtherShape) {
  const std::string id = kGuid;
  for (const std::string& value :
       {id, "Microsoft" + id, "Microsoft:" + id + "\\\\1", std::string("Microsoft:Definition"),
        "Other:" + id, std::string("M")}) {
    const std::string text = "Msvm_VirtualSystemSettingData.InstanceID=\"" + value + '"';
    EXPECT_FALSE(references().parse(ReferenceKind::setting_data, text)) << text;
  }
}

TEST(Reference, SurvivesMutation) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  constexpr std::string_view kPool = "\\/.:=\"',@ \t{}()Mm_17aF\n\0\xff";
  const std::string start = references().print(ReferenceKind::system, guid());
  for (int run = 0; run < 50'000; ++run) {
    std::string text = start;
    for (std::uint64_t changes = 1 + random.below(4); changes > 0; --changes) {
      const std::size_t at = random.below(text.size());
      switch (random.below(4)) {
        case 0:
          text[at] = kPool[random.below(kPool.size())];
          break;
        case 1:
          text.insert(at, 1, kPool[random.below(kPool.size())]);
          break;
        case 2:
          text.erase(at, 1 + random.below(8));
          break;
        default:
          text.insert(at, text.substr(random.below(text.size()), random.below(12)));
          break;
      }
      text += text.empty() ? "x" : "";
    }
    const auto named = references().parse(ReferenceKind::system, text);
    // Whatever is accepted holds the GUID it names and prints as a path that names the same.
    if (named) {
      EXPECT_EQ(references().parse(ReferenceKind::system,
                                   references().print(ReferenceKind::system, *named)),
                named);
    }
  }
}

}  // namespace
}  // namespace varve
