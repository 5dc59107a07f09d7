// What the first change of a session owes: the tables of snapshots are known to the guard, unknown
// autoclear bits are cleared and every enabled bitmap is marked IN_USE (O12), the latter two
// durable before the change itself, for programs that come later.
// Threads: the engine's thread only.
#pragma once

#include <vector>

#include "base/buffer.h"
#include "format/bitmap_directory.h"
#include "format/snapshot_table.h"
#include "meta/batch.h"
#include "meta/header_writer.h"
#include "meta/table_places.h"

namespace varve {

class Commit;

class FirstWrite final : private Waiter {
 public:
  struct Parts {
    Header* header = nullptr;
    Storage* file = nullptr;
    HeaderWriter* writer = nullptr;
    Commit* commit = nullptr;
    Image::Counters* counters = nullptr;
    const SnapshotTable* snapshots = nullptr;  // Null where nothing is ever written.
    TablePlaces* places = nullptr;
  };
  explicit FirstWrite(const Parts& parts) noexcept;

  [[nodiscard]] bool is_done() const noexcept { return step_ == Step::done; }
  // REQUIRES: !is_done(). Resumed when it is, or with the error (a later call tries again).
  void prepare(Waiter& waiter) noexcept;
  [[nodiscard]] bool is_running() const noexcept {
    return step_ != Step::idle && step_ != Step::done;
  }

 private:
  enum class Step : std::uint8_t {
    idle,               // -> loading_tables, loading_directory, clearing_bits, done
    loading_tables,     // -> itself, loading_directory, clearing_bits, done
    loading_directory,  // -> marking_bitmaps, clearing_bits
    marking_bitmaps,    // -> bitmaps_barrier
    bitmaps_barrier,    // -> clearing_bits
    clearing_bits,      // -> done
    done,
  };
  // Stretches of the file that hold L1 tables of snapshots.
  struct Stretch {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  void resume(const Result<void>& result) noexcept override;
  [[nodiscard]] Result<void> advance() noexcept;
  [[nodiscard]] Result<void> find_snapshot_tables() noexcept;
  // False: all of them are known.
  [[nodiscard]] Result<bool> load_tables() noexcept;
  [[nodiscard]] Result<void> place_tables() noexcept;
  void tables_unreadable(const Error& error) noexcept;
  [[nodiscard]] bool has_bitmaps() const noexcept;
  void mark_header() noexcept;
  [[nodiscard]] Result<void> load_directory() noexcept;
  [[nodiscard]] Result<bool> mark_bitmaps() noexcept;
  void clear_bits() noexcept;
  void finish(const Result<void>& result) noexcept;

  Parts parts_;
  Batch batch_;
  Step step_ = Step::idle;
  WaitList waiters_;
  std::vector<Stretch> stretches_;  // What is left of them.
  std::vector<Stretch> loading_;
  Buffer tables_;
  bool is_one_by_one_ = false;  // A read of several has failed.
  StorageRequest start_;
  Buffer directory_;
  HeaderWriter::Update update_;
};

}  // namespace varve
