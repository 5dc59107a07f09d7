#include "meta/map.h"

#include <algorithm>

#include "base/failure.h"
#include "base/mutation.h"
#include "base/try.h"

namespace varve {
namespace {

// A standard entry with a host cluster and nothing to look at twice. REQUIRES: no extended L2.
bool is_ordinary(const Geometry& geometry, L2Entry entry) noexcept {
  const std::uint64_t unaligned = L2Entry::kOffsetMask & (geometry.cluster_bytes() - 1);
  const std::uint64_t unusual =
      L2Entry::kCompressed | L2Entry::kReserved | L2Entry::kZero | unaligned;
  return (entry.raw() & unusual) == 0 && (entry.raw() & L2Entry::kOffsetMask) != 0;
}

}  // namespace

Answer<TableCache::Table*> Map::table_of(std::uint64_t l1_index) noexcept {
  VARVE_ASSERT(l1_index < parts_.l1->size());
  const L1Entry entry = parts_.l1->entry(l1_index);
  if (!entry.is_allocated()) {
    return static_cast<TableCache::Table*>(nullptr);
  }
  if (TableCache::Table* table = parts_.l2->find(entry.offset())) {
    return table;
  }
  const HostOffset where = parts_.l1->offset_of(l1_index);
  if (const Result<void> valid = entry.validate(parts_.geometry, where); !valid) {
    return valid.error();
  }
  if (entry.offset().value() >= parts_.file->size()) {
    return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l1, where.value(),
                      "L2 table lies beyond the end of the file", entry.offset().value(),
                      parts_.file->size());
  }
  return Need{Need::Kind::l2_table, entry.offset(), 0};
}

Result<L2Entry> Map::load_entry(const TableCache::Table& table,
                                std::uint64_t index) const noexcept {
  const L2Entry entry = L2Entry::load(parts_.geometry, table.bytes(), index);
  const HostOffset where = table.offset() + (index << parts_.geometry.l2_entry_bits());
  const Result<void> valid =
      entry.validate(parts_.geometry, parts_.version, parts_.has_data_file, where);
  if (!valid) {
    return valid.error();
  }
  return entry;
}

// The run of equal subclusters at `offset` inside its cluster.
MapExtent Map::first_run(L2Entry entry, GuestOffset offset,
                         bool is_table_exclusive) const noexcept {
  const Geometry& geometry = parts_.geometry;
  const std::uint64_t in_cluster = geometry.in_cluster(offset.value());
  MapExtent extent;
  extent.entry = entry;
  extent.length = geometry.cluster_bytes() - in_cluster;
  if (entry.is_compressed()) {
    extent.kind = MapExtent::Kind::compressed;
    return extent;
  }
  const std::uint64_t subcluster_bytes = geometry.subcluster_bytes();
  auto index = static_cast<std::uint32_t>(in_cluster / subcluster_bytes);
  const SubclusterKind kind = entry.subcluster(geometry, index, parts_.has_data_file);
  while (index < geometry.subclusters() &&
         entry.subcluster(geometry, index, parts_.has_data_file) == kind) {
    ++index;
  }
  extent.length = index * subcluster_bytes - in_cluster;
  extent.has_host = entry.has_host(parts_.has_data_file);
  switch (kind) {
    case SubclusterKind::unallocated:
      extent.kind = MapExtent::Kind::unallocated;
      break;
    case SubclusterKind::zero:
      extent.kind = MapExtent::Kind::zero;
      break;
    case SubclusterKind::data:
      extent.kind = MapExtent::Kind::data;
      extent.host = entry.host() + in_cluster;
      extent.is_exclusive = is_table_exclusive && entry.is_copied();
      break;
  }
  return extent;
}

// Whether a cluster's first run carries on an extent that reaches exactly to its start.
bool Map::continues(const MapExtent& extent, L2Entry next) const noexcept {
  if (next.is_compressed()) {
    return false;
  }
  const SubclusterKind kind = next.subcluster(parts_.geometry, 0, parts_.has_data_file);
  switch (extent.kind) {
    case MapExtent::Kind::unallocated:
      return kind == SubclusterKind::unallocated &&
             next.has_host(parts_.has_data_file) == extent.has_host;
    case MapExtent::Kind::zero:
      return kind == SubclusterKind::zero && next.has_host(parts_.has_data_file) == extent.has_host;
    case MapExtent::Kind::data:
      return kind == SubclusterKind::data && next.host() == extent.host + extent.length &&
             next.is_copied() == extent.entry.is_copied();
    case MapExtent::Kind::compressed:
      break;
  }
  return false;
}

Answer<MapExtent> Map::find(GuestOffset offset, std::uint64_t length) noexcept {
  const Geometry& geometry = parts_.geometry;
  const std::uint64_t l1_index = geometry.l1_index(offset);
  TableCache::Table* table = VARVE_ASK(table_of(l1_index));
  if (table == nullptr) {
    MapExtent extent;
    extent.length = geometry.l2_coverage() - offset.value() % geometry.l2_coverage();
    for (std::uint64_t next = l1_index + 1; extent.length < length && next < parts_.l1->size() &&
                                            !parts_.l1->entry(next).is_allocated();
         ++next) {
      extent.length += geometry.l2_coverage();
    }
    extent.length = std::min(extent.length, length);
    return extent;
  }
  std::uint64_t index = geometry.l2_index(offset);
  const std::uint64_t in_cluster = geometry.in_cluster(offset.value());
  if (!geometry.extended_l2 && length <= geometry.cluster_bytes() - in_cluster) {
    // What nearly every small request meets: answered without the general way's detours.
    const L2Entry only = L2Entry::load(geometry, table->bytes(), index);
    if (is_ordinary(geometry, only)) {
      MapExtent extent;
      extent.kind = MapExtent::Kind::data;
      extent.is_exclusive = parts_.l1->entry(l1_index).is_copied() && only.is_copied();
      extent.has_host = true;
      extent.length = length;
      extent.host = only.host() + in_cluster;
      extent.entry = only;
      return extent;
    }
  }
  const L2Entry entry = VARVE_TRY(load_entry(*table, index));
  MapExtent extent = first_run(entry, offset, parts_.l1->entry(l1_index).is_copied());
  bool reaches_end = geometry.in_cluster(offset.value() + extent.length) == 0;
  while (extent.length < length && reaches_end && ++index < geometry.l2_entries()) {
    const Result<L2Entry> next = load_entry(*table, index);
    if (!next.has_value() || !continues(extent, *next)) {
      break;
    }
    const MapExtent run = first_run(*next, GuestOffset(0), false);
    extent.length += run.length;
    reaches_end = run.length == geometry.cluster_bytes();
  }
  extent.length = std::min(extent.length, length);
  return extent;
}

HostOffset Map::place_of(GuestOffset offset) const noexcept {
  const Geometry& geometry = parts_.geometry;
  return parts_.l1->entry(geometry.l1_index(offset)).offset() +
         (geometry.l2_index(offset) << geometry.l2_entry_bits());
}

Result<void> Map::admit_counted(ClusterRun run, GuestOffset offset) const noexcept {
  if (run.count == 0 || parts_.store->can_be_counted(run)) {
    return {};
  }
  return corrupt_at(Corruption::refcount_missing_block, IoTag::l2, place_of(offset).value(),
                    "the image is damaged: no refcount block counts this cluster; run check",
                    run.first.value() << parts_.geometry.cluster_bits);
}

Answer<MapExtent> Map::find_in_place(GuestOffset offset, std::uint64_t length) noexcept {
  const Geometry& geometry = parts_.geometry;
  const MapExtent extent = VARVE_ASK(find(offset, length));
  if (extent.kind == MapExtent::Kind::data && extent.is_exclusive && !parts_.has_data_file) {
    const HostCluster first = geometry.cluster_of(extent.host);
    const HostCluster last = geometry.cluster_of(extent.host + (extent.length - 1));
    VARVE_TRY(admit_counted({first, last - first + 1}, offset));
  }
  return extent;
}

Answer<MapCluster> Map::cluster_at(GuestOffset offset) noexcept {
  const std::uint64_t l1_index = parts_.geometry.l1_index(offset);
  TableCache::Table* table = VARVE_ASK(table_of(l1_index));
  if (table == nullptr) {
    return MapCluster();
  }
  const std::uint64_t index = parts_.geometry.l2_index(offset);
  const L2Entry entry = VARVE_TRY(load_entry(*table, index));
  const ClusterRun run = run_of(entry);
  VARVE_TRY(parts_.guard->admit(run, IoTag::guest_data, place_of(offset)));
  VARVE_TRY(admit_counted(run, offset));
  return MapCluster{entry, parts_.l1->entry(l1_index).is_copied() && entry.is_copied()};
}

Answer<Nothing> Map::prepare(GuestOffset offset) noexcept {
  const std::uint64_t l1_index = parts_.geometry.l1_index(offset);
  TableCache::Table* table = VARVE_ASK(table_of(l1_index));
  if (table == nullptr) {
    return allocate_table(l1_index);
  }
  if (!parts_.l1->entry(l1_index).is_copied() && !is_broken(Rule::h2)) {
    return copy_table(l1_index, *table);
  }
  return Nothing();
}

Answer<Nothing> Map::allocate_table(std::uint64_t l1_index) noexcept {
  if (!parts_.l2->can_make()) {
    if (is_broken(Rule::h3_slot)) {
      static_cast<void>(parts_.store->claim(1));  // Claims, and waits before it links.
    }
    return Need{Need::Kind::l2_room, HostOffset(), 0};
  }
  if (const Result<void> reserved = parts_.guard->places().reserve(1); !reserved) {
    return reserved.error();
  }
  const Claim claim = VARVE_ASK(parts_.store->claim(1));
  const HostOffset offset = parts_.geometry.offset_of(claim.run.first);
  parts_.guard->places().add(claim.run.first, TablePlaces::Kind::l2);
  VARVE_ASSERT(parts_.l2->make(offset) != nullptr);
  parts_.l1->set(l1_index, L1Entry::table(offset, true));
  return Nothing();
}

// The table belongs to a snapshot too. Claim, copy and switch happen in one go, so nobody sees a
// state between.
Answer<Nothing> Map::copy_table(std::uint64_t l1_index, TableCache::Table& shared) noexcept {
  const Geometry& geometry = parts_.geometry;
  const HostOffset old_offset = shared.offset();
  const ClusterRun old{geometry.cluster_of(old_offset), 1};
  Result<void> admitted = parts_.guard->admit(old, IoTag::l2, parts_.l1->offset_of(l1_index));
  admitted = admitted ? parts_.guard->places().reserve(1) : admitted;
  if (!admitted) {
    return admitted.error();
  }
  VARVE_ASK(parts_.store->has_room_for_drops(1));
  if (!parts_.l2->can_copy(shared)) {
    if (is_broken(Rule::h3_slot)) {
      static_cast<void>(parts_.store->claim(1));
    }
    return Need{Need::Kind::l2_room, HostOffset(), 0};
  }
  const Claim claim = VARVE_ASK(parts_.store->claim(1));
  const HostOffset offset = geometry.offset_of(claim.run.first);
  parts_.guard->places().add(claim.run.first, TablePlaces::Kind::l2);
  TableCache::Table& copy = parts_.l2->copy(shared, offset);
  // Every cluster of a shared table has a path through the snapshot's table as well.
  const Bytes bytes = copy.edit(0, geometry.cluster_bytes());
  for (std::uint64_t index = 0; index < geometry.l2_entries(); ++index) {
    const L2Entry entry = L2Entry::load(geometry, bytes, index);
    if (!entry.is_compressed() && entry.is_copied()) {
      entry.with_copied(false).store(geometry, bytes, index);
    }
  }
  parts_.l1->set(l1_index, L1Entry::table(offset, true));
  parts_.store->release(old);
  return Nothing();
}

L2Entry Map::exchange(GuestOffset offset, L2Entry entry) noexcept {
  const Geometry& geometry = parts_.geometry;
  const L1Entry slot = parts_.l1->entry(geometry.l1_index(offset));
  VARVE_ASSERT(slot.is_copied() || is_broken(Rule::h2));
  TableCache::Table* table = parts_.l2->find(slot.offset());
  VARVE_ASSERT(table != nullptr);
  const std::uint64_t index = geometry.l2_index(offset);
  const L2Entry old = L2Entry::load(geometry, table->bytes(), index);
  const std::uint64_t begin = index << geometry.l2_entry_bits();
  entry.store(geometry, table->edit(begin, begin + geometry.l2_entry_bytes()), index);
  return old;
}

ClusterRun Map::clusters_of(const CompressedExtent& extent) const noexcept {
  const HostCluster first = parts_.geometry.cluster_of(extent.offset);
  const HostCluster last = parts_.geometry.cluster_of(extent.offset + (extent.length - 1));
  return {first, last - first + 1};
}

ClusterRun Map::run_of(L2Entry entry) const noexcept {
  if (parts_.has_data_file) {
    return {};
  }
  if (entry.is_compressed()) {
    return clusters_of(entry.compressed_extent(parts_.geometry));
  }
  return entry.has_host() ? ClusterRun{parts_.geometry.cluster_of(entry.host()), 1} : ClusterRun();
}

// What leads to a table of the image gives nothing back.
void Map::release(L2Entry entry) noexcept {
  const ClusterRun run = run_of(entry);
  if (parts_.guard->admit(run, IoTag::guest_data, HostOffset())) {
    parts_.store->release(run);
  }
}

}  // namespace varve
