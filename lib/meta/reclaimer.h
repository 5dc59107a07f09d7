// Lowers the counts of dropped clusters once that is safe (O3, O7): the drop is durable, every
// request that may have seen the cluster has ended, and, with discard=unmap, the space has been
// punched out before anyone can claim it again. Works in the background from the engine's loop; a
// failure leaves the clusters counted: a leak, never damage. Threads: the engine's thread only.
#pragma once

#include "meta/batch.h"
#include "meta/cluster_store.h"
#include "meta/need.h"
#include "meta/table_cache.h"

namespace varve {

class Metadata;

class Reclaimer final : private Waiter {
 public:
  Reclaimer(Metadata& metadata, Image::Counters& counters, bool punch_holes) noexcept
      : metadata_(&metadata), batch_(counters), punch_holes_(punch_holes) {}

  // Something may have become reclaimable. Does nothing while it runs.
  void kick() noexcept;
  [[nodiscard]] bool is_running() const noexcept { return is_running_; }

  // Resumed when no drop is reclaimable at the moment, or with what keeps it from going on.
  void wait_idle(Waiter& waiter) noexcept;

 private:
  void resume(const Result<void>& result) noexcept override;
  void schedule() noexcept;
  void run() noexcept;
  // One stretch of a drop inside one refcount block. Nothing: done, or skipped.
  [[nodiscard]] Answer<Nothing> reclaim(ClusterStore::Drop& drop) noexcept;
  [[nodiscard]] bool start_punching(ClusterRun run) noexcept;
  void stop(const Result<void>& result) noexcept;

  Metadata* metadata_;
  Batch batch_;
  WaitList idle_;
  StorageRequest start_;
  bool punch_holes_;
  bool is_running_ = false;
  bool is_punching_ = false;
  std::uint64_t punched_ = 0;  // Clusters at the front of the drop that are punched already.
};

}  // namespace varve
