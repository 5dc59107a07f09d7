// Layers by their references: every layer's runs in the file are collected and sorted, and one
// sweep over all of them tells what is referred to once and what more often.
// Threads: the calling thread's engine.

#include <algorithm>
#include <new>

#include <varve/inspect.h>

#include "base/failure.h"
#include "base/try.h"
#include "base/units.h"

namespace varve {

namespace {

constexpr std::uint64_t kRunMax = 64 * kGiB;

// A run in the file, referred to by one layer.
struct HostRun {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::size_t layer = 0;
};

struct Inspection {
  const InspectOptions& options;
  InspectReport report;
  std::vector<HostRun> runs;
};

// Reads the mapping of one layer.
Result<void> collect(Inspection& inspection, Image& image, std::size_t layer) {
  LayerReport& told = inspection.report.layers[layer];
  told.disk_size = image.size();
  std::uint64_t previous_end = Error::kNoOffset;
  for (std::uint64_t offset = 0; offset < image.size();) {
    if (inspection.options.cancel != nullptr && inspection.options.cancel->load()) {
      return failure(ErrorCode::cancelled, "the inspection was cancelled");
    }
    const BlockStatus status =
        VARVE_TRY(image.status(offset, std::min(image.size() - offset, kRunMax), false));
    offset += status.length;
    if (!status.allocated) {
      continue;
    }
    if (status.zero) {
      told.zero_bytes += status.length;
    }
    if (status.compressed) {
      inspection.report.compressed_bytes += status.length;
    } else if (status.has_host_offset) {
      const bool continues = status.host_offset == previous_end;
      previous_end = status.host_offset + status.length;
      told.runs += continues ? 0 : 1;
      if (continues) {
        inspection.runs.back().end = previous_end;
      } else {
        inspection.runs.push_back({status.host_offset, previous_end, layer});
      }
    }
  }
  return {};
}

// One end of a run.
struct Edge {
  std::uint64_t offset = 0;
  bool begins = false;
  std::size_t layer = 0;
};

// Adds up what the layers share. A layer counts a byte of the file once, however often it refers to
// it.
void sweep(Inspection& inspection) {
  std::vector<Edge> edges;
  edges.reserve(inspection.runs.size() * 2);
  for (const HostRun& run : inspection.runs) {
    edges.push_back({run.begin, true, run.layer});
    edges.push_back({run.end, false, run.layer});
  }
  std::sort(edges.begin(), edges.end(),
            [](const Edge& a, const Edge& b) { return a.offset < b.offset; });
  std::vector<std::uint64_t> depth(inspection.report.layers.size(), 0);
  std::vector<std::size_t> active;  // Layers that cover the place.
  std::uint64_t place = 0;
  for (const Edge& edge : edges) {
    const std::uint64_t length = edge.offset - place;
    for (const std::size_t layer : active) {
      LayerReport& told = inspection.report.layers[layer];
      told.referenced_bytes += length;
      (active.size() == 1 ? told.unique_bytes : told.shared_bytes) += length;
    }
    inspection.report.data_bytes += active.empty() ? 0 : length;
    place = edge.offset;
    if (edge.begins && depth[edge.layer]++ == 0) {
      active.push_back(edge.layer);
    } else if (!edge.begins && --depth[edge.layer] == 0) {
      std::erase(active, edge.layer);
    }
  }
}

Result<InspectReport> inspect_layers(Image& image, const InspectOptions& options) {
  if (image.facts().format != Format::qcow2) {
    return failure(ErrorCode::unsupported, "only qcow2 images have layers");
  }
  Inspection inspection{options, {}, {}};
  const std::vector<SnapshotInfo> snapshots = VARVE_TRY(list_snapshots(image));
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    inspection.report.layers.emplace_back();
    inspection.report.layers.back().snapshot = snapshots[i];
    const std::unique_ptr<Image> snapshot = VARVE_TRY(open_snapshot(image, i));
    VARVE_TRY(collect(inspection, *snapshot, i));
    VARVE_TRY(snapshot->close());
  }
  inspection.report.layers.emplace_back();
  inspection.report.layers.back().active = true;
  VARVE_TRY(collect(inspection, image, snapshots.size()));
  sweep(inspection);
  for (LayerReport& layer : inspection.report.layers) {
    if (!layer.active) {
      layer.freed_by_delete_bytes = layer.unique_bytes + layer.snapshot.vm_state_size;
    }
  }
  return std::move(inspection.report);
}

}  // namespace

Result<InspectReport> inspect(Image& image, const InspectOptions& options) noexcept {
  try {
    return inspect_layers(image, options);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot keep the layers' runs");
  }
}

}  // namespace varve
