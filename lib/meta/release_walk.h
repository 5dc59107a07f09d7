// Drops one reference from everything a set of L2 tables maps, and from the tables: what a deleted
// snapshot, a replaced disk or a cancelled creation gives back. Where a count falls to one and the
// active disk owns the cluster, found by pairing L1 slots, COPIED is set again. Re-entrant; see
// ShareWalk.
//
// The drop itself is durable already (the tree was unpublished behind a barrier), so counts that
// stay above zero are lowered at once; clusters that become free go the way of every release (O7).
// Threads: the engine's thread only.
#pragma once

#include <vector>

#include "base/buffer.h"
#include "meta/metadata.h"
#include "meta/need.h"
#include "meta/share_walk.h"

namespace varve {

class ReleaseWalk {
 public:
  explicit ReleaseWalk(Metadata& metadata) noexcept : metadata_(&metadata) {}

  // Walks the tables of `l1`; with `skip`, slots whose table is the same there are left out. With
  // `end`, references at or behind that position are not dropped, but COPIED is put right for all
  // slots. Errors: no_memory.
  Result<void> begin(const std::vector<std::uint64_t>& l1, HostOffset where,
                     const std::vector<std::uint64_t>* skip, const WalkPosition* end) noexcept;
  // Goes on until done, a need or an error (corrupt: a count lower than the references).
  [[nodiscard]] Answer<Nothing> advance() noexcept;

  [[nodiscard]] const WalkPosition& position() const noexcept { return position_; }

 private:
  enum class Step : std::uint8_t {
    loading,   // -> dropping
    dropping,  // -> flags
    flags,     // -> loading (of the next slot)
  };
  [[nodiscard]] Answer<Nothing> walk_slot(L1Entry entry) noexcept;
  [[nodiscard]] Answer<Nothing> walk_table(HostOffset offset) noexcept;
  [[nodiscard]] Answer<Nothing> drop_all(HostOffset offset) noexcept;
  [[nodiscard]] Answer<std::uint64_t> drop(ClusterRun run) noexcept;
  [[nodiscard]] Answer<Nothing> set_flags() noexcept;
  // COPIED of the active L1 entry at the position.
  [[nodiscard]] Answer<Nothing> set_table_flag(L1Entry slot) noexcept;
  [[nodiscard]] Answer<Nothing> set_flag(TableCache::Table& active) noexcept;
  [[nodiscard]] bool is_before_end() const noexcept { return end_ == nullptr || position_ < *end_; }

  Metadata* metadata_;
  const std::vector<std::uint64_t>* l1_ = nullptr;
  HostOffset where_;  // Of that L1 in the file, for messages.
  const std::vector<std::uint64_t>* skip_ = nullptr;
  const WalkPosition* end_ = nullptr;
  Step step_ = Step::loading;
  WalkPosition position_;
  std::uint64_t dropped_in_run_ = 0;  // Clusters of the run at the position that are done.
  Buffer table_;
  std::uint64_t flag_entry_ = 0;
  HostOffset flag_table_;  // The active table the flags up to flag_entry_ are right in.
};

}  // namespace varve
