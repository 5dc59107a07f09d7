#include "damage.h"

#include <array>

#include "anatomy.h"
#include "base/bytes.h"
#include "world.h"

namespace varve::fuzz {
namespace {

constexpr std::uint64_t kOffsetBits = 0x00ff'ffff'ffff'fe00;
constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 21;

void put(sim::SparseBytes& image, const Place& place, std::uint64_t value) {
  std::array<std::byte, 8> bytes{};
  for (unsigned i = place.size; i-- > 0; value >>= 8) {
    bytes[i] = static_cast<std::byte>(value & 0xff);
  }
  // A place may stand behind the end: what is damaged before leads there.
  if (place.offset <= kFileBytesMax - place.size) {
    image.write(place.offset, ConstBytes(bytes).first(place.size));
  }
}

template <class T>
const T& pick(const std::vector<T>& items, std::uint64_t number) {
  return items[static_cast<std::size_t>(number % items.size())];
}

std::uint64_t extreme(const Anatomy& anatomy, std::uint64_t file_bytes, std::uint32_t number) {
  const std::uint64_t cluster = anatomy.cluster_bytes();
  const std::array<std::uint64_t, 16> values = {0,
                                                1,
                                                ~std::uint64_t{0},
                                                ~std::uint64_t{0} >> 1,
                                                ~std::uint64_t{0} << 63,
                                                std::uint64_t{0xffff'ffff},
                                                std::uint64_t{1} << 32,
                                                cluster,
                                                cluster - 1,
                                                file_bytes,
                                                file_bytes + 1,
                                                std::uint64_t{1} << 56,
                                                std::uint64_t{1} << 55,
                                                std::uint64_t{1} << 25,
                                                65536,
                                                512};
  return values[number % values.size()];
}

std::uint64_t changed(const sim::SparseBytes& image, const Anatomy& anatomy, const Record& record,
                      Damage how, const std::vector<Place>& places, const Place& place) {
  const std::uint64_t now = anatomy.get(place.offset, place.size);
  const std::uint32_t number = record.large;
  switch (how) {
    case Damage::point_keeping_flags:
      return (now & ~kOffsetBits) | (pick(anatomy.landmarks(), number) & kOffsetBits);
    case Damage::point_with_flags:
      return pick(anatomy.landmarks(), number & 0xffff) | std::uint64_t{(number >> 16) & 1} << 63 |
             std::uint64_t{(number >> 17) & 1} << 62 | ((number >> 18) & 1) |
             ((number >> 19) & 1) << 9;
    case Damage::flip_bit:
      return now ^ std::uint64_t{1} << (number % (8 * place.size));
    case Damage::extreme:
      return extreme(anatomy, image.size(), number);
    case Damage::add:
      return now + static_cast<std::uint64_t>(
                       static_cast<std::int64_t>(static_cast<std::int8_t>(number & 0xff)));
    case Damage::copy_place:
      return anatomy.get(pick(places, number).offset, place.size);
    default:
      return std::uint64_t{number & 0xff'ffff} << ((number >> 24) % 57);
  }
}

void change_place(sim::SparseBytes& image, const Record& record, Damage how) {
  const Anatomy anatomy(image);
  const std::vector<Place> places = anatomy.places(static_cast<Part>(record.small % kPartCount));
  if (!places.empty()) {
    const Place place = pick(places, record.medium);
    put(image, place, changed(image, anatomy, record, how, places, place));
  }
}

void change_clusters(sim::SparseBytes& image, const Record& record, Damage how) {
  const Anatomy anatomy(image);
  const std::uint64_t cluster = anatomy.cluster_bytes();
  const std::uint64_t target = pick(anatomy.landmarks(), record.medium) / cluster * cluster;
  if (target > kFileBytesMax - cluster) {
    return;
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(cluster));
  const std::uint64_t source = pick(anatomy.landmarks(), record.large);
  if (how == Damage::copy_cluster) {
    image.read(source, bytes);
  } else if (how == Damage::fill_cluster) {
    fill(bytes, record.small);
  } else {
    const std::uint64_t entry = source | std::uint64_t{record.small & 1u} << 63 |
                                std::uint64_t{(record.small >> 1) & 1u} << 62;
    for (std::uint64_t i = 0; i < cluster; i += 8) {
      store_be(Bytes(bytes), static_cast<std::size_t>(i), entry);
    }
  }
  image.write(target, bytes);
}

// Of any type, known ones most of all; the record's bytes over and over.
void add_extension(sim::SparseBytes& image, const Record& record) {
  static constexpr std::array<std::uint64_t, 8> kTypes = {
      0xe2792aca, 0x6803f857, 0x23852875, 0x0537be77, 0x44415441, 0x56727655, 0x12345678, 0};
  const Anatomy anatomy(image);
  const std::uint64_t at = anatomy.extensions_end();
  if (at == 0) {
    return;
  }
  put(image, {at, 4}, kTypes[record.small % kTypes.size()]);
  put(image, {at + 4, 4}, record.medium);
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(record.medium, 256); i += 8) {
    put(image, {at + 8 + i, 8}, std::uint64_t{record.large} << 32 | record.large);
  }
}

}  // namespace

void inflict(sim::SparseBytes& image, const Record& record) {
  const auto how = static_cast<Damage>((record.code & (kDamage - 1u)) % kDamageCount);
  switch (how) {
    case Damage::raw_bytes:
      if (image.size() != 0) {
        const std::uint64_t offset = record.large % image.size();
        for (std::uint64_t i = 0; i <= record.medium % 8; ++i) {
          put(image, {offset + i, 1}, record.small + i * (record.medium >> 8));
        }
      }
      return;
    case Damage::resize_file:
      image.resize(record.small % 2 != 0 ? record.large % (image.size() + 1)
                                         : std::min(image.size() + record.large % 65536,
                                                    std::max(image.size(), kFileBytesMax)));
      return;
    case Damage::copy_cluster:
    case Damage::fill_cluster:
    case Damage::fill_entries:
      change_clusters(image, record, how);
      return;
    case Damage::set_count: {
      const Anatomy anatomy(image);
      const std::uint64_t place = anatomy.count_place(pick(anatomy.landmarks(), record.large));
      if (place != 0) {
        put(image, {place, std::max(anatomy.refcount_bits() / 8, 1u)}, record.medium);
      }
      return;
    }
    case Damage::add_extension:
      add_extension(image, record);
      return;
    default:
      change_place(image, record, how);
      return;
  }
}

}  // namespace varve::fuzz
