#include "meta/walk_table.h"

#include <algorithm>

#include "base/failure.h"

namespace varve {

Answer<Nothing> load_walk_table(Metadata& metadata, HostOffset offset, Bytes target) noexcept {
  const Geometry& geometry = metadata.geometry;
  TableCache::Table* table = metadata.l2.find(offset);
  if (table == nullptr) {
    if (offset.value() >= metadata.file->size()) {
      return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l2, offset.value(),
                        "L2 table lies beyond the end of the file", offset.value(),
                        metadata.file->size());
    }
    return Need{Need::Kind::l2_table, offset, 0};
  }
  for (std::uint64_t index = 0; index < geometry.l2_entries(); ++index) {
    const Result<void> valid =
        L2Entry::load(geometry, table->bytes(), index)
            .validate(geometry, metadata.header.version, metadata.header.has_data_file(),
                      offset + (index << geometry.l2_entry_bits()));
    if (!valid) {
      return valid.error();
    }
  }
  copy_bytes(target, table->bytes());
  return Nothing();
}

WalkRun walk_run_at(const Metadata& metadata, ConstBytes table, std::uint64_t entry,
                    std::uint64_t cluster) noexcept {
  const Geometry& geometry = metadata.geometry;
  const L2Entry first = L2Entry::load(geometry, table, entry);
  WalkRun run;
  if (first.is_compressed()) {
    const ClusterRun all = metadata.map.clusters_of(first.compressed_extent(geometry));
    run.clusters = {HostCluster(all.first.value() + cluster), 1};
    const bool is_last = cluster + 1 == all.count;
    run.entries = is_last ? 1 : 0;
    run.next_cluster = is_last ? 0 : cluster + 1;
    return run;
  }
  if (!first.has_host() || metadata.header.has_data_file()) {
    return run;
  }
  run.clusters = {geometry.cluster_of(first.host()), 1};
  const std::uint64_t left = std::min(
      geometry.l2_entries() - entry,
      geometry.refcounts_per_block() - run.clusters.first.value() % geometry.refcounts_per_block());
  while (run.entries < left) {
    const L2Entry next = L2Entry::load(geometry, table, entry + run.entries);
    if (next.is_compressed() ||
        next.host() != first.host() + run.entries * geometry.cluster_bytes()) {
      break;
    }
    ++run.entries;
  }
  run.clusters.count = run.entries;
  return run;
}

}  // namespace varve
