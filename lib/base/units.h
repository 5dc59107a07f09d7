// Offsets that must not be mixed up have different types. Lengths are plain std::uint64_t bytes.
#pragma once

#include <compare>
#include <cstdint>

namespace varve {

template <class Space>
class Offset {
 public:
  constexpr Offset() noexcept = default;
  constexpr explicit Offset(std::uint64_t value) noexcept : value_(value) {}
  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }

  friend constexpr auto operator<=>(Offset, Offset) noexcept = default;
  friend constexpr Offset operator+(Offset offset, std::uint64_t length) noexcept {
    return Offset(offset.value_ + length);
  }
  friend constexpr std::uint64_t operator-(Offset a, Offset b) noexcept {
    return a.value_ - b.value_;
  }
  constexpr Offset& operator+=(std::uint64_t length) noexcept {
    value_ += length;
    return *this;
  }

 private:
  std::uint64_t value_ = 0;
};

// A byte of the virtual disk, as the guest counts.
using GuestOffset = Offset<struct GuestSpace>;
// A byte of the image file (or of the external data file, where a mapping says so).
using HostOffset = Offset<struct HostSpace>;
// A cluster of the image file, counted from 0.
using HostCluster = Offset<struct HostClusterSpace>;

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;
inline constexpr std::uint64_t kTiB = 1024 * kGiB;

// The unit of atomicity every disk promises, and of QEMU's request alignment.
inline constexpr std::uint64_t kSectorBytes = 512;

}  // namespace varve
