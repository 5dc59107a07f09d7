#include <span>

#include <sys/random.h>
#include <varve/uuid.h>

namespace varve {
namespace {

constexpr std::size_t kTextBytes = 36;

// A dash stands before these bytes.
constexpr bool is_group_start(std::size_t byte) noexcept {
  return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

std::optional<std::uint8_t> digit_of(char letter) noexcept {
  if (letter >= '0' && letter <= '9') {
    return static_cast<std::uint8_t>(letter - '0');
  }
  if (letter >= 'a' && letter <= 'f') {
    return static_cast<std::uint8_t>(letter - 'a' + 10);
  }
  if (letter >= 'A' && letter <= 'F') {
    return static_cast<std::uint8_t>(letter - 'A' + 10);
  }
  return std::nullopt;
}

}  // namespace

std::string Uuid::text() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(kTextBytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (is_group_start(i)) {
      text.push_back('-');
    }
    text.push_back(kDigits[bytes[i] >> 4]);
    text.push_back(kDigits[bytes[i] & 15]);
  }
  return text;
}

std::optional<Uuid> Uuid::parse(std::string_view text) noexcept {
  if (text.size() != kTextBytes) {
    return std::nullopt;
  }
  Uuid uuid;
  std::size_t at = 0;
  for (std::size_t i = 0; i < uuid.bytes.size(); ++i) {
    if (is_group_start(i) && text[at++] != '-') {
      return std::nullopt;
    }
    const auto high = digit_of(text[at++]);
    const auto low = digit_of(text[at++]);
    if (!high || !low) {
      return std::nullopt;
    }
    uuid.bytes[i] = static_cast<std::uint8_t>(*high << 4 | *low);
  }
  return uuid;
}

Uuid Uuid::make_random() noexcept {
  Uuid uuid;
  // Sixteen bytes come whole or not at all once the generator is seeded.
  if (getrandom(uuid.bytes.data(), uuid.bytes.size(), 0) !=
      static_cast<ssize_t>(uuid.bytes.size())) {
    return {};
  }
  uuid.bytes[6] = static_cast<std::uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<std::uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

}  // namespace varve
