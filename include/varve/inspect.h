// What the layers of an image (the active disk and each snapshot) hold alone and in common, counted
// in clusters of the file: guest data, compressed data, saved machine state and tables.
//
// Threads: the image belongs to the calling thread's engine; the call blocks and runs it. An image
// open for writing is flushed first, and requests submitted meanwhile wait. Nothing else is
// written. Cost: the tables of every layer are read once, more often only where
// options.memory_bytes is too small for the file.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <varve/image.h>
#include <varve/result.h>
#include <varve/snapshot.h>

namespace varve {

struct InspectOptions {
  // Four bytes for each cluster of the file, in several passes where that is too small; one L1
  // table and a few L2 tables come on top.
  std::size_t memory_bytes = 64u << 20;
  const std::atomic<bool>* cancel = nullptr;
};

struct LayerReport {
  bool active = false;  // The disk as it is now; otherwise `snapshot` says which.
  SnapshotInfo snapshot;
  std::uint64_t disk_size = 0;
  std::uint64_t referenced_bytes =
      0;                           // Clusters of the file this layer refers to, tables included.
  std::uint64_t unique_bytes = 0;  // Of these, referred to by no other layer.
  std::uint64_t shared_bytes = 0;  // Of these, referred to by another layer too.
  std::uint64_t table_bytes = 0;   // Of these, its L1 and L2 tables.
  std::uint64_t compressed_bytes = 0;  // Guest bytes stored compressed.
  std::uint64_t zero_bytes = 0;        // Guest bytes marked as zeros.
  std::uint64_t runs = 0;              // Contiguous runs of guest data in the file.
  // Given back by deleting this snapshot: what is unique to it, and its part of the snapshot table.
  std::uint64_t freed_by_delete_bytes = 0;
};

struct InspectReport {
  std::vector<LayerReport> layers;  // Snapshots in table order, then the active disk.
  // Clusters of the file that some layer refers to, each counted once.
  std::uint64_t data_bytes = 0;   // Guest data, compressed or not, and saved machine state.
  std::uint64_t table_bytes = 0;  // L1 and L2 tables.
};

// Errors: unsupported (raw image), busy (a control operation runs), corrupt (the place that breaks
// a rule; check() tells of all), io, no_memory, cancelled, and those of flush.
[[nodiscard]] Result<InspectReport> inspect(Image& image,
                                            const InspectOptions& options = {}) noexcept;

}  // namespace varve
