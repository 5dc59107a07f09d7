#include "recipe.h"

#include <algorithm>
#include <array>

#include "base/units.h"

namespace varve::fuzz {
namespace {

// Geometry is what every input has: no value of it makes an image that cannot be.
enum GeometryFlag : std::uint8_t {
  kVersion2 = 1,
  kExtended = 2,
  kZstd = 4,
  kLazy = 8,
  kBacking = 16,
  kDataFile = 32,
  kRawDataFile = 64,
  kBitmaps = 128,
};

constexpr std::uint64_t kL1BytesMax = 16 * kKiB;

void read_size(const Record& record, CreateOptions& create) {
  const std::uint64_t cluster = create.cluster_bytes;
  const std::uint64_t coverage = cluster * (cluster / (create.extended_l2 ? 16 : 8));
  const std::uint64_t clusters = 1 + record.large % 192;
  // Large disks are empty but for their beginning.
  const unsigned shift = (record.large >> 8) % 64 < 48 ? 0 : (record.large >> 8) % 16;
  const std::uint64_t sectors = (record.large >> 16) % 4;
  create.size_bytes =
      std::min((clusters * cluster << shift) + sectors * kSectorBytes, kL1BytesMax / 8 * coverage);
}

}  // namespace

std::uint64_t Recipe::window_bytes() const noexcept {
  const std::uint64_t cluster = create.cluster_bytes;
  return std::min(192 * cluster, std::max(128 * kKiB, 4 * cluster));
}

Recipe read_recipe(const std::uint8_t* data, std::size_t size) {
  static constexpr std::array<std::uint8_t, 8> kClusterBits = {9, 9, 10, 11, 12, 13, 14, 16};
  Recipe recipe;
  const std::vector<Record> records = records_of(data, size);
  const Record first = records.empty() ? Record() : records.front();
  const std::uint8_t flags = first.code;
  CreateOptions& create = recipe.create;
  create.version = (flags & kVersion2) != 0 ? 2 : 3;
  const bool is_new = create.version == 3;
  create.extended_l2 = is_new && (flags & kExtended) != 0;
  create.compression = is_new && (flags & kZstd) != 0 ? Compression::zstd : Compression::zlib;
  create.lazy_refcounts = is_new && (flags & kLazy) != 0;
  create.cluster_bytes = std::uint32_t{1}
                         << (create.extended_l2 ? 14 : kClusterBits[first.small % 8]);
  create.refcount_bits = is_new ? 1u << ((first.small >> 3) % 7) : 16;
  if ((flags & kBacking) != 0) {
    create.backing_name = kBelowName;
    create.backing_format = "raw";
  } else if (is_new && (flags & kDataFile) != 0) {
    create.data_file_name = kDataName;
    create.data_file_raw = (flags & kRawDataFile) != 0;
  }
  recipe.has_bitmaps = is_new && (flags & kBitmaps) != 0 && create.data_file_name.empty() &&
                       create.backing_name.empty();
  recipe.bitmap_flags = first.medium % 4;
  recipe.has_tiny_caches = (first.medium & 4) != 0;
  recipe.punches = (first.medium & 8) != 0;
  recipe.repairs_leaks_only = (first.medium >> 8) % 8 == 7;
  recipe.operations_max = 1 + (first.medium >> 4) % 4;
  recipe.budget_number = first.medium >> 12;
  read_size(first, create);
  bool is_damaged = false;
  for (std::size_t i = 1; i < records.size(); ++i) {
    if (records[i].code >= kDamage) {
      recipe.damage.push_back(records[i]);
      is_damaged = true;
    } else {
      (is_damaged ? recipe.use : recipe.making).push_back(records[i]);
    }
  }
  return recipe;
}

}  // namespace varve::fuzz
