// One buffer of a state that is being written: a few clusters that go to the file together.
#pragma once

#include "snapshot/state_store.h"

namespace varve {

class StateStore::Unit final : private Waiter {
 public:
  enum class State : std::uint8_t {
    empty,     // -> loading or ready
    loading,   // -> ready (what was written before is read back), or empty after an error
    ready,     // -> claiming
    claiming,  // -> writing, or ready when all of it is zeros
    writing,   // -> ready
  };

  Unit(StateStore& store, Buffer buffer) noexcept
      : store_(&store), buffer_(std::move(buffer)), batch_(store.metadata_->counters) {}

  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] std::uint64_t index() const noexcept { return index_; }
  [[nodiscard]] bool is_dirty() const noexcept { return is_dirty_; }
  [[nodiscard]] bool is_busy() const noexcept {
    return state_ != State::empty && state_ != State::ready;
  }
  [[nodiscard]] std::uint64_t last_use() const noexcept { return last_use_; }
  // Written without a gap from its start to its end.
  [[nodiscard]] bool is_full() const noexcept { return covered_ == buffer_.size(); }

  // Takes on another place of the area. REQUIRES: not busy, not dirty.
  void assign(std::uint64_t index) noexcept;
  // REQUIRES: ready.
  void put(std::uint64_t offset, ConstBytes source) noexcept;
  void mark_dirty() noexcept { is_dirty_ = true; }
  // Claims what it needs and writes. REQUIRES: ready.
  void write() noexcept;

 private:
  void resume(const Result<void>& result) noexcept override;
  void load() noexcept;
  void sum_up();
  void claim_and_write() noexcept;
  [[nodiscard]] Answer<Nothing> claim();
  [[nodiscard]] Result<void> collect(bool is_write);
  [[nodiscard]] bool needs_cluster(std::uint64_t cluster) const noexcept;
  [[nodiscard]] Bytes bytes_of(std::uint64_t first, std::uint64_t count) noexcept {
    const std::uint64_t cluster_bytes = store_->metadata_->geometry.cluster_bytes();
    return buffer_.bytes().subspan(first * cluster_bytes, count * cluster_bytes);
  }
  void done(State state, const Result<void>& result) noexcept;

  StateStore* store_;
  Buffer buffer_;
  Batch batch_;
  State state_ = State::empty;
  std::uint64_t index_ = 0;
  std::uint64_t covered_ = 0;
  std::uint64_t next_cluster_ = 0;  // Claimed up to here.
  std::uint64_t last_use_ = 0;
  bool is_dirty_ = false;
};

}  // namespace varve
