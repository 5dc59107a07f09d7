// Clusters that are more than one thing because an entry is damaged: repairing does not write to
// them, since what is put right in one of the two is broken in the other. Straight-line code that
// runs the engine.
#pragma once

#include <optional>
#include <vector>

#include <varve/result.h>

#include "meta/reference_walk.h"

namespace varve {

class SharedPlaces {
 public:
  explicit SharedPlaces(Metadata& metadata) noexcept : metadata_(&metadata) {}

  // Looks at everything the image refers to. REQUIRES: refcount structures that can be trusted.
  // Errors: no_memory.
  [[nodiscard]] Result<void> survey();
  // The first table that lies over another one of another kind.
  [[nodiscard]] const std::optional<Error>& overlap() const noexcept { return overlap_; }
  // Whether a disk shows the cluster at `offset`.
  [[nodiscard]] bool is_data(std::uint64_t offset) const noexcept;

 private:
  void add_table(ClusterRun run, IoTag tag, HostOffset where);
  void add_data(const ReferenceWalk& walk, L2Entry entry, HostOffset where);

  Metadata* metadata_;
  std::vector<IoTag> tables_;  // By cluster of the file; none: no table.
  std::vector<bool> data_;
  std::optional<Error> overlap_;
};

}  // namespace varve
