// The numbers that follow from an image's cluster size, refcount width and entry size. Plain
// values, always valid: only Header::parse and create make them, after checking the limits.
#pragma once

#include <cstdint>

#include "base/checked.h"
#include "base/units.h"

namespace varve {

struct Geometry {
  std::uint32_t cluster_bits = 16;
  std::uint32_t refcount_order = 4;
  bool extended_l2 = false;

  [[nodiscard]] constexpr std::uint64_t cluster_bytes() const noexcept {
    return std::uint64_t{1} << cluster_bits;
  }
  [[nodiscard]] constexpr std::uint64_t in_cluster(std::uint64_t offset) const noexcept {
    return offset & (cluster_bytes() - 1);
  }
  [[nodiscard]] constexpr std::uint64_t clusters_for(std::uint64_t bytes) const noexcept {
    return divide_up(bytes, cluster_bytes());
  }
  [[nodiscard]] constexpr HostCluster cluster_of(HostOffset offset) const noexcept {
    return HostCluster(offset.value() >> cluster_bits);
  }
  [[nodiscard]] constexpr HostOffset offset_of(HostCluster cluster) const noexcept {
    return HostOffset(cluster.value() << cluster_bits);
  }

  // L2 tables: one cluster of entries.
  [[nodiscard]] constexpr std::uint32_t l2_entry_bits() const noexcept {
    return extended_l2 ? 4 : 3;
  }
  [[nodiscard]] constexpr std::uint64_t l2_entry_bytes() const noexcept {
    return std::uint64_t{1} << l2_entry_bits();
  }
  [[nodiscard]] constexpr std::uint32_t l2_bits() const noexcept {
    return cluster_bits - l2_entry_bits();
  }
  [[nodiscard]] constexpr std::uint64_t l2_entries() const noexcept {
    return std::uint64_t{1} << l2_bits();
  }
  // Guest bytes one L2 table maps.
  [[nodiscard]] constexpr std::uint64_t l2_coverage() const noexcept {
    return cluster_bytes() << l2_bits();
  }
  [[nodiscard]] constexpr std::uint64_t l1_index(GuestOffset offset) const noexcept {
    return offset.value() >> (cluster_bits + l2_bits());
  }
  [[nodiscard]] constexpr std::uint64_t l2_index(GuestOffset offset) const noexcept {
    return (offset.value() >> cluster_bits) & (l2_entries() - 1);
  }
  // L1 entries a disk of `bytes` needs.
  [[nodiscard]] constexpr std::uint64_t l1_entries_for(std::uint64_t bytes) const noexcept {
    return divide_up(bytes, l2_coverage());
  }

  // Subclusters: 32 per cluster with extended L2 entries, else the cluster itself.
  [[nodiscard]] constexpr std::uint32_t subclusters() const noexcept {
    return extended_l2 ? 32 : 1;
  }
  [[nodiscard]] constexpr std::uint64_t subcluster_bytes() const noexcept {
    return extended_l2 ? cluster_bytes() / 32 : cluster_bytes();
  }

  // Refcount blocks: one cluster of counts.
  [[nodiscard]] constexpr std::uint32_t refcount_bits() const noexcept {
    return std::uint32_t{1} << refcount_order;
  }
  [[nodiscard]] constexpr std::uint64_t refcount_max() const noexcept {
    return refcount_order == 6 ? ~std::uint64_t{0} : (std::uint64_t{1} << refcount_bits()) - 1;
  }
  // Clusters one refcount block counts.
  [[nodiscard]] constexpr std::uint64_t refcounts_per_block() const noexcept {
    return (cluster_bytes() * 8) >> refcount_order;
  }
  [[nodiscard]] constexpr std::uint64_t refcount_block_index(HostCluster cluster) const noexcept {
    return cluster.value() / refcounts_per_block();
  }

  friend constexpr bool operator==(const Geometry&, const Geometry&) noexcept = default;
};

}  // namespace varve
