// CrashDisk: a simulated file, or an image and its data file, that remembers for every change from
// when on it was durable; and CrashStorage, an opening of a file. After a run, for_each_crash_state
// (crash_states.h) shows everything the files may hold after a power cut at any moment of it.
//
// Moments count what happened: each change, each completed flush and each mark of the test takes
// one, of both files together. A flush is one of its own file only. Threads: the engine's.
// Lifetime: the disk outlives its storages.
#pragma once

#include <array>
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

  std::size_t file = 0;
  StorageOperation operation = StorageOperation::write;
  IoTag tag = IoTag::none;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // 0 for a resize.
  std::vector<std::byte> data;
  Moment submitted = 0;     // It may have happened after this moment ...
  Moment durable = kNever;  // ... and must have after this one.
  bool completed = false;
  bool abandoned = false;  // A flush that failed covered it: no later one does.
  Moment lost = kNever;    // From then on it has not happened.

  // Sectors the event touches: those of the file, so that pieces tear as they would on a disk.
  [[nodiscard]] std::uint64_t sectors() const noexcept;
  [[nodiscard]] std::string text() const;
};

class CrashDisk {
 public:
  static constexpr std::size_t kFiles = 2;

  // Starts from `start`, all of it durable. `start` outlives the disk and does not change.
  explicit CrashDisk(const SparseBytes& start) : CrashDisk(start, nothing()) {}
  // The same with a second file.
  CrashDisk(const SparseBytes& start, const SparseBytes& second)
      : starts_{&start, &second}, contents_{SparseBytes(&start), SparseBytes(&second)} {}

  [[nodiscard]] const SparseBytes& start(std::size_t file = 0) const { return *starts_.at(file); }
  // As a running program sees the file.
  [[nodiscard]] const SparseBytes& content(std::size_t file = 0) const {
    return contents_.at(file);
  }
  [[nodiscard]] const std::vector<CrashEvent>& events() const noexcept { return events_; }
  // The moment reached: everything so far happened at or before it.
  [[nodiscard]] Moment now() const noexcept { return now_; }
  // Remembers a moment of interest (a guest request completed, say).
  Moment mark() {
    marks_.push_back(++now_);
    return now_;
  }
  // The next flush fails, as Linux does it: what it covered may have reached the disk or not, is
  // read back as if it had, and no later flush, which may well succeed, makes it durable.
  void fail_next_flush() noexcept { fails_flush_ = true; }
  // What a failed flush covered leaves the system's memory: it has not happened. REQUIRES: no
  // storage is open.
  void forget_abandoned();

  // Completed flushes and marks: moments at which more is promised than just before.
  [[nodiscard]] const std::vector<Moment>& marks() const noexcept { return marks_; }

  StorageCapabilities capabilities = sparse_file_capabilities();

 private:
  friend class CrashStorage;
  [[nodiscard]] static const SparseBytes& nothing() noexcept;

  std::array<const SparseBytes*, kFiles> starts_;
  std::array<SparseBytes, kFiles> contents_;
  std::vector<CrashEvent> events_;
  std::vector<std::vector<std::size_t>> flushes_;  // The events each flush in flight covers.
  std::vector<Moment> marks_;
  std::size_t durable_prefix_ = 0;  // Events before this one are all durable.
  Moment now_ = 0;
  bool fails_flush_ = false;
};

// Makes the sectors [first, last) of `event` happen to `content`.
void apply_event(const CrashEvent& event, std::uint64_t first, std::uint64_t last,
                 SectorImage& content);

class CrashStorage final : public DecoratorStorage {
 public:
  CrashStorage(Engine& engine, CrashDisk& disk, std::size_t file = 0);
  void submit(StorageRequest& request) noexcept override;

 private:
  void forwarded(Forwarded& part) override;
  CrashDisk& disk_;
  std::size_t file_;
};

}  // namespace varve::sim
