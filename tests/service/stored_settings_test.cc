// Goal: what is kept in an image comes back, fits, and other bytes are never taken for it. Method:
// round trips at the limits, every prefix, and seeded changes of single bytes.
#include "service/stored_settings.h"

#include <gtest/gtest.h>

#include "service/settings_text.h"
#include "sim/random.h"

namespace varve {
namespace {

Uuid uuid_of(std::uint8_t seed) {
  Uuid uuid;
  uuid.bytes.fill(seed);
  return uuid;
}

StoredSettings full() {
  StoredSettings settings;
  settings.system = uuid_of(1);
  settings.snapshot = uuid_of(2);
  settings.collection = uuid_of(3);
  settings.snapshot_collection = uuid_of(4);
  settings.first_system = uuid_of(5);
  settings.type = VirtualSystemSnapshotType::full;
  settings.state = EnabledState::saved;
  settings.consistency = ConsistencyLevel::application;
  settings.guest_backup = GuestBackupType::copy;
  settings.ignore_non_snapshottable_disks = true;
  settings.holds_state = true;
  settings.disk_index = 258;
  settings.disk_count = 300;
  settings.system_count = 7;
  settings.notes = {"one", "", std::string("t\0o", 3)};
  return settings;
}

TEST(StoredSettings, ComeBack) {
  EXPECT_EQ(decode_settings(encode_settings(full())), full());
  StoredSettings plain;
  plain.system = uuid_of(9);
  plain.snapshot = uuid_of(8);
  plain.first_system = uuid_of(9);
  EXPECT_EQ(decode_settings(encode_settings(plain)), plain);
}

TEST(StoredSettings, FitWithTheMostNotes) {
  StoredSettings settings = full();
  settings.notes.assign(kNotesCountMax, std::string(kNotesBytesMax / kNotesCountMax, 'n'));
  EXPECT_LE(encode_settings(settings).size(), kSnapshotSettingsBytesMax);
  EXPECT_EQ(decode_settings(encode_settings(settings)), settings);
}

TEST(StoredSettings, RefuseOtherBytes) {
  const std::string good = encode_settings(full());
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(decode_settings(good.substr(0, size))) << size;
  }
  EXPECT_FALSE(decode_settings(good + "x"));
  EXPECT_FALSE(decode_settings("{\"some\": \"other embedder\"}"));
}

TEST(StoredSettings, RefuseValuesOffTheirMaps) {
  const auto changed = [](auto&& change) {
    StoredSettings settings = full();
    change(settings);
    return decode_settings(encode_settings(settings)).has_value();
  };
  EXPECT_TRUE(changed([](StoredSettings&) {}));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.type = VirtualSystemSnapshotType(4); }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.state = EnabledState::paused; }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.consistency = ConsistencyLevel(3); }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.guest_backup = GuestBackupType(3); }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.system = {}; }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.snapshot = {}; }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.first_system = {}; }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.collection = {}; }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.disk_index = 300; }));
  EXPECT_FALSE(changed([](StoredSettings& s) { s.system_count = 0; }));
}

TEST(StoredSettings, SurviveMutation) {
  const std::uint64_t seed = sim::seed_from_environment();
  SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
  sim::Random random(seed);
  const std::string good = encode_settings(full());
  for (int run = 0; run < 50'000; ++run) {
    std::string bytes = good;
    bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
    if (random.below(4) == 0) {
      bytes.resize(random.below(bytes.size()));
    }
    const auto settings = decode_settings(bytes);
    if (settings) {
      EXPECT_EQ(decode_settings(encode_settings(*settings)), settings);
    }
  }
}

}  // namespace
}  // namespace varve
