// CrashDisk: a simulated file that remembers, for every change, from when on it was durable; and
// CrashStorage, an opening of it. After a run, for_each_crash_state (crash_states.h) shows every
// content the file may have after a power cut at any moment of it.
//
// Moments count what happened: each change, each completed flush and each mark of the test takes
// one. Threads: the engine's. Lifetime: the disk outlives its storages.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <varve/engine.h>
#include <varve/storage.h>

#include "sim/decorator_storage.h"
#include "sim/sector_image.h"
#include "sim/sim_disk.h"

namespace varve::sim {

using Moment = std::uint64_t;

// The unit a power cut may separate.
inline constexpr std::uint64_t kCrashSectorBytes = 512;

struct CrashEvent {
  static constexpr Moment kNever = ~Moment{0};

  StorageOperation operation = StorageOperation::write;
  IoTag tag = IoTag::none;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // 0 for a resize.
  std::vector<std::byte> data;
  Moment submitted = 0;     // It may have happened after this moment ...
  Moment durable = kNever;  // ... and must have after this one.
  bool completed = false;

  // Sectors the event touches: those of the file, so that pieces tear as they would on a disk.
  [[nodiscard]] std::uint64_t sectors() const noexcept;
  [[nodiscard]] std::string text() const;
};

class CrashDisk {
 public:
  // Starts from `start`, all of it durable. `start` outlives the disk and does not change.
  explicit CrashDisk(const SparseBytes& start) : start_(start), content_(&start) {}

  [[nodiscard]] const SparseBytes& start() const noexcept { return start_; }
  // As a running program sees the file.
  [[nodiscard]] const SparseBytes& content() const noexcept { return content_; }
  [[nodiscard]] const std::vector<CrashEvent>& events() const noexcept { return events_; }
  // The moment reached: everything so far happened at or before it.
  [[nodiscard]] Moment now() const noexcept { return now_; }
  // Remembers a moment of interest (a guest request completed, say).
  Moment mark() {
    marks_.push_back(++now_);
    return now_;
  }
  // Completed flushes and marks: moments at which more is promised than just before.
  [[nodiscard]] const std::vector<Moment>& marks() const noexcept { return marks_; }

  StorageCapabilities capabilities = sparse_file_capabilities();

 private:
  friend class CrashStorage;

  const SparseBytes& start_;
  SparseBytes content_;
  std::vector<CrashEvent> events_;
  std::vector<std::vector<std::size_t>> flushes_;  // The events each flush in flight covers.
  std::vector<Moment> marks_;
  std::size_t durable_prefix_ = 0;  // Events before this one are all durable.
  Moment now_ = 0;
};

// Makes the sectors [first, last) of `event` happen to `content`.
void apply_event(const CrashEvent& event, std::uint64_t first, std::uint64_t last,
                 SectorImage& content);

class CrashStorage final : public DecoratorStorage {
 public:
  CrashStorage(Engine& engine, CrashDisk& disk);
  void submit(StorageRequest& request) noexcept override;

 private:
  void forwarded(Forwarded& part) override;
  CrashDisk& disk_;
};

}  // namespace varve::sim
