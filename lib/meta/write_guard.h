// The image file as everything that changes it sees it: no write, zeroing or discard lands on a
// table of the image unless it is that table's own. What writes tables says so by the request's
// tag, and the place counts as the table's from then on; whatever else is about to land on one
// comes from a damaged or hostile image, is refused, and so is every change after it.
//
// Reads pass; those of guest data do not come here at all. Threads: the engine's thread only.
#pragma once

#include <optional>

#include "format/geometry.h"
#include "io/forwarding_storage.h"
#include "meta/table_places.h"

namespace varve {

class WriteGuard final : public ForwardingStorage {
 public:
  class Watcher {
   public:
    // Something was refused: the image is damaged. Told once.
    virtual void overlap_found(const Error& error) noexcept = 0;

   protected:
    ~Watcher() = default;
  };

  WriteGuard(Storage& file, const Geometry& geometry, Watcher& watcher) noexcept;

  [[nodiscard]] TablePlaces& places() noexcept { return places_; }
  [[nodiscard]] const TablePlaces& places() const noexcept { return places_; }

  // The first cluster of the run that holds a table of another kind.
  [[nodiscard]] std::optional<HostCluster> find_foreign(ClusterRun run,
                                                        TablePlaces::Kind own) const noexcept;
  // Success when `run` may be used as what `tag` says; otherwise the image counts as damaged from
  // now on. `where` is the field that leads there. Errors: corrupt (cluster_overlaps_metadata).
  [[nodiscard]] Result<void> admit(ClusterRun run, IoTag tag, HostOffset where) noexcept;

  [[nodiscard]] bool has_tripped() const noexcept { return has_tripped_; }

  void submit(StorageRequest& request) noexcept override;

 private:
  [[nodiscard]] std::uint64_t cluster_bytes() const noexcept {
    return std::uint64_t{1} << cluster_bits_;
  }
  [[nodiscard]] ClusterRun run_of(const StorageRequest& request) const noexcept;
  [[nodiscard]] Result<void> examine(const StorageRequest& request) noexcept;
  [[nodiscard]] Result<void> settle_on(ClusterRun run, TablePlaces::Kind kind) noexcept;

  Watcher* watcher_;
  std::uint32_t cluster_bits_;
  TablePlaces places_;
  bool has_tripped_ = false;
};

}  // namespace varve
