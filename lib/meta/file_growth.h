// Makes the file longer in large steps, so that space for new clusters is there before it is
// needed, reads as zeros, and writes into it do not extend the file one by one. Threads: the
// engine's thread only.
#pragma once

#include <varve/image.h>
#include <varve/storage.h>

#include "base/units.h"
#include "format/geometry.h"
#include "meta/cluster_store.h"
#include "meta/waiter.h"

namespace varve {

class Commit;

class FileGrowth {
 public:
  FileGrowth(const Geometry& geometry, Storage& file, ClusterStore& store, Commit& commit,
             Image::Counters& counters) noexcept
      : geometry_(geometry), file_(&file), store_(&store), commit_(&commit), counters_(&counters) {}
  FileGrowth(const FileGrowth&) = delete;
  FileGrowth& operator=(const FileGrowth&) = delete;

  // Resumed when the file reaches at least `end`, or the growth under way is done (ask again).
  // Errors: no_space, io.
  void grow(HostOffset end, Waiter& waiter) noexcept;
  // Resumed when the growth under way is done. REQUIRES: is_running().
  void wait(Waiter& waiter) noexcept { waiters_.add(waiter); }
  [[nodiscard]] bool is_running() const noexcept { return is_running_; }

 private:
  static void completed(StorageRequest& request, const Result<void>& result) noexcept;

  Geometry geometry_;
  Storage* file_;
  ClusterStore* store_;
  Commit* commit_;
  Image::Counters* counters_;
  WaitList waiters_;
  StorageRequest request_;
  std::uint64_t needed_ = 0;  // The size that was asked for, without the step.
  bool is_running_ = false;
};

}  // namespace varve
