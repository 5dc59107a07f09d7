#include "bitmaps.h"

#include <array>

#include "anatomy.h"
#include "base/checked.h"
#include "base/units.h"

namespace varve::fuzz {
namespace {

void put(sim::SparseBytes& image, std::uint64_t offset, std::uint64_t value, unsigned size) {
  std::array<std::byte, 8> bytes{};
  for (unsigned i = size; i-- > 0; value >>= 8) {
    bytes[i] = static_cast<std::byte>(value & 0xff);
  }
  image.write(offset, ConstBytes(bytes).first(size));
}

}  // namespace

void add_bitmaps(sim::SparseBytes& image, std::uint32_t flags) {
  const Anatomy anatomy(image);
  const std::uint64_t cluster = anatomy.cluster_bytes();
  const std::uint64_t directory = round_up(image.size(), cluster);
  const std::uint64_t table = directory + cluster;
  const std::uint64_t data = table + cluster;
  const std::uint64_t extension = anatomy.extensions_end();
  constexpr std::uint64_t kExtensionBytes = 8 + 24;
  if (extension == 0 || extension + kExtensionBytes + 8 > cluster) {
    return;
  }
  for (const std::uint64_t place : {directory, table, data}) {
    if (anatomy.count_place(place) == 0) {
      return;
    }
  }
  for (const std::uint64_t place : {directory, table, data}) {
    put(image, anatomy.count_place(place), 1, anatomy.refcount_bits() / 8);
  }
  image.resize(data + cluster);
  // One entry: its table, flags, type 1, granularity 2^16, a name of two bytes.
  put(image, directory, table, 8);
  put(image, directory + 8, 1, 4);
  put(image, directory + 12, flags, 4);
  put(image, directory + 16, 1, 1);
  put(image, directory + 17, 16, 1);
  put(image, directory + 18, 2, 2);
  put(image, directory + 24, 0x6231, 2);
  put(image, table, data, 8);
  put(image, data, 0xff, 1);
  put(image, extension, 0x23852875, 4);
  put(image, extension + 4, 24, 4);
  put(image, extension + 8, 1, 4);
  put(image, extension + 12, 0, 4);
  put(image, extension + 16, 32, 8);
  put(image, extension + 24, directory, 8);
  put(image, extension + kExtensionBytes, 0, 8);
  put(image, 88, anatomy.get(88, 8) | 1, 8);
}

}  // namespace varve::fuzz
