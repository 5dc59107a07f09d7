// Layers by their references: each cluster of the file remembers the last layer that referred to it
// and whether there were others; layer by layer, window of clusters by window.
// Threads: the calling thread's engine.

#include <algorithm>
#include <bit>
#include <new>

#include <varve/inspect.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "base/try.h"
#include "base/units.h"
#include "image/qcow2_image.h"
#include "maintenance/still_image.h"
#include "meta/batch.h"

namespace varve {

namespace {

// Clusters per window at least, however little memory there may be.
constexpr std::uint64_t kInspectedClustersMin = 4096;
constexpr std::uint64_t kBatchBytes = 4 * kMiB;
constexpr std::uint64_t kBatchTablesMax = 64;

// A cluster's cell: the layer that referred to it last, from 1 on, and two flags.
constexpr std::uint32_t kSeveral = 1u << 31;  // Another layer referred to it before.
constexpr std::uint32_t kTable = 1u << 30;
constexpr std::uint32_t kLayerMask = kTable - 1;

class Inspection {
 public:
  Inspection(Metadata& metadata, const InspectOptions& options, InspectReport& report)
      : metadata_(metadata), options_(options), report_(report), geometry_(metadata.geometry) {}

  Result<void> run();

 private:
  Result<void> walk_layer(std::size_t layer);
  Result<void> walk_tables(std::size_t layer, HostOffset l1, ConstBytes entries);
  Result<void> walk_batch(std::size_t layer, const std::vector<HostOffset>& tables);
  Result<void> walk_entries(std::size_t layer, HostOffset table, ConstBytes bytes);
  void add_entry(std::size_t layer, L2Entry entry);
  void add_run(std::size_t layer, ClusterRun run, std::uint32_t kind);
  void add_up_window();
  [[nodiscard]] std::uint64_t table_bytes_without(std::size_t snapshot) const;
  [[nodiscard]] bool is_first_pass() const noexcept { return first_ == 0; }

  Metadata& metadata_;
  const InspectOptions& options_;
  InspectReport& report_;
  Geometry geometry_;
  std::uint64_t first_ = 0;  // Of the window.
  std::vector<std::uint32_t> cells_;
  std::uint64_t end_ = 0;              // One past the highest cluster anybody refers to.
  std::uint64_t next_contiguous_ = 0;  // Where the layer's next cluster stands in the same run.
  Buffer batch_;
};

void Inspection::add_run(std::size_t layer, ClusterRun run, std::uint32_t kind) {
  end_ = std::max(end_, run.first.value() + run.count);
  const std::uint64_t begin = std::max(run.first.value(), first_);
  const std::uint64_t stop = std::min(run.first.value() + run.count, first_ + cells_.size());
  const auto mark = static_cast<std::uint32_t>(layer + 1);
  LayerReport& told = report_.layers[layer];
  for (std::uint64_t cluster = begin; cluster < stop; ++cluster) {
    std::uint32_t& cell = cells_[cluster - first_];
    if ((cell & kLayerMask) == mark) {
      continue;  // Several compressed clusters share it.
    }
    const std::uint32_t several = (cell & kLayerMask) != 0 ? kSeveral : 0;
    cell = (cell & ~kLayerMask) | several | kind | mark;
    told.referenced_bytes += geometry_.cluster_bytes();
    told.table_bytes += kind == kTable ? geometry_.cluster_bytes() : 0;
  }
}

void Inspection::add_entry(std::size_t layer, L2Entry entry) {
  LayerReport& told = report_.layers[layer];
  const std::uint64_t cluster_bytes = geometry_.cluster_bytes();
  if (entry.is_compressed()) {
    told.compressed_bytes += is_first_pass() ? cluster_bytes : 0;
    add_run(layer, metadata_.map.clusters_of(entry.compressed_extent(geometry_)), 0);
    return;
  }
  const bool has_data_file = metadata_.header.has_data_file();
  if (is_first_pass()) {
    const auto zero_subclusters = static_cast<unsigned>(std::popcount(entry.bitmap() >> 32));
    const bool is_zero = !geometry_.extended_l2 && (entry.raw() & L2Entry::kZero) != 0;
    told.zero_bytes += is_zero ? cluster_bytes : zero_subclusters * geometry_.subcluster_bytes();
  }
  if (!entry.has_host(has_data_file)) {
    return;
  }
  if (is_first_pass()) {
    told.runs += entry.host().value() != next_contiguous_ ? 1 : 0;
    next_contiguous_ = entry.host().value() + cluster_bytes;
  }
  if (!has_data_file) {
    add_run(layer, {geometry_.cluster_of(entry.host()), 1}, 0);
  }
}

Result<void> Inspection::walk_entries(std::size_t layer, HostOffset table, ConstBytes bytes) {
  if (is_all_zero(bytes)) {
    return {};
  }
  for (std::uint64_t index = 0; index < geometry_.l2_entries(); ++index) {
    const L2Entry entry = L2Entry::load(geometry_, bytes, index);
    if (entry.raw() == 0 && entry.bitmap() == 0) {
      continue;
    }
    VARVE_TRY(entry.validate(geometry_, metadata_.header.version, metadata_.header.has_data_file(),
                             table + (index << geometry_.l2_entry_bits())));
    add_entry(layer, entry);
  }
  return {};
}

Result<void> Inspection::walk_batch(std::size_t layer, const std::vector<HostOffset>& tables) {
  if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
    return failure(ErrorCode::cancelled, "the inspection was cancelled");
  }
  const std::uint64_t cluster_bytes = geometry_.cluster_bytes();
  Batch batch(metadata_.counters);
  for (std::size_t i = 0; i < tables.size(); ++i) {
    VARVE_TRY(batch.read(*metadata_.file, IoTag::l2, tables[i],
                         batch_.bytes().subspan(i * cluster_bytes, cluster_bytes)));
  }
  VARVE_TRY(batch.run());
  for (std::size_t i = 0; i < tables.size(); ++i) {
    add_run(layer, {geometry_.cluster_of(tables[i]), 1}, kTable);
    VARVE_TRY(
        walk_entries(layer, tables[i], batch_.bytes().subspan(i * cluster_bytes, cluster_bytes)));
  }
  return {};
}

// `entries` is an L1 table as it stands on disk, at `l1`.
Result<void> Inspection::walk_tables(std::size_t layer, HostOffset l1, ConstBytes entries) {
  const std::uint64_t batch_tables = batch_.size() / geometry_.cluster_bytes();
  std::vector<HostOffset> tables;
  for (std::uint64_t at = 0; at < entries.size(); at += 8) {
    const L1Entry entry(load_be<std::uint64_t>(entries, at));
    if (entry.is_allocated()) {
      VARVE_TRY(entry.validate(geometry_, l1 + at));
      if (entry.offset().value() >= metadata_.file->size()) {
        return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l1, (l1 + at).value(),
                          "L2 table lies beyond the end of the file", entry.offset().value(),
                          metadata_.file->size());
      }
      tables.push_back(entry.offset());
    }
    if (tables.size() == batch_tables || (at + 8 == entries.size() && !tables.empty())) {
      VARVE_TRY(walk_batch(layer, tables));
      tables.clear();
    }
  }
  return {};
}

Result<void> Inspection::walk_layer(std::size_t layer) {
  const bool is_active = report_.layers[layer].active;
  const HostOffset offset =
      is_active ? metadata_.l1.offset() : metadata_.snapshots.entries[layer].l1_offset;
  const std::uint64_t entries =
      is_active ? metadata_.l1.size() : metadata_.snapshots.entries[layer].l1_entries;
  next_contiguous_ = 0;
  if (entries == 0) {
    return {};
  }
  if (!range_fits(offset.value(), entries * 8,
                  round_up(metadata_.file->size(), geometry_.cluster_bytes()))) {
    return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::snapshot_table,
                      metadata_.header.snapshot_table_offset.value(),
                      "an L1 table ends beyond the end of the file", offset.value(),
                      metadata_.file->size());
  }
  add_run(layer, {geometry_.cluster_of(offset), geometry_.clusters_for(entries * 8)}, kTable);
  Buffer l1 = VARVE_TRY(Buffer::allocate(entries * 8));
  Batch batch(metadata_.counters);
  VARVE_TRY(batch.read(*metadata_.file, IoTag::l1, offset, l1.bytes()));
  VARVE_TRY(batch.run());
  return walk_tables(layer, offset, l1.bytes());
}

void Inspection::add_up_window() {
  const std::uint64_t cluster_bytes = geometry_.cluster_bytes();
  for (const std::uint32_t cell : cells_) {
    if (cell == 0) {
      continue;
    }
    ((cell & kTable) != 0 ? report_.table_bytes : report_.data_bytes) += cluster_bytes;
    if ((cell & kSeveral) == 0) {
      report_.layers[(cell & kLayerMask) - 1].unique_bytes += cluster_bytes;
    }
  }
}

// The snapshot table's clusters once the entry is gone.
std::uint64_t Inspection::table_bytes_without(std::size_t snapshot) const {
  SnapshotTable one;
  one.entries.push_back(metadata_.snapshots.entries[snapshot]);
  const std::uint64_t bytes = metadata_.snapshots.serialised_bytes() - one.serialised_bytes();
  return geometry_.clusters_for(bytes) * geometry_.cluster_bytes();
}

Result<void> Inspection::run() {
  const std::uint64_t cluster_bytes = geometry_.cluster_bytes();
  // Compressed data in the last cluster may name sectors of one more.
  const std::uint64_t file_clusters = geometry_.clusters_for(metadata_.file->size()) + 1;
  const std::uint64_t step = std::clamp<std::uint64_t>(
      options_.memory_bytes / sizeof(std::uint32_t), kInspectedClustersMin,
      std::max(kInspectedClustersMin, file_clusters));
  batch_ = VARVE_TRY(Buffer::allocate(
      cluster_bytes * std::clamp<std::uint64_t>(kBatchBytes / cluster_bytes, 1, kBatchTablesMax)));
  do {
    cells_.assign(std::min(step, file_clusters - first_), 0);
    for (std::size_t layer = 0; layer < report_.layers.size(); ++layer) {
      VARVE_TRY(walk_layer(layer));
    }
    add_up_window();
    first_ += cells_.size();
  } while (first_ < std::min(end_, file_clusters));
  const std::uint64_t table_now =
      geometry_.clusters_for(metadata_.snapshot_table_bytes) * cluster_bytes;
  for (std::size_t i = 0; i < report_.layers.size(); ++i) {
    LayerReport& layer = report_.layers[i];
    layer.shared_bytes = layer.referenced_bytes - layer.unique_bytes;
    if (!layer.active) {
      const std::uint64_t table_then = table_bytes_without(i);
      layer.freed_by_delete_bytes =
          layer.unique_bytes + table_now - std::min(table_now, table_then);
    }
  }
  return {};
}

Result<InspectReport> inspect_layers(Image& image, const InspectOptions& options) {
  auto* const qcow2 = dynamic_cast<Qcow2Image*>(&image.core());
  if (qcow2 == nullptr) {
    return failure(ErrorCode::unsupported, "only qcow2 images have layers");
  }
  InspectReport report;
  std::vector<SnapshotInfo> snapshots = VARVE_TRY(list_snapshots(image));
  for (SnapshotInfo& snapshot : snapshots) {
    LayerReport& layer = report.layers.emplace_back();
    layer.disk_size = snapshot.disk_size;
    layer.snapshot = std::move(snapshot);
  }
  report.layers.emplace_back().active = true;
  report.layers.back().disk_size = image.size();
  StillImage still(*qcow2);
  VARVE_TRY(still.begin());
  VARVE_TRY(Inspection(qcow2->metadata(), options, report).run());
  return report;
}

}  // namespace

Result<InspectReport> inspect(Image& image, const InspectOptions& options) noexcept {
  try {
    return inspect_layers(image, options);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot keep the layers' clusters");
  }
}

}  // namespace varve
