// Separating what overlaps: a cluster of a disk that is also one of the image's tables gets a place
// of its own with the same bytes, and of two slots of the active L1 that lead to one L2 table the
// second gets a copy. What disks read does not change. Straight-line code that runs the engine.
#pragma once

#include <cstdint>
#include <vector>

#include <varve/result.h>

#include "meta/metadata.h"

namespace varve {

class Separation {
 public:
  explicit Separation(Metadata& metadata) noexcept : metadata_(&metadata) {}

  // Finds what overlaps. Afterwards all tables are known to the guard. Errors: io, no_memory.
  Result<void> survey();
  [[nodiscard]] bool is_needed() const noexcept { return count() != 0; }
  [[nodiscard]] std::uint64_t count() const noexcept {
    return clusters_.size() + shared_slots_.size();
  }

  // REQUIRES: no count is too low. Each copy is durable, and counted, before the entry leads there;
  // what is in memory of the tables is of the past afterwards. Errors: no_space, io, no_memory,
  // corrupt.
  Result<void> run();

 private:
  struct Place {
    HostOffset where;  // The entry's own.
    HostOffset target;
    std::uint64_t flags = 0;  // What the entry keeps beside the offset.
  };
  Result<void> survey_table(HostOffset table, ConstBytes bytes);
  Result<HostOffset> claim();
  Result<void> move(const Place& place, IoTag entry_tag, IoTag content_tag);

  Metadata* metadata_;
  std::vector<Place> clusters_;
  std::vector<Place> shared_slots_;
};

}  // namespace varve
