// The active L1 table, wholly in memory; flush rounds write the sectors that changed.
// Threads: the engine's thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/units.h"
#include "format/l1_entry.h"

namespace varve {

class L1Table {
 public:
  static constexpr std::uint64_t kEntriesPerSector = kSectorBytes / 8;

  L1Table() = default;
  L1Table(std::vector<std::uint64_t> entries, HostOffset offset)
      : entries_(std::move(entries)),
        is_dirty_(divide_up(entries_.size(), kEntriesPerSector), false),
        offset_(offset) {}

  [[nodiscard]] std::uint64_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] HostOffset offset() const noexcept { return offset_; }
  // For a table not in use yet.
  void set_offset(HostOffset offset) noexcept { offset_ = offset; }
  [[nodiscard]] L1Entry entry(std::uint64_t index) const noexcept {
    return L1Entry(entries_[index]);
  }
  [[nodiscard]] const std::vector<std::uint64_t>& entries() const noexcept { return entries_; }
  [[nodiscard]] HostOffset offset_of(std::uint64_t index) const noexcept {
    return offset_ + index * 8;
  }

  void set(std::uint64_t index, L1Entry entry) noexcept {
    entries_[index] = entry.raw();
    mark_dirty(index / kEntriesPerSector);
  }

  // The table stands elsewhere, with `entries` slots, the new ones empty; everything counts as
  // written there. Strong guarantee: throws std::bad_alloc with nothing changed.
  void relocate(std::uint64_t entries, HostOffset offset) {
    std::vector<std::uint64_t> moved = entries_;
    moved.resize(entries, 0);
    std::vector<bool> clean(divide_up(entries, kEntriesPerSector), false);
    entries_ = std::move(moved);
    is_dirty_ = std::move(clean);
    dirty_sectors_ = 0;
    offset_ = offset;
  }
  // Takes a relocation back: fewer slots at the old place, all of them to be written again.
  void restore(std::uint64_t entries, HostOffset offset) noexcept {
    entries_.resize(entries);
    is_dirty_.resize(divide_up(entries, kEntriesPerSector));
    is_dirty_.assign(is_dirty_.size(), true);
    dirty_sectors_ = is_dirty_.size();
    offset_ = offset;
  }

  [[nodiscard]] bool is_dirty() const noexcept { return dirty_sectors_ != 0; }

  // For rounds: the changed sectors as runs of whole sectors, and their bytes as they are now.
  template <class Visitor>
  void for_each_dirty_run(Visitor&& visit) const {
    for (std::uint64_t sector = 0; sector < is_dirty_.size(); ++sector) {
      if (is_dirty_[sector]) {
        const std::uint64_t first = sector;
        while (sector < is_dirty_.size() && is_dirty_[sector]) {
          ++sector;
        }
        visit(first, sector - first);
      }
    }
  }
  void serialise(std::uint64_t first_sector, std::uint64_t sectors, Bytes target) const noexcept {
    for (std::uint64_t i = 0; i < sectors * kEntriesPerSector; ++i) {
      const std::uint64_t index = first_sector * kEntriesPerSector + i;
      store_be<std::uint64_t>(target, i * 8, index < entries_.size() ? entries_[index] : 0);
    }
  }
  void mark_dirty(std::uint64_t sector) noexcept {
    if (!is_dirty_[sector]) {
      is_dirty_[sector] = true;
      ++dirty_sectors_;
    }
  }
  // REQUIRES: it is dirty.
  void mark_clean(std::uint64_t sector) noexcept {
    VARVE_ASSERT(is_dirty_[sector]);
    is_dirty_[sector] = false;
    --dirty_sectors_;
  }

 private:
  std::vector<std::uint64_t> entries_;
  std::vector<bool> is_dirty_;
  std::uint64_t dirty_sectors_ = 0;
  HostOffset offset_;
};

}  // namespace varve
