// The stream of an exported disk or diff, as docs/FORMAT.md describes it: a head, records in order
// of their offsets, an end record with totals. Every piece carries an XXH3-128 sum.
#pragma once

#include <array>
#include <cstdint>

#include <varve/diff.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/units.h"

namespace varve {

inline constexpr std::uint64_t kStreamMagic = 0x56415256'4544534b;  // "VARVEDSK".
inline constexpr std::uint32_t kStreamVersion = 1;
inline constexpr std::uint32_t kStreamIsDiff = 1;               // The only flag.
inline constexpr std::uint64_t kStreamChunkBytes = 256 * kKiB;  // Most data of one record.

struct RawStreamHead {
  be64 magic;
  be32 version;
  be32 flags;
  be64 disk_size;
  be64 base_size;
  std::array<std::uint8_t, 16> uuid;
  std::array<std::uint8_t, 16> base;
  Hash128 sum;  // Of the bytes before it.
};
static_assert(sizeof(RawStreamHead) == 80);

enum class StreamRecordKind : std::uint32_t { data = 1, zeros = 2, end = 3 };

struct RawStreamRecord {
  be32 kind;
  be32 reserved;  // Zero.
  be64 offset;    // Of the disk; end: how many bytes were data ...
  be64 length;    // ... and how many were zeros.
  Hash128 sum;    // Of the bytes before it and the data behind it, seeded with the record's number.
};
static_assert(sizeof(RawStreamRecord) == 40);

template <OnDisk T>
[[nodiscard]] ConstBytes bytes_before_sum(const T& raw) noexcept {
  return std::as_bytes(std::span(&raw, 1)).first(offsetof(T, sum));
}

// The sum of a record. Errors: no_memory.
[[nodiscard]] inline Result<Hash128> sum_of_record(const RawStreamRecord& raw, ConstBytes data,
                                                   std::uint64_t number) noexcept {
  Result<Hasher> hasher = Hasher::make(number);
  if (!hasher) {
    return hasher.error();
  }
  hasher->add(bytes_before_sum(raw));
  hasher->add(data);
  return hasher->digest();
}

}  // namespace varve
