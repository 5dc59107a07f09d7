// Making an image's refcount table and blocks anew from what is referenced, where they cannot be
// trusted: an entry that names no block, a block that cannot be read, is named twice or lies over
// something else, a cluster in use that no block counts.
//
// The new ones stand where nothing is, inside the file as far as there is room, so that it need not
// grow and storage of a fixed size is repaired as well. They count themselves and are durable
// before one write of the header names them: a power cut leaves the old ones or the new ones.
// Straight-line code that runs the engine; nobody else changes the image, and everything is on
// disk.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <varve/result.h>

#include "meta/metadata.h"
#include "meta/reference_walk.h"

namespace varve {

class RefcountRebuild {
 public:
  explicit RefcountRebuild(Metadata& metadata);

  // Learns what is in use. Errors: no_memory; io goes to problem().
  Result<void> survey();

  [[nodiscard]] bool is_needed() const noexcept { return is_needed_; }
  // A reference that cannot be followed: what it leads to might be taken for free.
  [[nodiscard]] const std::optional<Error>& problem() const noexcept { return problem_; }

  // REQUIRES: surveyed, no problem. The metadata in memory is of the past afterwards. Errors:
  // no_space, corrupt (a cluster has more references than a count can hold), no_memory, io.
  Result<void> run();

 private:
  void tell(const Error& error);
  void mark(std::vector<bool>& map, ClusterRun run);
  [[nodiscard]] bool is_busy(std::uint64_t cluster) const noexcept {
    return cluster < busy_.size() && busy_[cluster];
  }
  void survey_entry(L2Entry entry, HostOffset where);
  void spare_named_blocks();
  Result<void> read_blocks();
  void find_uncounted();
  Result<std::uint64_t> take(std::uint64_t count);
  void need(std::uint64_t cluster);
  Result<void> place_blocks();
  Result<void> place_table();
  Result<void> write_blocks();
  Result<void> count_window(std::uint64_t first, std::uint64_t count);
  void count_run(std::uint64_t first, ClusterRun run, std::uint64_t references);
  Result<void> write_window(std::uint64_t first);
  Result<void> write_table();
  Result<void> switch_header();

  Metadata* metadata_;
  Geometry geometry_;
  ReferenceWalk walk_;
  bool is_needed_ = false;
  std::optional<Error> problem_;
  std::uint64_t file_clusters_;
  std::vector<bool> used_;  // By what is no refcount structure.
  std::vector<bool> old_;   // By refcount structures, which stay until the header has switched.
  std::vector<bool> busy_;  // By either, or by the new ones.
  std::uint64_t next_free_ = 1;
  std::vector<bool> is_block_needed_;
  std::vector<std::uint64_t> blocks_;  // Clusters; 0: none.
  ClusterRun table_;
  std::vector<std::uint32_t> counts_;  // Of one window.
};

}  // namespace varve
