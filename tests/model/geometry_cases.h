// The image geometries the serial tests (exhaustive, crash, fault) run on: small disks, so that
// every state can be looked at, of shapes that stress different tables.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include <varve/create.h>
#include <varve/image.h>

namespace varve::model {

struct GeometryCase {
  std::string name;
  CreateOptions create;
  std::uint64_t backing_bytes = 0;  // A raw backing file of that size; 0: none.
  bool tiny_caches = true;          // Two tables and two refcount blocks; else the defaults.

  [[nodiscard]] std::uint64_t cluster_bytes() const noexcept { return create.cluster_bytes; }
  [[nodiscard]] bool has_data_file() const noexcept { return !create.data_file_name.empty(); }
  [[nodiscard]] bool can_snapshot() const noexcept {
    return create.refcount_bits > 1 && !has_data_file();
  }
  [[nodiscard]] bool can_compress() const noexcept { return !has_data_file(); }
};
inline std::ostream& operator<<(std::ostream& stream, const GeometryCase& geometry) {
  return stream << geometry.name;
}

inline const char* const kBackingName = "backing.raw";
inline const char* const kDataFileName = "data.raw";

inline GeometryCase make_geometry(std::string name, std::uint32_t cluster_bytes,
                                  std::uint64_t size_bytes) {
  GeometryCase geometry;
  geometry.name = std::move(name);
  geometry.create.cluster_bytes = cluster_bytes;
  geometry.create.size_bytes = size_bytes;
  return geometry;
}

inline GeometryCase with_backing(GeometryCase geometry, std::uint64_t backing_bytes) {
  geometry.backing_bytes = backing_bytes;
  geometry.create.backing_name = kBackingName;
  geometry.create.backing_format = "raw";
  return geometry;
}

inline GeometryCase with_data_file(GeometryCase geometry, bool is_raw) {
  geometry.create.data_file_name = kDataFileName;
  geometry.create.data_file_raw = is_raw;
  return geometry;
}

// Sizes end inside a cluster, and 512-byte clusters need several L2 tables and refcount blocks.
inline std::vector<GeometryCase> geometry_cases() {
  constexpr std::uint32_t kKilo = 1024;
  std::vector<GeometryCase> cases;
  cases.push_back(make_geometry("C512Refcount1", 512, 40 * kKilo + 512));
  cases.back().create.refcount_bits = 1;
  cases.push_back(make_geometry("C512Refcount64", 512, 40 * kKilo + 512));
  cases.back().create.refcount_bits = 64;
  cases.push_back(with_backing(make_geometry("C512Backing", 512, 36 * kKilo), 34 * kKilo + 512));
  cases.push_back(make_geometry("C4k", 4 * kKilo, 64 * kKilo + 1536));
  cases.push_back(make_geometry("C4kDefaultCaches", 4 * kKilo, 64 * kKilo + 1536));
  cases.back().tiny_caches = false;
  cases.push_back(make_geometry("C4kVersion2", 4 * kKilo, 64 * kKilo + 1536));
  cases.back().create.version = 2;
  cases.push_back(
      with_backing(make_geometry("C4kVersion2Backing", 4 * kKilo, 64 * kKilo), 50 * kKilo + 512));
  cases.back().create.version = 2;
  cases.push_back(make_geometry("C4kLazy", 4 * kKilo, 64 * kKilo + 1536));
  cases.back().create.lazy_refcounts = true;
  cases.push_back(make_geometry("C16kExtended", 16 * kKilo, 96 * kKilo + 1024));
  cases.back().create.extended_l2 = true;
  cases.push_back(
      with_backing(make_geometry("C16kExtendedBacking", 16 * kKilo, 96 * kKilo), 70 * kKilo + 512));
  cases.back().create.extended_l2 = true;
  cases.push_back(with_data_file(
      with_backing(make_geometry("C512DataFile", 512, 40 * kKilo + 512), 30 * kKilo + 512), false));
  cases.push_back(
      with_data_file(make_geometry("C4kDataFileRaw", 4 * kKilo, 64 * kKilo + 1536), true));
  cases.push_back(make_geometry("C64k", 64 * kKilo, 256 * kKilo + 512));
  return cases;
}

}  // namespace varve::model
