// Runs of clusters that a window of L2 tables maps, gathered by refcount block, so that a walk
// edits each block once per window whatever the order of the clusters. Threads: the engine's
// thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <varve/result.h>

#include "base/bytes.h"
#include "base/units.h"
#include "format/geometry.h"
#include "meta/metadata.h"

namespace varve {

struct WalkItem {
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  static constexpr std::uint32_t kTable = kNone - 1;

  std::uint64_t cluster = 0;  // The first; all lie in one refcount block.
  std::uint32_t count = 0;
  std::uint32_t table = 0;      // Which table of the window maps them ...
  std::uint32_t entry = kNone;  // ... from this entry on; kTable: it is the table itself;
                                // kNone: a part of compressed data, which carries no flag.
  std::uint32_t next = kNone;   // Of the same block.
};

class WalkItems {
 public:
  explicit WalkItems(Metadata& metadata) noexcept : metadata_(&metadata) {}

  // Room for every block there is. Errors: no_memory.
  Result<void> reserve() noexcept;
  void clear() noexcept;

  // Validates every entry of the table and takes what it maps, the table itself included. Nothing
  // is changed yet. Whether any entry carries COPIED. Errors: corrupt, no_memory.
  [[nodiscard]] Result<bool> take_table(std::uint32_t table, HostOffset offset,
                                        ConstBytes bytes) noexcept;

  // The blocks the items lie in, as they were first met.
  [[nodiscard]] const std::vector<std::uint32_t>& blocks() const noexcept { return blocks_; }
  [[nodiscard]] std::uint32_t first_of(std::uint32_t block) const noexcept { return heads_[block]; }
  [[nodiscard]] WalkItem& item(std::uint32_t index) noexcept { return items_[index]; }

 private:
  struct Run {
    std::uint64_t cluster = 0;
    std::uint32_t count = 0;
    std::uint32_t entry = WalkItem::kNone;
  };
  [[nodiscard]] Result<bool> take_entries(std::uint32_t table, HostOffset offset, ConstBytes bytes);
  void take_compressed(std::uint32_t table, L2Entry entry);
  void add(std::uint32_t table, const Run& run);

  Metadata* metadata_;
  std::vector<WalkItem> items_;
  std::vector<std::uint32_t> heads_;  // By block: its last item, or kNone.
  std::vector<std::uint32_t> blocks_;
  std::optional<std::uint64_t> stray_;  // A cluster of the table that no block counts.
};

}  // namespace varve
