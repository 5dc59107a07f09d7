// One entry of an L1 table: where an L2 table stands, and whether only this L1 refers to it.
#pragma once

#include <cstdint>

#include <varve/result.h>

#include "base/units.h"
#include "format/geometry.h"

namespace varve {

class L1Entry {
 public:
  static constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kOffsetMask = 0x00ff'ffff'ffff'fe00;
  static constexpr std::uint64_t kReserved = ~(kCopied | kOffsetMask);

  constexpr L1Entry() noexcept = default;
  constexpr explicit L1Entry(std::uint64_t raw) noexcept : raw_(raw) {}
  static constexpr L1Entry table(HostOffset offset, bool copied) noexcept {
    return L1Entry(offset.value() | (copied ? kCopied : 0));
  }

  [[nodiscard]] constexpr std::uint64_t raw() const noexcept { return raw_; }
  [[nodiscard]] constexpr bool is_allocated() const noexcept { return (raw_ & kOffsetMask) != 0; }
  [[nodiscard]] constexpr bool is_copied() const noexcept { return (raw_ & kCopied) != 0; }
  [[nodiscard]] constexpr HostOffset offset() const noexcept {
    return HostOffset(raw_ & kOffsetMask);
  }
  [[nodiscard]] constexpr L1Entry without_copied() const noexcept {
    return L1Entry(raw_ & ~kCopied);
  }

  // Reserved bits zero and the offset on a cluster boundary; `where` is the entry's own byte offset
  // in the file. Corruption: l1_entry_reserved_bits, l2_table_unaligned.
  [[nodiscard]] Result<void> validate(const Geometry& geometry, HostOffset where) const noexcept;

  friend constexpr bool operator==(L1Entry, L1Entry) noexcept = default;

 private:
  std::uint64_t raw_ = 0;
};
static_assert((L1Entry::kCopied | L1Entry::kOffsetMask | L1Entry::kReserved) == ~std::uint64_t{0});
static_assert((L1Entry::kCopied & L1Entry::kOffsetMask) == 0);

}  // namespace varve
