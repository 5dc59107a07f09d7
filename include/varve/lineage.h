// Lineage: the tree of an image's snapshots, rebuilt from the image alone.
//
// Varve records with each of its snapshots which one the disk stood on, and with one of them that
// it was created or applied last. QEMU preserves these records but writes none: what is missing is
// told as such. QEMU's own apply leaves no trace, so `current` is what Varve did last, unless the
// table shows that another program took or removed a snapshot since.
//
// Threads: plain values. No I/O.
#pragma once

#include <cstddef>
#include <vector>

#include <varve/image.h>
#include <varve/result.h>
#include <varve/uuid.h>

namespace varve {

struct LineageNode {
  std::size_t parent = ~std::size_t{0};  // Index into list_snapshots; Lineage::kNone: see below.
  // Whether the parent is known. With kNone: true says that the snapshot has none, false that
  // another program made it, dropped its parent, or that the records contradict each other.
  bool is_known = false;
};

struct Lineage {
  static constexpr std::size_t kNone = ~std::size_t{0};

  std::vector<LineageNode> snapshots;  // In table order, as list_snapshots. Free of cycles.
  std::size_t current = kNone;         // The snapshot the disk stands on.
  bool is_current_known = false;
  // The snapshot Varve applied last, whatever was created since. None: there was no apply, or the
  // snapshot is gone.
  std::size_t last_applied = kNone;
  Uuid image;  // The image's own UUID; null before Varve gave it one.
};

// Errors: no_memory. Raw images have an empty lineage.
[[nodiscard]] Result<Lineage> snapshot_lineage(const Image& image) noexcept;

}  // namespace varve
