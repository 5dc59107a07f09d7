// What the first change of a session owes to programs that come later: unknown autoclear bits are
// cleared and every enabled bitmap is marked IN_USE (O12), both durable before the change itself.
// Threads: the engine's thread only.
#pragma once

#include <vector>

#include "base/buffer.h"
#include "format/bitmap_directory.h"
#include "meta/batch.h"
#include "meta/header_writer.h"

namespace varve {

class Commit;

class FirstWrite final : private Waiter {
 public:
  FirstWrite(Header& header, Storage& file, HeaderWriter& writer, Commit& commit,
             Image::Counters& counters) noexcept;

  [[nodiscard]] bool is_done() const noexcept { return step_ == Step::done; }
  // REQUIRES: !is_done(). Resumed when it is, or with the error (a later call tries again).
  void prepare(Waiter& waiter) noexcept;
  [[nodiscard]] bool is_running() const noexcept {
    return step_ != Step::idle && step_ != Step::done;
  }

 private:
  enum class Step : std::uint8_t {
    idle,               // -> loading_directory, clearing_bits
    loading_directory,  // -> marking_bitmaps, clearing_bits
    marking_bitmaps,    // -> bitmaps_barrier
    bitmaps_barrier,    // -> clearing_bits
    clearing_bits,      // -> done
    done,
  };
  void resume(const Result<void>& result) noexcept override;
  [[nodiscard]] Result<void> advance() noexcept;
  [[nodiscard]] Result<void> load_directory() noexcept;
  [[nodiscard]] Result<bool> mark_bitmaps() noexcept;
  void clear_bits() noexcept;
  void finish(const Result<void>& result) noexcept;

  Header* header_;
  Storage* file_;
  HeaderWriter* writer_;
  Commit* commit_;
  Batch batch_;
  Step step_ = Step::idle;
  WaitList waiters_;
  Buffer directory_;
  HeaderWriter::Update update_;
};

}  // namespace varve
