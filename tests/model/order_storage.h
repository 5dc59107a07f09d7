// OrderStorage: watches what an image writes, as it is issued, and names the ordering rule of
// docs/INVARIANTS.md that a write breaks because its prerequisites are not durable yet. It stands
// directly below the image and keeps what is durable beside what is in the air.
//
// Each metadata write is judged as if it survived a power cut alone (a disk may write anything in
// the air first): every count must still cover every reference (O1, O3, O4, O5), what becomes
// reachable must be on the disk already (O2, O4, O5) and hold no bytes of another life (O8). Data
// must not be written or punched where another owner is reachable (O7). Threads: the engine's.
// Lifetime: the record outlives the storage.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/reference_qcow2.h"
#include "sim/decorator_storage.h"
#include "sim/sector_image.h"

namespace varve::model {

// What the watch has found, of all images that were watched.
struct OrderRecord {
  std::uint64_t writes = 0;  // Judged.
  std::string violation;     // The first: "O1: ...".
};

class OrderStorage final : public sim::DecoratorStorage {
 public:
  // `start` is what the file holds now, all of it durable.
  OrderStorage(std::unique_ptr<Storage> inner, const sim::SparseBytes& start, OrderRecord& record);
  void submit(StorageRequest& request) noexcept override;

 private:
  struct Change {
    StorageOperation operation = StorageOperation::write;
    IoTag tag = IoTag::none;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::vector<std::byte> data;
    std::uint64_t number = 0;
    bool completed = false;
  };
  // What a sector of the file has seen since it last became free.
  struct Sector {
    bool stale = false;    // Holds bytes of another life.
    bool written = false;  // A write of this life is durable.
    bool reachable = false;
    bool ended_now = false;     // Became unreachable with the last flush.
    std::uint64_t ended = 0;    // The number of changes when its last life ended ...
    std::uint64_t touched = 0;  // ... and when it was last written to.
  };

  void forwarded(Forwarded& part) override;
  void note_completion(const Forwarded& part);
  void apply(const Change& change);
  void made_durable(const std::vector<std::uint64_t>& numbers);
  void look_again();
  void judge(const Change& change);
  void judge_data(const Change& change);
  void judge_metadata(const Change& change);
  void judge_reachable(const ReferenceReport& after, IoTag tag);
  void violate(const char* rule, const std::string& what);
  [[nodiscard]] Sector& sector(std::uint64_t index);
  [[nodiscard]] bool is_in_the_air(std::uint64_t index) const;
  [[nodiscard]] bool is_referenced(std::uint64_t index) const;
  [[nodiscard]] bool is_untouched(std::uint64_t index);
  [[nodiscard]] bool is_overwritten(const ReferenceReport& after, std::uint64_t index);

  OrderRecord& record_;
  sim::SectorImage durable_;
  std::vector<std::unique_ptr<Change>> air_;         // In the order of submission.
  std::vector<std::vector<std::uint64_t>> flushes_;  // What each flush covers, by number.
  std::vector<Sector> sectors_;
  std::vector<std::uint16_t> uses_;        // Of the durable image's clusters ...
  std::vector<std::uint32_t> references_;  // ... and how many there are to each.
  std::uint64_t cluster_bytes_ = 0;
  std::uint64_t next_change_ = 0;
  bool is_dirty_ = false;
  bool has_trusted_bitmap_ = false;
  bool has_image_ = false;  // The durable content makes sense.
  bool was_settled_ = true;
  bool flush_failed_ = false;
  unsigned headers_in_flight_ = 0;
};

}  // namespace varve::model
