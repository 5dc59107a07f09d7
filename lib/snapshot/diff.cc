#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include <varve/diff.h>

#include "base/failure.h"
#include "base/try.h"
#include "meta/ask.h"
#include "snapshot/control_operation.h"
#include "snapshot/entries.h"
#include "snapshot/snapshot_image.h"

namespace varve {
namespace {

// One disk as its tables show it.
struct Tree {
  std::unique_ptr<SnapshotInUse> in_use;
  std::vector<std::uint64_t> l1;
  HostOffset where;
  std::uint64_t size = 0;
};

Result<Tree> load_tree(Qcow2Image& image, DiffSide side) {
  const Metadata& metadata = image.metadata();
  Tree tree;
  if (side.index == DiffSide::kNow) {
    tree.l1 = metadata.l1.entries();
    tree.where = metadata.l1.offset();
    tree.size = metadata.header.virtual_size;
    return tree;
  }
  const SnapshotEntry entry = *VARVE_TRY(readable_entry_at(image, side.index));
  tree.in_use = std::make_unique<SnapshotInUse>(image, entry);
  tree.l1 = VARVE_TRY(load_snapshot_l1(image.metadata(), entry));
  tree.where = entry.l1_offset;
  tree.size = entry.disk_size;
  return tree;
}

// Joins neighbours on their way to the visitor.
class Ranges {
 public:
  explicit Ranges(const std::function<Result<void>(const DiffRange&)>& visit) : visit_(visit) {}

  Result<void> add(std::uint64_t start, std::uint64_t length) {
    if (range_.length != 0 && range_.start + range_.length == start) {
      range_.length += length;
      return {};
    }
    VARVE_TRY(flush());
    range_ = {start, length};
    return {};
  }
  Result<void> flush() {
    const DiffRange range = std::exchange(range_, {});
    return range.length == 0 ? Result<void>() : visit_(range);
  }

 private:
  const std::function<Result<void>(const DiffRange&)>& visit_;
  DiffRange range_;
};

// Tables on their way into the cache, so that none is waited for alone. They stay until they are
// let go. What fails is loaded again, and told, when it is needed.
class ReadAhead {
 public:
  explicit ReadAhead(Metadata& metadata) : metadata_(metadata) {}
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;
  ~ReadAhead() {
    for (Place& place : places_) {
      while (place.is_loading) {
        metadata_.file->engine().wait();
      }
      give_up(place);
    }
  }

  [[nodiscard]] bool has_room_for(std::size_t tables) const noexcept {
    // A small cache is left to the table that is looked at.
    return used_ + tables <= std::min(places_.size(), metadata_.l2.capacity() / 4);
  }
  // REQUIRES: room for it.
  void load(HostOffset table) noexcept {
    if (metadata_.l2.holds(table) || table.value() >= metadata_.file->size()) {
      return;
    }
    for (Place& place : places_) {
      if (!place.is_used) {
        if (metadata_.l2.load_for_walk(table, place) == TableCache::LoadOutcome::started) {
          place.table = table;
          place.is_used = place.is_loading = true;
          ++used_;
        }
        return;
      }
    }
  }
  // REQUIRES: the table has been looked at, so that it is not being loaded any more.
  void let_go(HostOffset table) noexcept {
    for (Place& place : places_) {
      if (place.is_used && !place.is_loading && place.table == table) {
        give_up(place);
      }
    }
  }

 private:
  class Place final : public Waiter {
   public:
    HostOffset table;
    bool is_used = false;
    bool is_loading = false;
    void resume(const Result<void>&) noexcept override { is_loading = false; }
  };
  void give_up(Place& place) noexcept {
    if (std::exchange(place.is_used, false)) {
      metadata_.l2.let_go(place.table);
      --used_;
    }
  }

  Metadata& metadata_;
  std::array<Place, 8> places_;
  std::size_t used_ = 0;
};

class Comparison {
 public:
  Comparison(Metadata& metadata, Tree from, Tree to, Ranges& ranges)
      : metadata_(metadata),
        from_(std::move(from)),
        to_(std::move(to)),
        ranges_(ranges),
        read_ahead_(metadata) {}

  Result<void> run() {
    const Geometry& geometry = metadata_.geometry;
    table_ = VARVE_TRY(Buffer::allocate(geometry.cluster_bytes()));
    for (std::uint64_t slot = 0; slot < geometry.l1_entries_for(to_.size); ++slot) {
      look_ahead(slot);
      VARVE_TRY(compare_slot(slot));
    }
    return ranges_.flush();
  }

 private:
  // The table of a slot; machine state behind a disk is no part of it.
  [[nodiscard]] L1Entry slot_of(const Tree& tree, std::uint64_t slot) const noexcept {
    return slot < std::min<std::uint64_t>(tree.l1.size(),
                                          metadata_.geometry.l1_entries_for(tree.size))
               ? L1Entry(tree.l1[slot]).without_copied()
               : L1Entry();
  }

  [[nodiscard]] bool is_compared(std::uint64_t slot) const noexcept {
    // Even one table shows more of a larger disk only where the smaller one ends inside it.
    const std::uint64_t begin = slot * metadata_.geometry.l2_coverage();
    const std::uint64_t end = begin + metadata_.geometry.l2_coverage();
    const bool ends_inside = from_.size < to_.size && from_.size > begin && from_.size < end;
    return ends_inside || slot_of(from_, slot) != slot_of(to_, slot);
  }

  // The tables of this slot and the next ones are on their way.
  void look_ahead(std::uint64_t slot) noexcept {
    const std::uint64_t slots = metadata_.geometry.l1_entries_for(to_.size);
    for (ahead_ = std::max(ahead_, slot); ahead_ < slots && read_ahead_.has_room_for(2); ++ahead_) {
      if (!is_compared(ahead_)) {
        continue;
      }
      for (const Tree* tree : {&from_, &to_}) {
        const L1Entry entry = slot_of(*tree, ahead_);
        if (entry.is_allocated() &&
            entry.validate(metadata_.geometry, tree->where + ahead_ * sizeof(std::uint64_t))) {
          read_ahead_.load(entry.offset());
        }
      }
    }
  }

  Result<void> compare_slot(std::uint64_t slot) {
    if (!is_compared(slot)) {
      return {};
    }
    const L1Entry from = slot_of(from_, slot);
    const L1Entry to = slot_of(to_, slot);
    // A copy of one, so that loading the other may push it out of memory.
    VARVE_TRY(load_table(from_, slot, from));
    zero_or_copy(from);
    return compare_tables(slot, from, to);
  }

  void zero_or_copy(L1Entry entry) {
    if (entry.is_allocated()) {
      copy_bytes(table_.bytes(), metadata_.l2.find_quietly(entry.offset())->bytes());
      read_ahead_.let_go(entry.offset());
    } else {
      zero_bytes(table_.bytes());
    }
  }

  Result<void> load_table(const Tree& tree, std::uint64_t slot, L1Entry entry) {
    if (!entry.is_allocated()) {
      return {};
    }
    VARVE_TRY(entry.validate(metadata_.geometry, tree.where + slot * 8));
    if (entry.offset().value() >= metadata_.file->size()) {
      return corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l1,
                        tree.where.value() + slot * 8, "L2 table lies beyond the end of the file",
                        entry.offset().value(), metadata_.file->size());
    }
    VARVE_TRY(ask_until(metadata_, [&]() -> Answer<Nothing> {
      if (metadata_.l2.find_quietly(entry.offset()) != nullptr) {
        return Nothing();
      }
      return Need{Need::Kind::l2_table, entry.offset(), 0};
    }));
    return {};
  }

  // The visitor may run the engine, and the table with it out of memory: it works on copies.
  Result<void> compare_tables(std::uint64_t slot, L1Entry from, L1Entry to) {
    const Geometry& geometry = metadata_.geometry;
    VARVE_TRY(load_table(to_, slot, to));
    Buffer to_table = VARVE_TRY(Buffer::allocate_zeroed(geometry.cluster_bytes()));
    if (to.is_allocated()) {
      copy_bytes(to_table.bytes(), metadata_.l2.find_quietly(to.offset())->bytes());
      read_ahead_.let_go(to.offset());
    }
    const std::uint64_t base = slot * geometry.l2_coverage();
    for (std::uint64_t index = 0; index < geometry.l2_entries(); ++index) {
      const std::uint64_t start = base + index * geometry.cluster_bytes();
      if (start >= to_.size) {
        break;
      }
      const std::uint64_t length = std::min(geometry.cluster_bytes(), to_.size - start);
      const L2Entry was = VARVE_TRY(load_entry(table_.bytes(), from, index));
      const L2Entry is = VARVE_TRY(load_entry(to_table.bytes(), to, index));
      const bool is_cut = start < from_.size && from_.size < start + length;
      const L2Entry seen = start >= from_.size ? L2Entry() : was;
      if (!is_same(seen, is) || (is_cut && !is_same(L2Entry(), is))) {
        VARVE_TRY(ranges_.add(start, length));
      }
    }
    return {};
  }

  [[nodiscard]] Result<L2Entry> load_entry(ConstBytes table, L1Entry slot,
                                           std::uint64_t index) const {
    const Geometry& geometry = metadata_.geometry;
    const L2Entry entry = L2Entry::load(geometry, table, index);
    VARVE_TRY(entry.validate(geometry, metadata_.header.version, false,
                             slot.offset() + (index << geometry.l2_entry_bits())));
    return entry;
  }

  // Without a backing file "unallocated" and "zeros" show the same.
  [[nodiscard]] bool is_same(L2Entry a, L2Entry b) const noexcept { return normal(a) == normal(b); }
  [[nodiscard]] L2Entry normal(L2Entry entry) const noexcept {
    if (entry.is_compressed()) {
      return entry;
    }
    const Geometry& geometry = metadata_.geometry;
    const bool has_backing = !metadata_.header.backing_name.empty();
    bool is_zero = true;
    bool is_unallocated = true;
    for (std::uint32_t i = 0; i < geometry.subclusters(); ++i) {
      const SubclusterKind kind = entry.subcluster(geometry, i);
      is_zero = is_zero && (kind == SubclusterKind::zero ||
                            (kind == SubclusterKind::unallocated && !has_backing));
      is_unallocated = is_unallocated && kind == SubclusterKind::unallocated;
    }
    if (is_unallocated) {
      return has_backing ? L2Entry() : L2Entry::zero(geometry);
    }
    return is_zero ? L2Entry::zero(geometry) : entry.with_copied(false);
  }

  Metadata& metadata_;
  Tree from_;
  Tree to_;
  Ranges& ranges_;
  ReadAhead read_ahead_;
  std::uint64_t ahead_ = 0;  // Slots before it are on their way.
  Buffer table_;
};

}  // namespace

Result<void> for_each_difference(
    Image& image, DiffSide from, DiffSide to,
    const std::function<Result<void>(const DiffRange&)>& visit) noexcept {
  auto* core = dynamic_cast<Qcow2Image*>(&image.core());
  if (core == nullptr || core->metadata().header.has_data_file()) {
    return failure(ErrorCode::unsupported,
                   "only qcow2 images without external data file hold snapshots");
  }
  try {
    Metadata& metadata = core->metadata();
    Ranges ranges(visit);
    Tree from_tree = VARVE_TRY(load_tree(*core, from));
    Tree to_tree = VARVE_TRY(load_tree(*core, to));
    return Comparison(metadata, std::move(from_tree), std::move(to_tree), ranges).run();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot compare the disks");
  }
}

Result<std::vector<DiffRange>> diff_snapshots(Image& image, DiffSide from, DiffSide to) noexcept {
  std::vector<DiffRange> list;
  const Result<void> walked =
      for_each_difference(image, from, to, [&](const DiffRange& range) -> Result<void> {
        list.push_back(range);
        return {};
      });
  if (!walked) {
    return walked.error();
  }
  return list;
}

}  // namespace varve
