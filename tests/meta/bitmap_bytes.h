// Bitmaps as another program leaves them in an image, byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "format/bitmap_directory.h"
#include "format/header.h"
#include "sim/sparse_bytes.h"

namespace varve::test {

inline constexpr std::uint64_t kBitmapBytes = 32;  // An entry of the directory made here.

// Adds `count` enabled bitmaps without content to an image of version 3 with room behind its
// header extensions; their directory stands at `directory`.
inline void add_bitmaps(sim::SparseBytes& image, unsigned count, std::uint64_t directory) {
  const auto put = [&](std::uint64_t offset, auto value) {
    std::vector<std::byte> bytes(sizeof(value));
    store_be(bytes, 0, value);
    image.write(offset, bytes);
  };
  const auto get32 = [&](std::uint64_t offset) {
    std::vector<std::byte> bytes(4);
    image.read(offset, bytes);
    return load_be<std::uint32_t>(bytes, 0);
  };
  std::uint64_t at = get32(offsetof(RawHeader, header_bytes));
  while (get32(at) != 0) {
    at += 8 + round_up(get32(at + 4), 8);
  }
  put(at, kExtensionBitmaps);
  put(at + 4, static_cast<std::uint32_t>(sizeof(RawBitmapsExtension)));
  put(at + 8 + offsetof(RawBitmapsExtension, count), std::uint32_t{count});
  put(at + 8 + offsetof(RawBitmapsExtension, directory_bytes), count * kBitmapBytes);
  put(at + 8 + offsetof(RawBitmapsExtension, directory_offset), directory);
  put(offsetof(RawHeader, autoclear_features), kAutoclearBitmaps);
  for (unsigned i = 0; i < count; ++i) {
    const std::uint64_t entry = directory + i * kBitmapBytes;
    put(entry + offsetof(RawBitmapEntry, flags), BitmapEntry::kAuto);
    put(entry + offsetof(RawBitmapEntry, type), std::uint8_t{1});
    put(entry + offsetof(RawBitmapEntry, granularity_bits), std::uint8_t{16});
    put(entry + offsetof(RawBitmapEntry, name_bytes), std::uint16_t{1});
    put(entry + sizeof(RawBitmapEntry), static_cast<std::uint8_t>('a' + i));
  }
}

}  // namespace varve::test
