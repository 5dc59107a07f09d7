// Everything an open qcow2 image keeps in memory about its file, and the way to what is missing.
//
// State that several queues of one image would share lives here and nowhere else.
// Threads: the engine's thread only.
#pragma once

#include <memory>
#include <optional>

#include <varve/check.h>
#include <varve/image.h>
#include <varve/storage.h>

#include "base/meter.h"
#include "format/header.h"
#include "format/snapshot_table.h"
#include "meta/cluster_store.h"
#include "meta/commit.h"
#include "meta/compressed_space.h"
#include "meta/control_slot.h"
#include "meta/eras.h"
#include "meta/file_growth.h"
#include "meta/first_write.h"
#include "meta/header_writer.h"
#include "meta/l1_table.h"
#include "meta/map.h"
#include "meta/need.h"
#include "meta/reclaimer.h"
#include "meta/refcount_growth.h"
#include "meta/refcounts.h"
#include "meta/table_cache.h"
#include "meta/write_guard.h"

namespace varve {

class Metadata final : private Waiter,
                       private ClusterStore::Residents,
                       private WriteGuard::Watcher {
 public:
  struct Config {
    Storage* file = nullptr;
    Storage* data_file = nullptr;  // Null: data stands in the image file.
    bool writable = false;
    DiscardMode discard = DiscardMode::ignore;
    std::size_t l2_cache_bytes = 0;
    std::size_t refcount_cache_bytes = 0;
    unsigned operations_max = 0;
    Meter* meter = nullptr;  // Null: nothing is limited.
  };
  // What open has read from the file.
  struct Loaded {
    Header header;
    Buffer header_sector;
    std::vector<std::uint64_t> l1;
    std::vector<std::uint64_t> refcount_table;
    SnapshotTable snapshots;
    std::uint64_t snapshot_table_bytes = 0;
    // Of a damaged snapshot table, which may only be repaired: what is not in `snapshots`, and
    // whether that is the end of the table and nothing else.
    std::vector<Loss> snapshot_losses;
    bool are_losses_at_end = true;
    std::uint64_t file_end = 0;  // Behind which nothing of it was looked for.
  };
  // Errors: no_memory.
  static Result<std::unique_ptr<Metadata>> make(const Config& config, Loaded loaded) noexcept;
  Metadata(const Config& config, Loaded loaded);
  ~Metadata();

  // Brings what a question needed; the waiter is resumed, with success to ask again, or with the
  // error.
  void satisfy(const Need& need, Waiter& waiter) noexcept;
  // Resumes the waiter from the engine's loop.
  void defer(Waiter& waiter, const Result<void>& result) noexcept;

  // Nothing is under way that the engine would come back to.
  [[nodiscard]] bool is_idle() const noexcept;

  // A request has ended: what it held back may be reclaimed.
  void leave_era(std::uint64_t era) noexcept;
  // Resumed when every request that has begun by now has ended; later ones do not matter. One
  // waiter at a time.
  void wait_for_requests(Waiter& waiter) noexcept;

  // The control operation is over: whoever waits for its turn has it now, and is resumed.
  void give_back_control() noexcept;

  // While the file does not hold the disk that is served (an apply), guests' flushes wait.
  void hold_flushes() noexcept { are_flushes_held_ = true; }
  void let_flushes_go() noexcept;
  [[nodiscard]] bool are_flushes_held() const noexcept { return are_flushes_held_; }
  // Resumed when they may go on. REQUIRES: are_flushes_held().
  void wait_to_flush(Waiter& waiter) noexcept { held_flushes_.add(waiter); }

  // The dirty bit (O6): taken durably before the first divergence, cleared by the last holder. v3
  // only; for v2 images both succeed without a write.
  void take_dirty(Waiter& waiter, HeaderWriter::Update& update) noexcept;
  // The same as a part of a header change that is about to be written.
  void patch_with_dirty(HeaderPatch& patch) noexcept;
  // Adds to `patch` what giving back one hold means for the header; call released_dirty after it is
  // durable.
  void patch_without_dirty(HeaderPatch& patch) noexcept;
  void released_dirty() noexcept;

  WriteGuard guard;
  Storage* file;  // Where it is written: through the guard.
  Storage* data_file;
  bool is_writable;
  Meter* meter;  // What is done for the image's sake is told here; null: nothing is limited.
  Image::Counters counters;
  Header header;
  Geometry geometry;
  SnapshotTable snapshots;
  std::uint64_t snapshot_table_bytes;  // As it stands on disk: other programs' entries are shorter.
  std::vector<Loss> snapshot_losses;   // Of a damaged table (see Loaded).
  bool are_losses_at_end;
  std::uint64_t file_end_at_load;
  Eras eras;
  HeaderWriter header_writer;
  Refcounts refcounts;
  ClusterStore store;
  CompressedSpace compressed_space;
  L1Table l1;
  TableCache l2;
  Map map;
  Commit commit;
  RefcountGrowth refcount_growth;
  FileGrowth file_growth;
  FirstWrite first_write;
  Reclaimer reclaimer;
  ControlSlot control;  // Of control operations (H5).

  // The storage guest data stands in: for writes, and for reads, which nothing needs to guard.
  [[nodiscard]] Storage& guest_storage() const noexcept {
    return data_file != nullptr ? *data_file : *file;
  }
  [[nodiscard]] Storage& guest_source() const noexcept {
    return data_file != nullptr ? *data_file : *plain_file_;
  }

 private:
  void resume(const Result<void>& result) noexcept override;  // After every flush round.
  [[nodiscard]] Result<void> reserve(const Config& config, ConstBytes header_sector) noexcept;
  [[nodiscard]] std::optional<HostCluster> find_resident(ClusterRun run) const noexcept override;
  [[nodiscard]] Result<void> place_tables() noexcept;
  void overlap_found(const Error& error) noexcept override;

  struct Deferred {
    WaitList waiters;
    Result<void> result;
    StorageRequest request;
    bool is_posted = false;
  };
  void post(Deferred& deferred) noexcept;
  // Nobody waits for the corrupt mark: what matters is that it gets there.
  class CorruptMark final : public Waiter {
   public:
    void resume(const Result<void>&) noexcept override {}
    HeaderWriter::Update update;
  };
  Storage* plain_file_;
  CorruptMark corrupt_mark_;
  Deferred deferred_success_;
  Deferred deferred_failure_;
  WaitList held_flushes_;
  bool are_flushes_held_ = false;
  unsigned dirty_holders_ = 0;
  Waiter* requests_waiter_ = nullptr;
  std::uint64_t requests_stamp_ = 0;
  std::vector<std::uint64_t> refcount_table_;  // Between construction and reserve.
};

}  // namespace varve
