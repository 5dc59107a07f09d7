// Content of the file that no guest sees: of clusters that were given back, that leaked, that lie
// behind everything in use, or behind the disk's end. Holes are skipped, what is there is read
// once.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "maintenance/check_observer.h"
#include "meta/metadata.h"

namespace varve {

class AuditResidue final : public CheckObserver {
 public:
  struct Clusters {
    std::uint64_t count = 0;
    std::uint64_t first = 0;  // Byte of the file.
  };

  explicit AuditResidue(Metadata& metadata) noexcept : metadata_(&metadata) {}

  // Before the check, which takes all of the budget's memory that is left. Errors: over_budget,
  // no_memory.
  [[nodiscard]] Result<void> prepare();

  void begin() noexcept override;
  void beyond_disk(std::uint64_t clusters, std::uint64_t where) noexcept override;
  // Errors: over_budget, no_memory.
  [[nodiscard]] Result<void> counted(std::uint64_t first, std::uint64_t end,
                                     std::uint64_t end_in_use, const Window& window) override;

  // Clusters that hold something else than zeros.
  [[nodiscard]] const Clusters& leaked() const noexcept { return leaked_; }
  [[nodiscard]] const Clusters& deleted() const noexcept { return deleted_; }
  [[nodiscard]] const Clusters& behind_end() const noexcept { return behind_end_; }
  // Clusters referred to behind the disk's end; `first` is the place of an entry.
  [[nodiscard]] const Clusters& beyond_disk() const noexcept { return beyond_disk_; }
  // Pieces that could not be read.
  [[nodiscard]] const Clusters& unreadable() const noexcept { return unreadable_; }

 private:
  [[nodiscard]] Result<std::uint64_t> look_at_piece(std::uint64_t offset, std::uint64_t stop,
                                                    std::uint64_t end_in_use, const Window& window);
  void add(Clusters& clusters, std::uint64_t cluster) noexcept;

  Metadata* metadata_;
  MeteredMemory memory_;
  Buffer piece_;
  std::uint64_t last_added_ = 0;  // Cluster 0 is never one of them.
  Clusters leaked_;
  Clusters deleted_;
  Clusters behind_end_;
  Clusters beyond_disk_;
  Clusters unreadable_;
};

}  // namespace varve
