// Uuid: sixteen bytes that name a snapshot, an image or a group of images.
//
// Threads: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace varve {

struct Uuid {
  std::array<std::uint8_t, 16> bytes{};  // In the order of the text form (RFC 9562).

  [[nodiscard]] constexpr bool is_null() const noexcept { return bytes == Uuid().bytes; }
  // "7f1d2c3e-....": lower case, 36 characters.
  [[nodiscard]] std::string text() const;
  // Any letter case; braces are not taken. Nothing: not a UUID.
  [[nodiscard]] static std::optional<Uuid> parse(std::string_view text) noexcept;
  // A random one (version 4) from the system's generator. Null when the system has none.
  [[nodiscard]] static Uuid make_random() noexcept;

  friend constexpr bool operator==(const Uuid&, const Uuid&) noexcept = default;
};

}  // namespace varve
