// Tables in memory: a bounded cache of cluster-sized tables (L2 tables, refcount blocks) by their
// offset in the file.
//
// The cache never writes. Dirty tables leave it only when a flush round (commit.h) has written a
// copy of them, so the order of writes is decided in one place. It holds as many tables as it was
// told, at least two.
//
// Tables that can go at once stand in queues, so that finding one to give up does not depend on how
// many there are. A use is only noted in the table; whoever looks for one to give up moves those
// used since they were queued to the end, and takes of the next few the one used longest ago: exact
// in small caches, near it in large ones. Threads: the engine's thread only.
#pragma once

#include <memory>
#include <vector>

#include <varve/image.h>
#include <varve/storage.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/units.h"
#include "meta/waiter.h"

namespace varve {

class TableCache {
 public:
  struct DirtySpan {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool is_early = false;  // Nothing in it must wait for a round.
  };
  class Table : public ListNode<Table> {
   public:
    [[nodiscard]] HostOffset offset() const noexcept { return offset_; }
    [[nodiscard]] ConstBytes bytes() const noexcept { return buffer_.bytes(); }
    [[nodiscard]] DirtySpan dirty_span() const noexcept {
      return {dirty_begin_, dirty_end_, is_early_};
    }
    [[nodiscard]] bool is_dirty() const noexcept { return dirty_end_ != 0; }
    // Changed by edit_early only: may be written at any moment.
    [[nodiscard]] bool is_early() const noexcept { return is_early_; }

    // Bytes to change; [begin, end) becomes dirty.
    [[nodiscard]] Bytes edit(std::uint64_t begin, std::uint64_t end) noexcept;
    // The same for a change that is safe on disk at any moment, before or after everything else.
    [[nodiscard]] Bytes edit_early(std::uint64_t begin, std::uint64_t end) noexcept;

   private:
    friend class TableCache;
    enum class State : std::uint8_t { empty, loading, ready };

    HostOffset offset_;
    Buffer buffer_;
    State state_ = State::empty;
    std::uint32_t writers_ =
        0;  // Rounds that are writing a copy of it: reading it back now would be stale.
    std::uint64_t dirty_begin_ = 0;  // Bytes; empty when dirty_end_ is 0.
    std::uint64_t dirty_end_ = 0;
    bool is_early_ = false;
    bool is_kept_ = false;
    std::uint64_t last_use_ = 0;  // On the cache's clock; 0 while only a walk has used it.
    std::uint64_t queued_at_ = 0;
    TableCache* cache_ = nullptr;
    WaitList waiters_;
    StorageRequest request_;
    IoVector vector_;
    Table* hash_next_ = nullptr;
  };

  TableCache(Storage& storage, Image::Counters& counters, IoTag tag,
             std::uint64_t table_bytes) noexcept;
  TableCache(const TableCache&) = delete;
  TableCache& operator=(const TableCache&) = delete;
  ~TableCache();

  // REQUIRES: called once, before use. Errors: no_memory.
  Result<void> reserve(std::size_t capacity) noexcept;

  // The table when it is in memory, else null. No I/O.
  [[nodiscard]] Table* find(HostOffset offset) noexcept;

  // The same for walks over everything: what others use stays more recently used.
  [[nodiscard]] Table* find_quietly(HostOffset offset) noexcept;

  // Whether anything is kept for `offset`, loading included.
  [[nodiscard]] bool holds(HostOffset offset) const noexcept { return lookup(offset) != nullptr; }

  enum class LoadOutcome : std::uint8_t {
    started,  // The waiter is resumed when it is there, or with the error.
    no_room,  // Every table is dirty or busy: clean some first.
    no_memory,
  };
  LoadOutcome load(HostOffset offset, Waiter& waiter) noexcept;
  // Loads a table that a walk will come to: not given up before let_go(), the first to go after.
  LoadOutcome load_for_walk(HostOffset offset, Waiter& waiter) noexcept;
  void let_go(HostOffset offset) noexcept;

  // A table of zeros at `offset`, wholly dirty; null when there is no room (or no memory, which is
  // the same to callers: a round frees tables).
  [[nodiscard]] Table* make(HostOffset offset) noexcept;

  // Whether make() or copy() would find room now.
  [[nodiscard]] bool can_make() noexcept;
  [[nodiscard]] bool can_copy(Table& source) noexcept;
  // A copy of `source` at `offset`, wholly dirty; `source` itself may be given up for it when it is
  // clean. REQUIRES: can_copy(source).
  [[nodiscard]] Table& copy(Table& source, HostOffset offset) noexcept;

  // Drops what is cached at `offset`, dirty or not: the cluster is free. False while a round writes
  // or a load reads it.
  [[nodiscard]] bool forget(HostOffset offset) noexcept;

  // For rounds: the first dirty table in a slot from `cursor` on, only early ones where asked; the
  // cursor moves behind it. Null: no more.
  [[nodiscard]] Table* next_dirty(std::size_t& cursor, bool early_only) noexcept;
  // Marks a table clean and busy; dirty again after a failed write.
  [[nodiscard]] DirtySpan begin_write(Table& table) noexcept;
  void end_write(HostOffset offset, DirtySpan span, bool written) noexcept;

  // Since the cache was made: lookups answered from memory, and tables read.
  [[nodiscard]] std::uint64_t hits() const noexcept { return hits_; }
  [[nodiscard]] std::uint64_t loads() const noexcept { return loads_; }
  // Tables looked at to find one to give up.
  [[nodiscard]] std::uint64_t looked_at() const noexcept { return looked_at_; }

  [[nodiscard]] bool is_loading() const noexcept { return loading_count_ != 0; }
  [[nodiscard]] std::size_t dirty_count() const noexcept { return dirty_count_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return table_bytes_; }

 private:
  [[nodiscard]] Table* lookup(HostOffset offset) const noexcept;
  // An empty table that stands in no queue; null where every other one is dirty or busy.
  [[nodiscard]] Table* take_slot(const Table* keep = nullptr) noexcept;
  [[nodiscard]] Table* take_empty() noexcept;
  // A slot for a table of a walk: one that a walk is done with, rather than more memory.
  [[nodiscard]] Table* take_walked_slot() noexcept;
  // What can go and only a walk has used; else the table used longest ago.
  [[nodiscard]] Table* find_walked(const Table* keep) noexcept;
  [[nodiscard]] Table* find_oldest(const Table* keep) noexcept;
  // Its state has changed: whether it can go, and so stands in a queue, may have too.
  void queue(Table& table) noexcept;
  LoadOutcome load_into(Table* table, HostOffset offset, Waiter& waiter) noexcept;
  [[nodiscard]] bool grow() noexcept;
  void link(Table& table, HostOffset offset) noexcept;
  void unlink(Table& table) noexcept;
  void set_clean(Table& table) noexcept;
  [[nodiscard]] std::size_t bucket(HostOffset offset) const noexcept;
  static void loaded(StorageRequest& request, const Result<void>& result) noexcept;

  Storage* storage_;
  Image::Counters* counters_;
  IoTag tag_;
  std::uint64_t table_bytes_;
  std::size_t capacity_ = 0;
  std::size_t dirty_count_ = 0;
  std::size_t loading_count_ = 0;
  std::uint64_t clock_ = 0;
  std::uint64_t hits_ = 0;
  std::uint64_t loads_ = 0;
  std::uint64_t looked_at_ = 0;
  std::vector<std::unique_ptr<Table>> tables_;
  Table* last_found_ = nullptr;
  List<Table> empty_;
  List<Table> walked_;  // Can go, and nobody but a walk has used it when it was queued.
  List<Table> used_;    // Can go.
  std::vector<Table*> buckets_;
};

}  // namespace varve
