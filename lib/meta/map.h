// Where do these bytes of the disk live, and what is owed for changing them? Answers with plain
// values; a table that is not in memory is a Need. Knows no I/O and no requests. Threads: the
// engine's thread only.
#pragma once

#include <cstdint>

#include "base/units.h"
#include "format/geometry.h"
#include "format/l2_entry.h"
#include "meta/cluster_store.h"
#include "meta/l1_table.h"
#include "meta/need.h"
#include "meta/table_cache.h"
#include "meta/write_guard.h"

namespace varve {

// A run of guest bytes that are stored the same way.
struct MapExtent {
  enum class Kind : std::uint8_t { unallocated, zero, data, compressed };
  Kind kind = Kind::unallocated;
  bool is_exclusive =
      false;              // data: only the active disk refers to it: may be overwritten in place.
  bool has_host = false;  // zero, unallocated: a host cluster is kept behind it.
  std::uint64_t length = 0;  // Bytes; compressed: to the end of the cluster at most.
  HostOffset host;           // data: of the first byte.
  L2Entry entry;             // Of the first cluster.
};

// One cluster of the disk, for those who change it.
struct MapCluster {
  L2Entry entry;
  bool is_exclusive =
      false;  // Table and (for an entry with a host) cluster belong to the active disk alone.
};

class Map {
 public:
  struct Parts {
    Geometry geometry;
    std::uint32_t version = 3;
    bool has_data_file = false;
    Storage* file = nullptr;
    L1Table* l1 = nullptr;
    TableCache* l2 = nullptr;
    ClusterStore* store = nullptr;  // Null for read-only maps.
    WriteGuard* guard = nullptr;    // Null likewise.
  };
  explicit Map(const Parts& parts) noexcept : parts_(parts) {}

  [[nodiscard]] const Geometry& geometry() const noexcept { return parts_.geometry; }

  // The run at `offset`, at most `length` bytes and within one L2 table (longer where no table
  // exists). REQUIRES: offset inside what the L1 covers. Errors: corrupt, naming the entry's own
  // offset.
  [[nodiscard]] Answer<MapExtent> find(GuestOffset offset, std::uint64_t length) noexcept;

  // The same for somebody about to write where the run is data and exclusive. Errors: also
  // corrupt (refcount_missing_block) where it lies so far that nothing counts it: writing there
  // would make the file as long.
  [[nodiscard]] Answer<MapExtent> find_in_place(GuestOffset offset, std::uint64_t length) noexcept;

  // The cluster that holds `offset`, for somebody about to change it. REQUIRES: the image is
  // writable. Errors: those, and corrupt where its entry leads to one of the image's tables.
  [[nodiscard]] Answer<MapCluster> cluster_at(GuestOffset offset) noexcept;

  // Makes the L2 table of `offset` present and exclusively ours: allocates it, or copies a shared
  // one. After this answers Nothing, exchange() may be called for that table until control returns
  // to the engine (H2).
  [[nodiscard]] Answer<Nothing> prepare(GuestOffset offset) noexcept;

  // Replaces the cluster's entry in memory; returns the old one, whose clusters the caller releases
  // (see release). REQUIRES: prepare(offset) has just answered.
  L2Entry exchange(GuestOffset offset, L2Entry entry) noexcept;

  // Releases what an entry referred to in the image file. Needs room for two drops.
  void release(L2Entry entry) noexcept;

  // The clusters a compressed extent touches.
  [[nodiscard]] ClusterRun clusters_of(const CompressedExtent& extent) const noexcept;

 private:
  // The table of an L1 slot, or null where none is allocated.
  [[nodiscard]] Answer<TableCache::Table*> table_of(std::uint64_t l1_index) noexcept;
  [[nodiscard]] Result<L2Entry> load_entry(const TableCache::Table& table,
                                           std::uint64_t index) const noexcept;
  [[nodiscard]] MapExtent first_run(L2Entry entry, GuestOffset offset,
                                    bool is_table_exclusive) const noexcept;
  [[nodiscard]] bool continues(const MapExtent& extent, L2Entry next) const noexcept;
  // Where the entry of a cluster stands. REQUIRES: its table exists.
  [[nodiscard]] HostOffset place_of(GuestOffset offset) const noexcept;
  // Refuses what no refcount block counts: a wild entry names it.
  [[nodiscard]] Result<void> admit_counted(ClusterRun run, GuestOffset offset) const noexcept;
  // The clusters in the image file that an entry refers to; count 0 for none.
  [[nodiscard]] ClusterRun run_of(L2Entry entry) const noexcept;
  [[nodiscard]] Answer<Nothing> allocate_table(std::uint64_t l1_index) noexcept;
  [[nodiscard]] Answer<Nothing> copy_table(std::uint64_t l1_index,
                                           TableCache::Table& shared) noexcept;

  Parts parts_;
};

}  // namespace varve
