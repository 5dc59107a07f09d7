// Integers as they stand on disk: big-endian, alignment 1, no implicit conversion, so that a
// structure of them reads like the format's own table and an endianness slip does not compile.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace varve {

template <std::unsigned_integral Integer>
constexpr Integer swap_bytes(Integer value) noexcept {
  if constexpr (sizeof(Integer) == 1) {
    return value;
  } else if constexpr (sizeof(Integer) == 2) {
    return __builtin_bswap16(value);
  } else if constexpr (sizeof(Integer) == 4) {
    return __builtin_bswap32(value);
  } else {
    return __builtin_bswap64(value);
  }
}

// Converts between the machine's order and big-endian; its own inverse.
template <std::unsigned_integral Integer>
constexpr Integer big_endian(Integer value) noexcept {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return swap_bytes(value);
#else
  return value;
#endif
}

template <std::unsigned_integral Integer>
class BigEndian {
 public:
  BigEndian() = default;
  explicit BigEndian(Integer value) noexcept { set(value); }

  [[nodiscard]] Integer value() const noexcept {
    Integer raw;
    std::memcpy(&raw, bytes_.data(), sizeof(raw));
    return big_endian(raw);
  }
  void set(Integer value) noexcept {
    const Integer raw = big_endian(value);
    std::memcpy(bytes_.data(), &raw, sizeof(raw));
  }

 private:
  std::array<std::byte, sizeof(Integer)> bytes_;
};

using be16 = BigEndian<std::uint16_t>;
using be32 = BigEndian<std::uint32_t>;
using be64 = BigEndian<std::uint64_t>;

static_assert(sizeof(be16) == 2 && alignof(be16) == 1);
static_assert(sizeof(be32) == 4 && alignof(be32) == 1);
static_assert(sizeof(be64) == 8 && alignof(be64) == 1);

}  // namespace varve
