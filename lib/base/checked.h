// Arithmetic on values that come from disk or from callers: overflow is an answer, never a wrap.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace varve {

template <std::unsigned_integral Integer>
[[nodiscard]] constexpr std::optional<Integer> checked_add(Integer a, Integer b) noexcept {
  Integer sum{};
  if (__builtin_add_overflow(a, b, &sum)) {
    return std::nullopt;
  }
  return sum;
}

template <std::unsigned_integral Integer>
[[nodiscard]] constexpr std::optional<Integer> checked_multiply(Integer a, Integer b) noexcept {
  Integer product{};
  if (__builtin_mul_overflow(a, b, &product)) {
    return std::nullopt;
  }
  return product;
}

// Whether [offset, offset + length) lies inside [0, end), without overflow.
[[nodiscard]] constexpr bool range_fits(std::uint64_t offset, std::uint64_t length,
                                        std::uint64_t end) noexcept {
  return offset <= end && length <= end - offset;
}

[[nodiscard]] constexpr bool is_power_of_two(std::uint64_t value) noexcept {
  return value != 0 && (value & (value - 1)) == 0;
}

// REQUIRES: `alignment` is a power of two.
[[nodiscard]] constexpr bool is_aligned(std::uint64_t value, std::uint64_t alignment) noexcept {
  return (value & (alignment - 1)) == 0;
}
[[nodiscard]] constexpr std::uint64_t round_down(std::uint64_t value,
                                                 std::uint64_t alignment) noexcept {
  return value & ~(alignment - 1);
}
// REQUIRES: the rounded value fits (validated sizes only).
[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value,
                                               std::uint64_t alignment) noexcept {
  return round_down(value + alignment - 1, alignment);
}
// REQUIRES: divisor > 0.
[[nodiscard]] constexpr std::uint64_t divide_up(std::uint64_t value,
                                                std::uint64_t divisor) noexcept {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

}  // namespace varve
