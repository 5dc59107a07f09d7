// Stamps: what tests write. A stamp is a number; the bytes it stands for at an offset are a
// function of both, so that bytes found later tell which write it came from and where it was
// meant to be. Stamp 0 is zeros. Every eighth stamp is spread over all bits, so that it does not
// compress.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace varve::model {

using Stamp = std::uint32_t;
inline constexpr Stamp kZeroStamp = 0;

// Fills `target`, which stands at disk offset `offset`.
void fill_stamp(Bytes target, Stamp stamp, std::uint64_t offset) noexcept;

// The first byte of `bytes` that is not the stamp's; bytes.size() when all are.
[[nodiscard]] std::size_t find_stamp_mismatch(ConstBytes bytes, Stamp stamp,
                                              std::uint64_t offset) noexcept;
[[nodiscard]] inline bool matches_stamp(ConstBytes bytes, Stamp stamp,
                                        std::uint64_t offset) noexcept {
  return find_stamp_mismatch(bytes, stamp, offset) == bytes.size();
}

// A whole sector of 512 bytes by number: what identify_sector answers for the stamp's bytes at the
// disk's sector `index`, 0 for zeros, kUnknownSector for anything else.
using SectorIdentity = std::uint64_t;
inline constexpr SectorIdentity kUnknownSector = ~SectorIdentity{0};
[[nodiscard]] constexpr SectorIdentity identity_of(Stamp stamp, std::uint64_t index) noexcept {
  return stamp == kZeroStamp ? 0 : (SectorIdentity{stamp} << 32) | (index & 0xffff'ffffu);
}
[[nodiscard]] SectorIdentity identify_sector(ConstBytes sector) noexcept;
// For failure messages.
[[nodiscard]] std::string describe_identity(SectorIdentity identity);

// What some bytes seem to be, for failure messages: "stamp 17", "stamp 17 of offset 4096", "zeros".
[[nodiscard]] std::string describe_bytes(ConstBytes bytes, std::uint64_t offset);

}  // namespace varve::model
