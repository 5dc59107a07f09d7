// Space for compressed clusters: packed one behind the other, so that several share a host cluster,
// which then counts one reference for each. Threads: the engine's thread only.
#pragma once

#include <cstdint>

#include "format/l2_entry.h"
#include "meta/cluster_store.h"
#include "meta/need.h"

namespace varve {

class CompressedSpace {
 public:
  CompressedSpace(const Geometry& geometry, ClusterStore& store) noexcept
      : geometry_(geometry), store_(&store) {}

  // Room for `bytes` (at most one cluster) with its references counted. Ask again after a need:
  // nothing is lost between.
  [[nodiscard]] Answer<CompressedExtent> claim(std::uint64_t bytes) noexcept;

  // These clusters become free: nothing is packed into them any more.
  void forget(ClusterRun run) noexcept;

 private:
  Geometry geometry_;
  ClusterStore* store_;
  HostOffset next_;  // First free byte of the open cluster; a boundary: none is open.
};

}  // namespace varve
