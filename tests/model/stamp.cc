#include "model/stamp.h"

#include <algorithm>
#include <array>
#include <optional>

namespace varve::model {

namespace {

constexpr std::size_t kWordBytes = 8;
constexpr std::uint64_t kSpread = 0x9e3779b97f4a7c15u;  // Odd: multiplying by it can be undone.

constexpr std::uint64_t inverse_of(std::uint64_t odd) noexcept {
  std::uint64_t inverse = odd;
  for (int i = 0; i < 6; ++i) {
    inverse *= 2 - odd * inverse;
  }
  return inverse;
}
constexpr std::uint64_t kGather = inverse_of(kSpread);
static_assert(kSpread * kGather == 1);

constexpr bool is_spread(Stamp stamp) noexcept {
  return stamp % 8 == 7;
}

// A byte that differs between most stamps, in every byte of a word: it lets single bytes tell
// stamps apart. The word's first byte is 0 before, so that it can be read off and taken out again.
constexpr std::uint64_t flavour_of(Stamp stamp) noexcept {
  return ((stamp * 157u + 1) & 0xff) * 0x0101'0101'0101'0101u;
}

std::uint64_t word_of(Stamp stamp, std::uint64_t index) noexcept {
  if (stamp == kZeroStamp) {
    return 0;
  }
  const std::uint64_t word =
      ((std::uint64_t{stamp} << 32) | (index & 0xffff'ffffu)) ^ flavour_of(stamp);
  if (!is_spread(stamp)) {
    return word;
  }
  const std::uint64_t once = word * kSpread;
  return (once ^ (once >> 32)) * kSpread;
}

// Undoes word_of for spread stamps.
std::uint64_t gather_word(std::uint64_t word) noexcept {
  const std::uint64_t once = word * kGather;
  return (once ^ (once >> 32)) * kGather;
}

}  // namespace

void fill_stamp(Bytes target, Stamp stamp, std::uint64_t offset) noexcept {
  if (stamp == kZeroStamp) {
    zero_bytes(target);
    return;
  }
  while (!target.empty()) {
    const auto inside = static_cast<std::size_t>(offset % kWordBytes);
    const std::size_t length = std::min(target.size(), kWordBytes - inside);
    std::array<std::byte, kWordBytes> word;
    store_be(Bytes(word), 0, word_of(stamp, offset / kWordBytes));
    copy_bytes(target.first(length), ConstBytes(word).subspan(inside, length));
    target = target.subspan(length);
    offset += length;
  }
}

std::size_t find_stamp_mismatch(ConstBytes bytes, Stamp stamp, std::uint64_t offset) noexcept {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const auto inside = static_cast<std::size_t>((offset + at) % kWordBytes);
    const std::size_t length = std::min(bytes.size() - at, kWordBytes - inside);
    const std::uint64_t expected = word_of(stamp, (offset + at) / kWordBytes);
    if (length == kWordBytes && load_be<std::uint64_t>(bytes, at) == expected) {
      at += kWordBytes;
      continue;
    }
    std::array<std::byte, kWordBytes> word;
    store_be(Bytes(word), 0, expected);
    for (std::size_t i = 0; i < length; ++i) {
      if (bytes[at + i] != word[inside + i]) {
        return at + i;
      }
    }
    at += length;
  }
  return bytes.size();
}

namespace {

struct Origin {
  Stamp stamp = kZeroStamp;
  std::uint64_t place = 0;  // The disk offset the word was written for.
};

// The stamp a word comes from, going by the word alone; a word may look like one that is spread and
// like one that is not.
std::optional<Origin> origin_of(std::uint64_t raw, bool spread) noexcept {
  const std::uint64_t flavoured = spread ? gather_word(raw) : raw;
  const std::uint64_t word = flavoured ^ ((flavoured >> 56) * 0x0101'0101'0101'0101u);
  const auto stamp = static_cast<Stamp>(word >> 32);
  if (stamp != kZeroStamp && stamp < (1u << 24) && is_spread(stamp) == spread &&
      (word ^ flavour_of(stamp)) == flavoured) {
    return Origin{stamp, (word & 0xffff'ffffu) * kWordBytes};
  }
  return std::nullopt;
}

}  // namespace

SectorIdentity identify_sector(ConstBytes sector) noexcept {
  constexpr std::uint64_t kSector = 512;
  if (is_all_zero(sector)) {
    return 0;
  }
  for (const bool spread : {false, true}) {
    const std::optional<Origin> origin = origin_of(load_be<std::uint64_t>(sector, 0), spread);
    if (origin && sector.size() == kSector && origin->place % kSector == 0 &&
        matches_stamp(sector, origin->stamp, origin->place)) {
      return identity_of(origin->stamp, origin->place / kSector);
    }
  }
  return kUnknownSector;
}

std::string describe_identity(SectorIdentity identity) {
  if (identity == 0) {
    return "zeros";
  }
  if (identity == kUnknownSector) {
    return "unknown bytes";
  }
  return "stamp " + std::to_string(identity >> 32) + " of sector " +
         std::to_string(identity & 0xffff'ffffu);
}

std::string describe_bytes(ConstBytes bytes, std::uint64_t offset) {
  if (is_all_zero(bytes)) {
    return "zeros";
  }
  const auto skip = static_cast<std::size_t>((kWordBytes - offset % kWordBytes) % kWordBytes);
  if (bytes.size() < skip + kWordBytes) {
    return "too short to tell";
  }
  const auto raw = load_be<std::uint64_t>(bytes, skip);
  for (const bool spread : {false, true}) {
    if (const std::optional<Origin> origin = origin_of(raw, spread)) {
      std::string text = "stamp " + std::to_string(origin->stamp);
      if (origin->place != offset + skip) {
        text += " of offset " + std::to_string(origin->place);
      }
      return text;
    }
  }
  return raw == 0 ? "zeros, then something else" : "unknown bytes";
}

}  // namespace varve::model
