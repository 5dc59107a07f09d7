#include "meta/reference_walk.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/try.h"
#include "meta/batch.h"
#include "meta/bitmap_entries.h"

namespace varve {
namespace {

// Tables in flight at once: enough for a disk's queue.
constexpr std::uint64_t kBatchTablesMax = 256;
// Entries collected between two merges at least, so that merging stays cheap.
constexpr std::size_t kMergeMin = 65536;
// What sorting costs for each table, beside looking at its entry.
constexpr std::uint64_t kStepsPerMerged = 64;
constexpr std::uint64_t kStepsPerEntry = 4;

// A bitmap table's entry: an offset, or the flag "all ones" without one.
constexpr std::uint64_t kBitmapEntryAllOnes = 1;
constexpr std::uint64_t kBitmapEntryReserved = 0xff00'0000'0000'01fe;

constexpr std::uint64_t kRefcountTableEntryReserved = 0x1ff;

}  // namespace

ClusterRun ReferenceWalk::run_of(HostOffset offset, std::uint64_t bytes) const noexcept {
  const Geometry& geometry = metadata_->geometry;
  return {geometry.cluster_of(offset),
          geometry.clusters_for(geometry.in_cluster(offset.value()) + bytes)};
}

ClusterRun ReferenceWalk::clusters_of(L2Entry entry) const noexcept {
  if (entry.is_compressed()) {
    return metadata_->map.clusters_of(entry.compressed_extent(metadata_->geometry));
  }
  if (metadata_->header.has_data_file() || !entry.has_host()) {
    return {};
  }
  return {metadata_->geometry.cluster_of(entry.host()), 1};
}

// The last cluster of a file may be cut short; what is missing reads as zeros.
bool ReferenceWalk::is_in_file(HostOffset offset, std::uint64_t bytes) const noexcept {
  return range_fits(offset.value(), bytes,
                    round_up(metadata_->file->size(), metadata_->geometry.cluster_bytes()));
}

Result<Buffer> ReferenceWalk::read(IoTag tag, HostOffset offset,
                                   std::uint64_t bytes) const noexcept {
  Buffer buffer = VARVE_TRY(Buffer::allocate(bytes));
  Batch batch(metadata_->counters);
  VARVE_TRY(batch.run(batch.read(*metadata_->file, tag, offset, buffer.bytes())));
  return buffer;
}

void ReferenceWalk::add_l1_entry(L1Entry entry, std::uint64_t active_index, HostOffset where) {
  if (entry.raw() == 0) {
    return;
  }
  const Geometry& geometry = metadata_->geometry;
  if (const Result<void> valid = entry.validate(geometry, where); !valid) {
    tell(valid.error());
  } else if (!entry.is_allocated()) {
    tell(corrupt_at(Corruption::copied_without_cluster, IoTag::l1, where.value(),
                    "L1 entry: COPIED flag without an L2 table", entry.raw(), 0));
  }
  if (!entry.is_allocated() || geometry.in_cluster(entry.offset().value()) != 0) {
    return;
  }
  if (entry.offset().value() >= metadata_->file->size()) {
    tell(corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l1, where.value(),
                    "L2 table lies beyond the end of the file", entry.offset().value(),
                    metadata_->file->size()));
    return;
  }
  if (entry.offset() < range_begin_ || (next_range_ && entry.offset() >= *next_range_)) {
    return;
  }
  const bool is_active = active_index != kNotActive;
  if (tables_.size() == tables_.capacity()) {
    tables_.reserve(std::min(2 * tables_max_ + 1, std::max<std::size_t>(64, 2 * tables_.size())));
  }
  tables_.push_back({entry.offset(), 1, is_active ? 1u : 0u, active_index, where});
  if (tables_.size() > std::min(2 * merged_ + kMergeMin, 2 * tables_max_)) {
    merge_tables();
  }
}

Result<void> ReferenceWalk::add_snapshot_l1(const SnapshotEntry& snapshot) {
  const std::uint64_t l1_bytes = std::uint64_t{snapshot.l1_entries} * 8;
  // for_each_fixed tells of one beyond the end of the file.
  if (l1_bytes == 0 || !is_in_file(snapshot.l1_offset, l1_bytes)) {
    return {};
  }
  MeteredMemory held;
  VARVE_TRY(held.take(metadata_->meter, l1_bytes));
  const Buffer bytes = VARVE_TRY(read(IoTag::l1, snapshot.l1_offset, l1_bytes));
  for (std::uint64_t i = 0; i < snapshot.l1_entries; ++i) {
    add_l1_entry(L1Entry(load_be<std::uint64_t>(bytes.bytes(), i * 8)), kNotActive,
                 snapshot.l1_offset + i * 8);
  }
  return {};
}

// Thousands of snapshots that name the same large L1 table would take as many reads of it.
void ReferenceWalk::find_overlaps() {
  struct Place {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::size_t index = 0;
  };
  const std::vector<SnapshotEntry>& entries = metadata_->snapshots.entries;
  overlaps_.assign(entries.size(), false);
  std::vector<Place> places;
  const auto add = [&](HostOffset offset, std::uint64_t l1_entries, std::size_t index) {
    if (l1_entries != 0 && is_in_file(offset, l1_entries * 8)) {
      places.push_back({offset.value(), offset.value() + l1_entries * 8, index});
    }
  };
  add(metadata_->l1.offset(), metadata_->l1.size(), entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    add(entries[i].l1_offset, entries[i].l1_entries, i);
  }
  // The active table is the one that is believed.
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.index > b.index;
  });
  const Place* last = nullptr;
  for (const Place& place : places) {
    if (last == nullptr || place.begin >= last->end) {
      last = &place;
      continue;
    }
    const bool is_active = place.index == entries.size();
    const Place& dropped = is_active ? *last : place;
    overlaps_[dropped.index] = true;
    tell(corrupt_at(Corruption::cluster_overlaps_metadata, IoTag::snapshot_table,
                    metadata_->header.snapshot_table_offset.value(),
                    "a snapshot's L1 table lies over another L1 table", dropped.begin,
                    is_active ? place.begin : last->begin));
    last = is_active ? &place : last;
  }
}

// Joins the references to the same table; file order makes the reads sequential.
void ReferenceWalk::merge_tables() {
  spend_steps(metadata_->meter, kStepsPerMerged * tables_.size());
  std::sort(tables_.begin(), tables_.end(), [](const TableReference& a, const TableReference& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.active_index < b.active_index;
  });
  std::size_t kept = 0;
  for (const TableReference& table : tables_) {
    if (kept != 0 && tables_[kept - 1].offset == table.offset) {
      TableReference& same = tables_[kept - 1];
      same.references += table.references;
      same.active_references += table.active_references;
    } else {
      tables_[kept++] = table;
    }
  }
  if (kept > tables_max_) {
    next_range_ = tables_[tables_max_].offset;
    kept = tables_max_;
  }
  tables_.resize(kept);
  merged_ = kept;
}

Result<void> ReferenceWalk::collect(HostOffset from) noexcept {
  try {
    tables_.clear();
    merged_ = 0;
    range_begin_ = from;
    next_range_.reset();
    tells_ = !std::exchange(has_collected_, true);
    spend_steps(metadata_->meter, kStepsPerEntry * metadata_->l1.size() +
                                      kStepsPerMerged * metadata_->snapshots.entries.size());
    for (std::uint64_t i = 0; i < metadata_->l1.size(); ++i) {
      add_l1_entry(metadata_->l1.entry(i), i, metadata_->l1.offset_of(i));
    }
    find_overlaps();
    for (std::size_t i = 0; i < overlaps_.size(); ++i) {
      if (overlaps_[i]) {
        continue;
      }
      VARVE_TRY(verdict_of(metadata_->meter));
      const Result<void> added = add_snapshot_l1(metadata_->snapshots.entries[i]);
      if (!added) {
        tell(added.error());
      }
    }
    merge_tables();
    return {};
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot collect the image's tables");
  }
}

bool ReferenceWalk::visit_fixed(const FixedVisitor& visit, HostOffset offset, std::uint64_t bytes,
                                IoTag tag, HostOffset where) {
  if (!is_in_file(offset, bytes)) {
    problem_(corrupt_at(Corruption::table_beyond_end_of_file, tag, where.value(),
                        "a table ends beyond the end of the file", offset.value(),
                        metadata_->file->size()));
    return false;
  }
  const ClusterRun run = run_of(offset, bytes);
  spend_steps(metadata_->meter, 1 + run.count);
  if (!verdict_of(metadata_->meter)) {
    return false;
  }
  visit(run, tag, where);
  return true;
}

void ReferenceWalk::visit_refcounts(const FixedVisitor& visit) {
  const Refcounts& refcounts = metadata_->refcounts;
  const std::uint64_t cluster_bytes = metadata_->geometry.cluster_bytes();
  visit_fixed(visit, refcounts.table_offset(), refcounts.table().size() * 8, IoTag::refcount_table,
              HostOffset(offsetof(RawHeader, refcount_table_offset)));
  for (std::uint64_t i = 0; i < refcounts.table().size(); ++i) {
    const std::uint64_t entry = refcounts.table()[i];
    const HostOffset where = refcounts.table_offset() + i * 8;
    if (entry == 0) {
      continue;
    }
    if ((entry & kRefcountTableEntryReserved) != 0) {
      problem_(corrupt_at(Corruption::refcount_table_entry_reserved_bits, IoTag::refcount_table,
                          where.value(), "refcount table entry has reserved bits set", entry,
                          entry & ~kRefcountTableEntryReserved));
    } else if (!is_aligned(entry, cluster_bytes) || entry >= kHostOffsetEnd) {
      problem_(corrupt_at(Corruption::refcount_block_unaligned, IoTag::refcount_table,
                          where.value(), "refcount block offset is not a cluster's", entry,
                          cluster_bytes));
    } else {
      visit_fixed(visit, HostOffset(entry), cluster_bytes, IoTag::refcount_block, where);
    }
  }
}

void ReferenceWalk::visit_snapshots(const FixedVisitor& visit) {
  const std::vector<SnapshotEntry>& entries = metadata_->snapshots.entries;
  const HostOffset table = metadata_->header.snapshot_table_offset;
  if (!entries.empty()) {
    visit_fixed(visit, table, metadata_->snapshot_table_bytes, IoTag::snapshot_table,
                HostOffset(offsetof(RawHeader, snapshot_table_offset)));
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const SnapshotEntry& snapshot = entries[i];
    if (snapshot.l1_entries != 0 && !overlaps_[i]) {
      visit_fixed(visit, snapshot.l1_offset, std::uint64_t{snapshot.l1_entries} * 8, IoTag::l1,
                  table);
    }
  }
}

Result<void> ReferenceWalk::visit_bitmap_data(const FixedVisitor& visit, HostOffset table,
                                              std::uint64_t entries) {
  // Tables may be as large as half a gigabyte: piece by piece.
  constexpr std::uint64_t kPieceEntries = kMiB / 8;
  const std::uint64_t cluster_bytes = metadata_->geometry.cluster_bytes();
  for (std::uint64_t first = 0; first < entries; first += kPieceEntries) {
    const std::uint64_t count = std::min(kPieceEntries, entries - first);
    const Buffer piece = VARVE_TRY(read(IoTag::bitmap, table + first * 8, count * 8));
    VARVE_TRY(verdict_of(metadata_->meter));
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t raw = load_be<std::uint64_t>(piece.bytes(), i * 8);
      const HostOffset data(raw & L1Entry::kOffsetMask);
      const HostOffset where = table + (first + i) * 8;
      const bool has_stray_flag = data.value() != 0 && (raw & kBitmapEntryAllOnes) != 0;
      if ((raw & kBitmapEntryReserved) != 0 || has_stray_flag) {
        problem_(corrupt_at(Corruption::bitmap_table_entry_reserved_bits, IoTag::bitmap,
                            where.value(), "bitmap table entry has reserved bits set", raw,
                            data.value()));
      } else if (!is_aligned(data.value(), cluster_bytes)) {
        problem_(corrupt_at(Corruption::bitmap_data_unaligned, IoTag::bitmap, where.value(),
                            "bitmap data is not on a cluster boundary", raw, cluster_bytes));
      } else if (data.value() != 0) {
        visit_fixed(visit, data, cluster_bytes, IoTag::bitmap, where);
      }
    }
  }
  return {};
}

Result<void> ReferenceWalk::visit_bitmaps(const FixedVisitor& visit) {
  const auto extension = metadata_->header.bitmaps();
  if (!extension || !visit_fixed(visit, extension->directory_offset, extension->directory_bytes,
                                 IoTag::bitmap, HostOffset(0))) {
    return {};
  }
  MeteredMemory held;
  const auto entries = VARVE_TRY(read_bitmap_entries(*metadata_, *extension, held));
  for (const BitmapEntry& entry : entries) {
    const HostOffset where =
        extension->directory_offset + (entry.flags_offset - offsetof(RawBitmapEntry, flags));
    if (entry.table_entries != 0 &&
        visit_fixed(visit, entry.table_offset, std::uint64_t{entry.table_entries} * 8,
                    IoTag::bitmap, where)) {
      VARVE_TRY(visit_bitmap_data(visit, entry.table_offset, entry.table_entries));
    }
  }
  return {};
}

Result<void> ReferenceWalk::for_each_fixed(const FixedVisitor& visit) noexcept {
  try {
    visit({HostCluster(0), 1}, IoTag::header, HostOffset(0));
    visit_refcounts(visit);
    if (metadata_->l1.size() != 0) {
      visit_fixed(visit, metadata_->l1.offset(), metadata_->l1.size() * 8, IoTag::l1,
                  HostOffset(offsetof(RawHeader, l1_offset)));
    }
    visit_snapshots(visit);
    if (const Result<void> bitmaps = visit_bitmaps(visit); !bitmaps) {
      problem_(bitmaps.error());
    }
    return {};
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot walk the image's tables");
  }
}

Result<void> ReferenceWalk::for_each_table(const TableVisitor& visit) noexcept {
  const std::uint64_t cluster_bytes = metadata_->geometry.cluster_bytes();
  const std::uint64_t batch_tables = std::clamp<std::uint64_t>(
      std::min<std::uint64_t>(batch_bytes_ / cluster_bytes, tables_.size()), 1, kBatchTablesMax);
  try {
    Buffer buffer = VARVE_TRY(Buffer::allocate(batch_tables * cluster_bytes));
    Batch batch(metadata_->counters);
    for (std::size_t first = 0; first < tables_.size(); first += batch_tables) {
      const std::size_t count = std::min<std::size_t>(batch_tables, tables_.size() - first);
      for (std::size_t i = 0; i < count; ++i) {
        VARVE_TRY(batch.read(*metadata_->file, IoTag::l2, tables_[first + i].offset,
                             buffer.bytes().subspan(i * cluster_bytes, cluster_bytes)));
      }
      const bool all_read = batch.run().has_value();
      VARVE_TRY(verdict_of(metadata_->meter));
      for (std::size_t i = 0; i < count; ++i) {
        const Bytes bytes = buffer.bytes().subspan(i * cluster_bytes, cluster_bytes);
        if (!all_read) {
          // Something failed: once more, one by one, to tell which.
          if (const Result<void> read = batch.run(
                  batch.read(*metadata_->file, IoTag::l2, tables_[first + i].offset, bytes));
              !read) {
            problem_(read.error());
            continue;
          }
        }
        VARVE_TRY(visit(tables_[first + i], bytes));
      }
    }
    return {};
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot walk the image's tables");
  }
}

}  // namespace varve
