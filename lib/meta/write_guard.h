// The image file as everything that changes it sees it: no write, zeroing or discard lands on a
// table of the image unless it is that table's own. What writes tables says so by the request's
// tag, and the place counts as the table's from then on; whatever else is about to land on one
// comes from a damaged or hostile image, is refused, and so is every change after it.
//
// Reads pass; those of guest data do not come here at all. Threads: the engine's thread only.
#pragma once

#include <optional>

#include <varve/storage.h>

#include "format/geometry.h"
#include "meta/table_places.h"

namespace varve {

class WriteGuard final : public Storage {
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

  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return file_->capabilities();
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return file_->size(); }
  void submit(StorageRequest& request) noexcept override;
  [[nodiscard]] Engine& engine() const noexcept override { return file_->engine(); }
  [[nodiscard]] const char* name() const noexcept override { return file_->name(); }
  [[nodiscard]] bool is_same_file(const Storage& other) const noexcept override {
    return file_->is_same_file(other);
  }
  [[nodiscard]] Result<void> lock(bool for_writing, bool share_everything) noexcept override {
    return file_->lock(for_writing, share_everything);
  }
  void unlock() noexcept override { file_->unlock(); }
  [[nodiscard]] Result<void> refresh() noexcept override { return file_->refresh(); }
  [[nodiscard]] StorageExtent extent_at(std::uint64_t offset,
                                        std::uint64_t length) const noexcept override {
    return file_->extent_at(offset, length);
  }

 private:
  [[nodiscard]] std::uint64_t cluster_bytes() const noexcept {
    return std::uint64_t{1} << cluster_bits_;
  }
  [[nodiscard]] ClusterRun run_of(const StorageRequest& request) const noexcept;
  [[nodiscard]] Result<void> examine(const StorageRequest& request) noexcept;
  [[nodiscard]] Result<void> settle_on(ClusterRun run, TablePlaces::Kind kind) noexcept;

  Storage* file_;
  Watcher* watcher_;
  std::uint32_t cluster_bits_;
  TablePlaces places_;
  bool has_tripped_ = false;
};

}  // namespace varve
