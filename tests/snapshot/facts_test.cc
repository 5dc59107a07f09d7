// What Varve keeps with its snapshots: the record's bytes, the tree, and what QEMU leaves of it.
#include <gtest/gtest.h>
#include <varve/lineage.h>

#include "format/snapshot_facts.h"
#include "sim/random.h"
#include "snapshot/facts_table.h"
#include "snapshot/snapshot_ground.h"

namespace varve::test {
namespace {

SnapshotFacts example() {
  SnapshotFacts facts;
  facts.uuid = Uuid::make_random();
  facts.parent = Uuid::make_random();
  facts.image = Uuid::make_random();
  facts.group = Uuid::make_random();
  facts.members = {facts.image, Uuid::make_random()};
  facts.member_index = 1;
  facts.flags = SnapshotFacts::kPending | SnapshotFacts::kParentKnown;
  facts.witness = 0x0123456789abcdef;
  facts.settings = "memory=4G";
  facts.state_digest.fill(0x5a);
  return facts;
}

TEST(Uuid, HasTheTextOfItsBytes) {
  const auto uuid = Uuid::parse("00112233-4455-6677-8899-AABBccddeeff");
  ASSERT_TRUE(uuid.has_value());
  EXPECT_EQ(uuid->text(), "00112233-4455-6677-8899-aabbccddeeff");
  EXPECT_EQ(uuid->bytes[15], 0xff);
  for (const char* bad :
       {"", "00112233-4455-6677-8899-aabbccddeef", "{00112233-4455-6677-8899-aabb",
        "00112233-4455-6677-8899-aabbccddeefg", "001122334-455-6677-8899-aabbccddeeff"}) {
    EXPECT_FALSE(Uuid::parse(bad).has_value()) << bad;
  }
  const Uuid random = Uuid::make_random();
  EXPECT_EQ(random.bytes[6] >> 4, 4);
  EXPECT_EQ(random.bytes[8] >> 6, 2);
  EXPECT_EQ(Uuid::parse(random.text()), random);
  EXPECT_NE(Uuid::make_random(), random);
}

TEST(SnapshotFacts, ReadsWhatItWrote) {
  const SnapshotFacts facts = example();
  const auto bytes = facts.encode();
  ASSERT_TRUE(bytes.has_value());
  const auto read = SnapshotFacts::decode(*bytes);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->encode().value(), *bytes);
  EXPECT_EQ(read->uuid, facts.uuid);
  EXPECT_EQ(read->members, facts.members);
  EXPECT_EQ(read->settings, facts.settings);
}

// Goal: what is not exactly a record of ours is not known. Method: every field set to other values,
// every length, and seeded noise; what is accepted comes out byte for byte the same.
TEST(SnapshotFacts, KnowsNothingOfHostileBytes) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  const std::vector<std::byte> good = example().encode().value();
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(SnapshotFacts::decode(ConstBytes(good).first(length)).has_value()) << length;
  }
  std::vector<std::byte> longer = good;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(SnapshotFacts::decode(longer).has_value());
  sim::Random random(seed);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes = good;
    for (std::uint64_t changes = random.between(1, 4); changes != 0; --changes) {
      bytes[static_cast<std::size_t>(random.below(random.chance(70) ? 32 : bytes.size()))] =
          static_cast<std::byte>(random.below(256));
    }
    if (const auto read = SnapshotFacts::decode(bytes)) {
      EXPECT_EQ(read->encode().value(), bytes);
    }
  }
}

TEST(SnapshotFacts, RefusesWhatEveryRuleForbids) {
  using Raw = RawSnapshotFacts;
  const std::vector<std::byte> good = example().encode().value();
  const auto with = [&](std::size_t offset, std::size_t size, std::uint64_t value) {
    std::vector<std::byte> bytes = good;
    for (std::size_t i = 0; i < size; ++i) {
      bytes[offset + size - 1 - i] = static_cast<std::byte>(value >> (8 * i));
    }
    return SnapshotFacts::decode(bytes).has_value();
  };
  EXPECT_TRUE(with(offsetof(Raw, member_index), 2, 0));
  EXPECT_FALSE(with(offsetof(Raw, magic), 4, 1));
  EXPECT_FALSE(with(offsetof(Raw, version), 2, 2));
  EXPECT_FALSE(with(offsetof(Raw, length), 2, good.size() - 1));
  EXPECT_FALSE(with(offsetof(Raw, flags), 4, 0x80));
  EXPECT_FALSE(with(offsetof(Raw, settings_bytes), 2, 0xffff));
  EXPECT_FALSE(with(offsetof(Raw, member_count), 2, 1));
  EXPECT_FALSE(with(offsetof(Raw, member_index), 2, 2));
  EXPECT_FALSE(with(offsetof(Raw, reserved0), 2, 1));
  EXPECT_FALSE(with(offsetof(Raw, reserved1), 4, 1));
  // Pending is a word of groups.
  SnapshotFacts alone = example();
  alone.group = Uuid();
  alone.members.clear();
  alone.member_index = 0;
  EXPECT_FALSE(SnapshotFacts::decode(alone.encode().value()).has_value());
  alone.set(SnapshotFacts::kPending, false);
  EXPECT_TRUE(SnapshotFacts::decode(alone.encode().value()).has_value());
}

// The largest record is the largest extra data QEMU takes: 1,024 bytes; one more is refused here.
TEST(SnapshotFacts, KeepsToQemusLimit) {
  SnapshotFacts facts = example();
  facts.members.resize(7, Uuid::make_random());
  facts.settings.assign(SnapshotFacts::kSettingsBytesMax, 's');
  EXPECT_TRUE(facts.encode().has_value());
  facts.members.resize(8);
  const auto refused = facts.encode();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::out_of_range);
  EXPECT_EQ(refused.error().limit, 1000u);
}

class SnapshotFactsTest : public SnapshotGround {
 protected:
  Lineage lineage() { return snapshot_lineage(*image_).value(); }
  std::string parent_of(const std::string& name) {
    const Lineage tree = lineage();
    const LineageNode& node = tree.snapshots[find(name)];
    if (node.parent == Lineage::kNone) {
      return node.is_known ? "none" : "unknown";
    }
    return list()[node.parent].name;
  }
  std::string current() {
    const Lineage tree = lineage();
    if (tree.current == Lineage::kNone) {
      return tree.is_current_known ? "none" : "unknown";
    }
    return list()[tree.current].name;
  }
  void apply(const std::string& name) { VARVE_MUST(apply_snapshot(*image_, find(name))); }
  void remove(const std::string& name) { VARVE_MUST(delete_snapshot(*image_, find(name))); }
};

TEST_F(SnapshotFactsTest, TellsWhatItWasGiven) {
  make(options_of(1 << 20));
  SnapshotCreateOptions options;
  options.uuid = Uuid::make_random();
  options.settings = std::string(kSnapshotSettingsBytesMax, 'x');
  options.date_seconds = 1'700'000'000;
  options.vm_clock_nanoseconds = 77;
  options.icount = 1234;
  EXPECT_EQ(take("first", options).uuid, options.uuid);
  reopen();
  const SnapshotInfo info = list().at(0);
  EXPECT_EQ(info.uuid, options.uuid);
  EXPECT_EQ(info.settings, options.settings);
  EXPECT_EQ(info.vm_clock_nanoseconds, 77u);
  EXPECT_EQ(info.icount, 1234);
  EXPECT_TRUE(info.parent.is_null());
  EXPECT_FALSE(info.pending);
  EXPECT_FALSE(info.has_state_digest);
  EXPECT_EQ(find(options.uuid.text()), 0u);
  options.settings.push_back('x');
  EXPECT_EQ(create_snapshot(*image_, options).error().code, ErrorCode::invalid_argument);
  check();
}

TEST_F(SnapshotFactsTest, RebuildsTheTreeFromTheImage) {
  make(options_of(1 << 20));
  EXPECT_EQ(current(), "none");
  take("a");
  take("b");
  take("c");
  reopen();
  EXPECT_EQ(parent_of("a"), "none");
  EXPECT_EQ(parent_of("b"), "a");
  EXPECT_EQ(parent_of("c"), "b");
  EXPECT_EQ(current(), "c");
  apply("a");
  reopen();
  EXPECT_EQ(current(), "a");
  take("d");
  reopen();
  EXPECT_EQ(parent_of("d"), "a");
  EXPECT_EQ(parent_of("c"), "b");
  check();
}

TEST_F(SnapshotFactsTest, TellsWhatWasAppliedLast) {
  make(options_of(1 << 20));
  const auto last_applied = [&] { return snapshot_lineage(*image_)->last_applied; };
  for (int i = 0; i < 2; ++i) {
    VARVE_MUST(create_snapshot(*image_, {}));
  }
  EXPECT_EQ(last_applied(), Lineage::kNone);
  VARVE_MUST(apply_snapshot(*image_, 1));
  EXPECT_EQ(last_applied(), 1u);
  VARVE_MUST(apply_snapshot(*image_, 0));
  VARVE_MUST(create_snapshot(*image_, {}));
  EXPECT_EQ(snapshot_lineage(*image_)->current, 2u);
  EXPECT_EQ(last_applied(), 0u);
  reopen();
  EXPECT_EQ(last_applied(), 0u);
  VARVE_MUST(delete_snapshot(*image_, 1));
  EXPECT_EQ(last_applied(), 0u);
  VARVE_MUST(delete_snapshot(*image_, 0));
  EXPECT_EQ(last_applied(), Lineage::kNone);
  EXPECT_EQ(snapshot_lineage(*image_)->current, 0u);
}

TEST_F(SnapshotFactsTest, DeletePointsChildrenToTheParent) {
  make(options_of(1 << 20));
  take("a");
  take("b");
  take("c");
  apply("b");
  take("d");
  apply("b");
  remove("b");
  reopen();
  EXPECT_EQ(parent_of("c"), "a");
  EXPECT_EQ(parent_of("d"), "a");
  EXPECT_EQ(current(), "a");
  remove("a");
  EXPECT_EQ(parent_of("c"), "none");
  EXPECT_EQ(parent_of("d"), "none");
  EXPECT_EQ(current(), "unknown");
  check();
}

// QEMU takes, applies and deletes other snapshots in between; ours stay, what it did is not known.
TEST_F(SnapshotFactsTest, QemuKeepsOurFactsAndWritesNone) {
  VARVE_NEED_QEMU_TOOLS();
  make(options_of(1 << 20));
  SnapshotCreateOptions options;
  options.settings = std::string(kSnapshotSettingsBytesMax, 's');
  const Uuid a = take("a", options).uuid;
  const Uuid b = take("b").uuid;
  by_qemu("qemu-img snapshot -c foreign image.qcow2");
  EXPECT_EQ(list().at(0).uuid, a);
  EXPECT_EQ(list().at(0).settings, options.settings);
  EXPECT_EQ(list().at(1).uuid, b);
  EXPECT_TRUE(list().at(2).uuid.is_null());
  EXPECT_EQ(parent_of("b"), "a");
  EXPECT_EQ(parent_of("foreign"), "unknown");
  EXPECT_EQ(current(), "unknown");
  take("c");
  EXPECT_EQ(parent_of("c"), "unknown");
  EXPECT_EQ(current(), "c");
  // Applied by us it takes part in the tree from here on, but where it came from stays unknown.
  apply("foreign");
  EXPECT_EQ(current(), "foreign");
  take("d");
  EXPECT_EQ(parent_of("d"), "foreign");
  EXPECT_EQ(parent_of("foreign"), "unknown");
  by_qemu("qemu-img snapshot -d a image.qcow2 && qemu-img snapshot -d foreign image.qcow2");
  EXPECT_EQ(parent_of("b"), "unknown");
  EXPECT_EQ(parent_of("d"), "unknown");
  EXPECT_EQ(list().at(0).uuid, b);
  check();
}

// What an entry with the longest settings holds opens in QEMU; extra data of 1,032 bytes, which it
// would refuse, is never written.
TEST_F(SnapshotFactsTest, TheLargestRecordOpensInQemu) {
  VARVE_NEED_QEMU_TOOLS();
  make(options_of(1 << 20));
  SnapshotTable table;
  SnapshotCreateOptions options;
  options.settings = std::string(kSnapshotSettingsBytesMax, 's');
  NewSnapshot made = describe_new(table, options);
  made.facts.members.resize(7, Uuid::make_random());
  made.facts.group = Uuid::make_random();
  made.entry.l1_entries = 1;
  ASSERT_TRUE(append_snapshot(table, made.entry, made.facts).has_value());
  EXPECT_EQ(table.serialised_bytes(), 40u + 24 + 992 + 8);
  SnapshotEntry& entry = table.entries.back();
  entry.unknown_extra.resize(1008);
  std::vector<std::byte> bytes(table.serialised_bytes());
  EXPECT_EQ(table.serialise(bytes).error().code, ErrorCode::out_of_range);
  take("full", options);
  by_qemu("qemu-img info image.qcow2 && qemu-img snapshot -c other image.qcow2");
  EXPECT_EQ(list().at(0).settings, options.settings);
}

// An image of Varve's has its UUID from its creation on, whatever QEMU does to the header.
TEST_F(SnapshotFactsTest, AnImageIsNamedInItsHeader) {
  VARVE_NEED_QEMU_TOOLS();
  make(options_of(1 << 20));
  const Uuid uuid = lineage().image;
  ASSERT_FALSE(uuid.is_null());
  by_qemu("qemu-img amend -o lazy_refcounts=on image.qcow2 && qemu-img snapshot -c q image.qcow2");
  take("a");
  EXPECT_EQ(lineage().image, uuid);
  EXPECT_EQ(facts_of(metadata().snapshots.entries.back())->image, uuid);
  remove("a");
  EXPECT_EQ(lineage().image, uuid);
}

// A cluster 0 of 512 bytes has no room for it: the facts alone tell the UUID.
TEST_F(SnapshotFactsTest, AnImageWithoutRoomIsNamedByItsSnapshots) {
  CreateOptions options = options_of(1 << 20);
  options.cluster_bytes = 512;
  make(options);
  EXPECT_TRUE(lineage().image.is_null());
  take("a");
  EXPECT_FALSE(lineage().image.is_null());
}

// Facts of a later version are kept byte for byte by everything that writes the table.
TEST_F(SnapshotFactsTest, PreservesWhatItDoesNotKnow) {
  make(options_of(1 << 20));
  take("a");
  std::vector<std::byte>& extra = metadata().snapshots.entries[0].unknown_extra;
  extra[5] = std::byte{2};
  const std::vector<std::byte> stranger = extra;
  take("b");
  apply("a");
  VARVE_MUST(rename_snapshot(*image_, 0, "renamed"));
  take("c");
  remove("b");
  reopen();
  EXPECT_EQ(metadata().snapshots.entries[0].unknown_extra, stranger);
  EXPECT_TRUE(list().at(0).uuid.is_null());
  EXPECT_EQ(parent_of("renamed"), "unknown");
  EXPECT_EQ(parent_of("c"), "unknown");
  check();
}

TEST_F(SnapshotFactsTest, CutsCirclesAndSharedNames) {
  make(options_of(1 << 20));
  take("a");
  take("b");
  take("c");
  auto& entries = metadata().snapshots.entries;
  auto a = *facts_of(entries[0]);
  a.parent = facts_of(entries[2])->uuid;
  ASSERT_TRUE(set_facts(entries[0], a).has_value());
  Lineage tree = lineage();
  std::size_t unknown = 0;
  for (std::size_t start = 0; start < 3; ++start) {
    unknown += tree.snapshots[start].is_known ? 0 : 1;
    std::size_t at = start;
    for (int steps = 0; at != Lineage::kNone; ++steps) {
      ASSERT_LT(steps, 3);
      at = tree.snapshots[at].parent;
    }
  }
  EXPECT_EQ(unknown, 1u);
  a.uuid = facts_of(entries[1])->uuid;  // Two snapshots of one UUID: whose child is c?
  ASSERT_TRUE(set_facts(entries[0], a).has_value());
  EXPECT_EQ(parent_of("c"), "unknown");
}

}  // namespace
}  // namespace varve::test
