// What a worker tells about its work on an image, in memory that outlives it: what each sector of
// the disk and of every snapshot may show after the worker was killed.
//
// The worker writes an entry before it does what the entry allows, and takes one back only after
// what forbids it is durable; so the log may be read at whatever instant the worker died. At most
// one request that changes a sector is in flight. Threads: one writes at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>

#include <sys/mman.h>

#include "base/assert.h"
#include "model/stamp.h"

namespace varve::test {

inline constexpr std::uint64_t kKillSectorBytes = 512;
inline constexpr std::size_t kKillSectors = 4096;  // The largest disk.
inline constexpr std::size_t kKillSnapshots = 6;

// The values of one sector from the last flush on, in the order they were written.
class SectorHistory {
 public:
  static constexpr std::uint32_t kMax = 40;

  [[nodiscard]] std::uint32_t next() const { return next_.load(); }
  [[nodiscard]] bool is_full() const { return next_.load() - first_.load() + 2 > kMax; }
  [[nodiscard]] model::Stamp at(std::uint32_t position) const { return stamps_[position % kMax]; }
  [[nodiscard]] model::Stamp newest() const { return at(next() - 1); }
  [[nodiscard]] bool allows(model::Stamp stamp) const {
    for (std::uint32_t i = first_.load(); i != next_.load(); ++i) {
      if (at(i) == stamp) {
        return true;
      }
    }
    return false;
  }
  void add(model::Stamp stamp) {
    stamps_[next_.load() % kMax] = stamp;
    next_.fetch_add(1);
  }
  // What was written before `position` cannot be found any more.
  void forget_before(std::uint32_t position) {
    if (position - first_.load() <= next_.load() - first_.load()) {
      first_.store(position);
    }
  }
  void set(model::Stamp stamp) {
    add(stamp);
    first_.store(next_.load() - 1);
  }

 private:
  std::atomic<std::uint32_t> first_;
  std::atomic<std::uint32_t> next_;
  std::array<model::Stamp, kMax> stamps_;
};

struct SnapshotLog {
  enum class State : std::uint32_t {
    none,
    creating,   // Not frozen: it cannot be there.
    frozen,     // Publishing may have begun.
    published,  // It is there.
    deleting,   // It may be there.
  };
  std::atomic<State> state;
  std::array<char, 24> name;
  std::uint64_t size;
  // A request in flight at the freeze is in the snapshot or not.
  std::array<std::array<model::Stamp, 2>, kKillSectors> sectors;

  [[nodiscard]] bool allows(std::size_t sector, model::Stamp stamp) const {
    return sectors[sector][0] == stamp || sectors[sector][1] == stamp;
  }
};

struct SharedLog {
  std::atomic<std::uint64_t> size;       // Of the disk ...
  std::atomic<std::uint64_t> next_size;  // ... and after the growth or apply under way.
  std::atomic<std::uint32_t> next_stamp;
  std::atomic<std::uint32_t> next_name;
  std::atomic<std::uint32_t> applying;  // 0: nothing; else the snapshot's place, plus one.
  std::atomic<std::uint32_t> activity;  // What kind of operation was under way, for the summary ...
  std::atomic<std::uint32_t> phase;     // ... and in which phase.
  std::atomic<std::uint64_t> requests;
  std::atomic<std::uint64_t> operations;
  std::array<SectorHistory, kKillSectors> disk;
  std::array<SnapshotLog, kKillSnapshots> snapshots;
  std::array<char, 512> failure;  // The worker's own complaint; empty: none.

  void fail(const std::string& what) {
    if (failure[0] == '\0') {
      what.copy(failure.data(), failure.size() - 1);
    }
  }
};

// Memory of a SharedLog that a forked worker shares; zeros at first.
class SharedLogMemory {
 public:
  SharedLogMemory()
      : log_(static_cast<SharedLog*>(::mmap(nullptr, sizeof(SharedLog), PROT_READ | PROT_WRITE,
                                            MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    VARVE_ASSERT(static_cast<void*>(log_) != MAP_FAILED);
  }
  ~SharedLogMemory() { ::munmap(log_, sizeof(SharedLog)); }
  SharedLogMemory(const SharedLogMemory&) = delete;
  SharedLogMemory& operator=(const SharedLogMemory&) = delete;
  SharedLog& operator*() const { return *log_; }
  SharedLog* operator->() const { return log_; }

 private:
  SharedLog* log_;
};

}  // namespace varve::test
