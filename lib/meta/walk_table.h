// What the walks over snapshot trees share: loading a table for a walk, and reading its entries as
// runs of clusters.
#pragma once

#include <vector>

#include "meta/metadata.h"
#include "meta/need.h"

namespace varve {

// Copies the table at `offset` into `target`, whole and checked: a bad entry is found before
// anything is changed. Errors: corrupt.
[[nodiscard]] Answer<Nothing> load_walk_table(Metadata& metadata, HostOffset offset,
                                              Bytes target) noexcept;

// Clusters referred to by neighbouring entries that stand behind each other in one refcount block.
struct WalkRun {
  ClusterRun clusters;             // Count 0: the entries refer to nothing.
  std::uint64_t entries = 1;       // How many entries this finishes.
  std::uint64_t next_cluster = 0;  // Where to go on inside a compressed entry.
};
[[nodiscard]] WalkRun walk_run_at(const Metadata& metadata, ConstBytes table, std::uint64_t entry,
                                  std::uint64_t cluster) noexcept;

// Whether the slot of another L1 leads to the same table (flags aside).
[[nodiscard]] inline bool is_same_table(const std::vector<std::uint64_t>* other, std::uint64_t slot,
                                        L1Entry entry) noexcept {
  return other != nullptr && slot < other->size() &&
         L1Entry((*other)[slot]).offset() == entry.offset();
}

}  // namespace varve
