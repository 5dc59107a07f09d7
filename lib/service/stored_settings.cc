#include "service/stored_settings.h"

#include "service/settings_text.h"

namespace varve {
namespace {

constexpr std::string_view kMagic = "VS";
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kFixedBytes = 2 + 1 + 5 * 16 + 1 + 2 + 4 + 3 * 2 + 1;
static_assert(kFixedBytes + kNotesBytesMax + 2 * kNotesCountMax <= kSnapshotSettingsBytesMax);

class Encoder {
 public:
  void number8(unsigned value) { bytes_ += static_cast<char>(value); }
  void number16(unsigned value) {
    number8(value >> 8);
    number8(value & 0xff);
  }
  void text(std::string_view value) { bytes_ += value; }
  void uuid(const Uuid& value) {
    for (const std::uint8_t byte : value.bytes) {
      number8(byte);
    }
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads what Encoder wrote; past the end it reads zeros and remembers.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) noexcept : bytes_(bytes) {}

  std::uint8_t number8() noexcept {
    if (bytes_.empty()) {
      is_short_ = true;
      return 0;
    }
    const auto value = static_cast<std::uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return value;
  }
  std::uint16_t number16() noexcept {
    const unsigned high = number8();
    return static_cast<std::uint16_t>(high << 8 | number8());
  }
  std::string_view text(std::size_t size) noexcept {
    if (size > bytes_.size()) {
      is_short_ = true;
      return {};
    }
    const std::string_view value = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return value;
  }
  Uuid uuid() noexcept {
    Uuid value;
    for (std::uint8_t& byte : value.bytes) {
      byte = number8();
    }
    return value;
  }
  [[nodiscard]] bool is_whole() const noexcept { return !is_short_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool is_short_ = false;
};

bool is_in_range(const StoredSettings& settings) noexcept {
  const bool is_type_known = settings.type == VirtualSystemSnapshotType::full ||
                             settings.type == VirtualSystemSnapshotType::disk;
  const bool is_state_known = settings.state == EnabledState::running ||
                              settings.state == EnabledState::off ||
                              settings.state == EnabledState::saved;
  return is_type_known && is_state_known && settings.consistency <= ConsistencyLevel::crash &&
         settings.guest_backup <= GuestBackupType::copy && !settings.system.is_null() &&
         !settings.snapshot.is_null() && !settings.first_system.is_null() &&
         settings.disk_index < settings.disk_count && settings.system_count > 0 &&
         settings.collection.is_null() == settings.snapshot_collection.is_null();
}

}  // namespace

std::string encode_settings(const StoredSettings& settings) {
  Encoder encoder;
  encoder.text(kMagic);
  encoder.number8(kVersion);
  encoder.uuid(settings.system);
  encoder.uuid(settings.snapshot);
  encoder.uuid(settings.collection);
  encoder.uuid(settings.snapshot_collection);
  encoder.uuid(settings.first_system);
  encoder.number8(static_cast<unsigned>(settings.type));
  encoder.number16(static_cast<unsigned>(settings.state));
  encoder.number8(static_cast<unsigned>(settings.consistency));
  encoder.number8(static_cast<unsigned>(settings.guest_backup));
  encoder.number8(settings.ignore_non_snapshottable_disks ? 1 : 0);
  encoder.number8(settings.holds_state ? 1 : 0);
  encoder.number16(settings.disk_index);
  encoder.number16(settings.disk_count);
  encoder.number16(settings.system_count);
  encoder.number8(static_cast<unsigned>(settings.notes.size()));
  for (const std::string& note : settings.notes) {
    encoder.number16(static_cast<unsigned>(note.size()));
    encoder.text(note);
  }
  return encoder.take();
}

std::optional<StoredSettings> decode_settings(std::string_view bytes) {
  Decoder decoder(bytes);
  StoredSettings settings;
  if (decoder.text(kMagic.size()) != kMagic || decoder.number8() != kVersion) {
    return std::nullopt;
  }
  settings.system = decoder.uuid();
  settings.snapshot = decoder.uuid();
  settings.collection = decoder.uuid();
  settings.snapshot_collection = decoder.uuid();
  settings.first_system = decoder.uuid();
  settings.type = static_cast<VirtualSystemSnapshotType>(decoder.number8());
  settings.state = static_cast<EnabledState>(decoder.number16());
  settings.consistency = static_cast<ConsistencyLevel>(decoder.number8());
  settings.guest_backup = static_cast<GuestBackupType>(decoder.number8());
  settings.ignore_non_snapshottable_disks = decoder.number8() != 0;
  settings.holds_state = decoder.number8() != 0;
  settings.disk_index = decoder.number16();
  settings.disk_count = decoder.number16();
  settings.system_count = decoder.number16();
  const std::size_t notes = decoder.number8();
  for (std::size_t i = 0; i < notes; ++i) {
    settings.notes.emplace_back(decoder.text(decoder.number16()));
  }
  if (!decoder.is_whole() || !is_in_range(settings)) {
    return std::nullopt;
  }
  return settings;
}

}  // namespace varve
