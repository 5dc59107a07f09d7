// Separating what overlaps: a cluster of a disk that is also one of the image's tables gets a place
// of its own with the same bytes, as do compressed bytes that lie over a table or in a cluster that
// is written in place; and of two slots of the active L1 that lead to one L2 table the second gets
// a copy. What disks read does not change. Straight-line code that runs the engine.
#pragma once

#include <cstdint>
#include <vector>

#include <varve/result.h>

#include "format/l2_entry.h"
#include "meta/metadata.h"
#include "meta/reference_walk.h"

namespace varve {

class Separation {
 public:
  explicit Separation(Metadata& metadata) noexcept : metadata_(&metadata) {}

  // Finds what overlaps. Afterwards all tables are known to the guard. Errors: io, no_memory.
  Result<void> survey();
  [[nodiscard]] bool is_needed() const noexcept { return count() != 0; }
  [[nodiscard]] std::uint64_t count() const noexcept {
    return clusters_.size() + compressed_.size() + shared_slots_.size();
  }

  // REQUIRES: no count is too low. Each copy is durable, and counted, before the entry leads there;
  // what is in memory of the tables is of the past afterwards. Errors: no_space, io, no_memory,
  // corrupt.
  Result<void> run();

 private:
  struct Place {
    HostOffset where;  // The entry's own.
    HostOffset target;
    std::uint64_t flags = 0;          // What the entry keeps beside the offset.
    HostOffset fresh = HostOffset();  // The copy.
  };
  struct CompressedPlace {
    HostOffset where;
    CompressedExtent extent;
    CompressedExtent fresh = CompressedExtent();
  };
  void survey_slots(const std::vector<ReferenceWalk::TableReference>& tables);
  void survey_data(HostOffset table, ConstBytes bytes);
  void survey_compressed(HostOffset table, ConstBytes bytes);
  // Calls visit(entry, where) for each entry with a place in the image file, of an L2 table that is
  // nothing else.
  template <class Visit>
  void for_each_entry(HostOffset table, ConstBytes bytes, Visit visit) const;
  [[nodiscard]] bool is_table(ClusterRun run) const;
  Result<void> copy(Place& place, IoTag tag);
  Result<void> copy(CompressedPlace& place);
  Result<void> lead(const Place& place, IoTag tag);
  Result<void> copy(HostOffset from, HostOffset to, Bytes bytes, IoTag tag);
  Result<void> lead(HostOffset where, std::uint64_t entry, IoTag tag);

  Metadata* metadata_;
  std::vector<bool> data_;  // By cluster of the file: an entry that is not compressed leads there.
  bool has_compressed_ = false;
  std::vector<Place> clusters_;
  std::vector<CompressedPlace> compressed_;
  std::vector<Place> shared_slots_;
};

}  // namespace varve
