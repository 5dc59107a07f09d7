#include "format/snapshot_facts.h"

#include <algorithm>

#include "base/failure.h"

namespace varve {
namespace {

constexpr std::size_t kUuidBytes = sizeof(Uuid);
static_assert(kUuidBytes == 16);

// Every rule of the record; one broken, and its facts are not known.
bool is_valid(const RawSnapshotFacts& raw, std::size_t bytes) noexcept {
  const std::size_t members = raw.member_count.value();
  const std::size_t settings = raw.settings_bytes.value();
  const std::uint32_t flags = raw.flags.value();
  const bool has_group = raw.group != Uuid().bytes;
  return raw.magic.value() == SnapshotFacts::kMagic &&
         raw.version.value() == SnapshotFacts::kVersion && raw.length.value() == bytes &&
         raw.reserved0.value() == 0 && raw.reserved1.value() == 0 &&
         (flags & ~SnapshotFacts::kKnownFlags) == 0 &&
         settings <= SnapshotFacts::kSettingsBytesMax &&
         sizeof(RawSnapshotFacts) + members * kUuidBytes + settings == bytes &&
         has_group == (members != 0) && (members == 0 || raw.member_index.value() < members) &&
         (has_group || (flags & SnapshotFacts::kPending) == 0);
}

}  // namespace

std::optional<SnapshotFacts> SnapshotFacts::decode(ConstBytes bytes) {
  const std::optional<RawSnapshotFacts> raw = load<RawSnapshotFacts>(bytes);
  if (!raw || bytes.size() > kBytesMax || !is_valid(*raw, bytes.size())) {
    return std::nullopt;
  }
  SnapshotFacts facts;
  facts.flags = raw->flags.value();
  facts.witness = raw->witness.value();
  facts.uuid.bytes = raw->uuid;
  facts.parent.bytes = raw->parent;
  facts.image.bytes = raw->image;
  facts.group.bytes = raw->group;
  facts.state_digest = raw->state_digest;
  facts.member_index = raw->member_index.value();
  facts.members.resize(raw->member_count.value());
  std::size_t at = sizeof(RawSnapshotFacts);
  for (Uuid& member : facts.members) {
    copy_bytes(std::as_writable_bytes(std::span(member.bytes)), bytes.subspan(at, kUuidBytes));
    at += kUuidBytes;
  }
  facts.settings.resize(raw->settings_bytes.value());
  copy_bytes(std::as_writable_bytes(std::span(facts.settings)), bytes.subspan(at));
  return facts;
}

Result<std::vector<std::byte>> SnapshotFacts::encode() const {
  if (settings.size() > kSettingsBytesMax || encoded_bytes() > kBytesMax) {
    Error error = failure(ErrorCode::out_of_range,
                          "the snapshot's settings and members are larger than an entry holds");
    error.value = encoded_bytes();
    error.limit = kBytesMax;
    return error;
  }
  RawSnapshotFacts raw{};
  raw.magic.set(kMagic);
  raw.version.set(kVersion);
  raw.length.set(static_cast<std::uint16_t>(encoded_bytes()));
  raw.flags.set(flags);
  raw.settings_bytes.set(static_cast<std::uint16_t>(settings.size()));
  raw.member_count.set(static_cast<std::uint16_t>(members.size()));
  raw.member_index.set(member_index);
  raw.witness.set(witness);
  raw.uuid = uuid.bytes;
  raw.parent = parent.bytes;
  raw.image = image.bytes;
  raw.group = group.bytes;
  raw.state_digest = state_digest;
  std::vector<std::byte> bytes(encoded_bytes());
  store(Bytes(bytes), 0, raw);
  std::size_t at = sizeof(RawSnapshotFacts);
  for (const Uuid& member : members) {
    copy_bytes(Bytes(bytes).subspan(at, kUuidBytes), std::as_bytes(std::span(member.bytes)));
    at += kUuidBytes;
  }
  copy_bytes(Bytes(bytes).subspan(at), std::as_bytes(std::span(settings)));
  return bytes;
}

}  // namespace varve
