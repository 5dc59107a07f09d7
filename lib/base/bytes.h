// The one place that copies raw memory: everything else goes through these, which check lengths.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include "base/assert.h"
#include "base/endian.h"

namespace varve {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

// REQUIRES: same size; the ranges do not overlap.
inline void copy_bytes(Bytes target, ConstBytes source) noexcept {
  VARVE_ASSERT(target.size() == source.size());
  if (!source.empty()) {
    std::memcpy(target.data(), source.data(), source.size());
  }
}

inline void zero_bytes(Bytes target) noexcept {
  if (!target.empty()) {
    std::memset(target.data(), 0, target.size());
  }
}

[[nodiscard]] inline bool equal_bytes(ConstBytes a, ConstBytes b) noexcept {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// Whether every byte is zero. Compares the range with itself one byte on, which memcmp does at full
// speed.
[[nodiscard]] inline bool is_all_zero(ConstBytes bytes) noexcept {
  if (bytes.empty()) {
    return true;
  }
  return bytes[0] == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

// Structures of on-disk layout: no padding to leak, no invariant to break.
template <class T>
concept OnDisk = std::is_trivially_copyable_v<T> && alignof(T) == 1;

// Reads a structure from the front of `bytes`; nothing when they are too short.
template <OnDisk T>
[[nodiscard]] std::optional<T> load(ConstBytes bytes, std::size_t offset = 0) noexcept {
  if (bytes.size() < offset || bytes.size() - offset < sizeof(T)) {
    return std::nullopt;
  }
  T value;
  std::memcpy(static_cast<void*>(&value), bytes.data() + offset, sizeof(T));
  return value;
}

// REQUIRES: room for the structure at `offset`.
template <OnDisk T>
void store(Bytes bytes, std::size_t offset, const T& value) noexcept {
  VARVE_ASSERT(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset);
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

// REQUIRES: room for the integer at `offset`.
template <std::unsigned_integral Integer>
[[nodiscard]] Integer load_be(ConstBytes bytes, std::size_t offset) noexcept {
  VARVE_ASSERT(offset <= bytes.size() && sizeof(Integer) <= bytes.size() - offset);
  Integer raw;
  std::memcpy(&raw, bytes.data() + offset, sizeof(raw));
  return big_endian(raw);
}

// REQUIRES: room for the integer at `offset`.
template <std::unsigned_integral Integer>
void store_be(Bytes bytes, std::size_t offset, Integer value) noexcept {
  VARVE_ASSERT(offset <= bytes.size() && sizeof(Integer) <= bytes.size() - offset);
  const Integer raw = big_endian(value);
  std::memcpy(bytes.data() + offset, &raw, sizeof(raw));
}

}  // namespace varve
