// What the layers of an image (the active disk and each snapshot) hold alone and in common.
//
// Threads: the image belongs to the calling thread's engine; the call blocks and runs it. Nothing
// is written. Cost: reads every mapping table of every layer once; memory follows the number of
// contiguous runs, not the size of the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include <varve/image.h>
#include <varve/result.h>
#include <varve/snapshot.h>

namespace varve {

struct InspectOptions {
  const std::atomic<bool>* cancel = nullptr;
};

struct LayerReport {
  bool active = false;  // The disk as it is now; otherwise `snapshot` says which.
  SnapshotInfo snapshot;
  std::uint64_t disk_size = 0;
  std::uint64_t referenced_bytes = 0;       // Guest data this layer refers to in the file.
  std::uint64_t unique_bytes = 0;           // Of these, referred to by no other layer.
  std::uint64_t shared_bytes = 0;           // Of these, referred to by another layer too.
  std::uint64_t zero_bytes = 0;             // Guest bytes marked as zeros.
  std::uint64_t runs = 0;                   // Contiguous runs in the file.
  std::uint64_t freed_by_delete_bytes = 0;  // Given back by deleting this snapshot: what is unique
                                            // to it, and its saved machine state. Its tables come
                                            // on top.
};

struct InspectReport {
  std::vector<LayerReport> layers;     // Snapshots in table order, then the active disk.
  std::uint64_t data_bytes = 0;        // Guest data in the file, counted once.
  std::uint64_t compressed_bytes = 0;  // Guest bytes stored compressed, over all layers; they have
                                       // no place of their own in the file and are not in the sums.
};

// Errors: unsupported (raw image), corrupt, io, no_memory, cancelled.
[[nodiscard]] Result<InspectReport> inspect(Image& image,
                                            const InspectOptions& options = {}) noexcept;

}  // namespace varve
