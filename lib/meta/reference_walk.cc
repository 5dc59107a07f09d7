#include "meta/reference_walk.h"

#include <algorithm>
#include <new>

#include "base/failure.h"
#include "base/try.h"
#include "format/bitmap_directory.h"
#include "meta/batch.h"

namespace varve {
namespace {

// Tables in flight at once: enough for a disk's queue, little memory.
constexpr std::uint64_t kBatchBytes = 4 * kMiB;
constexpr std::uint64_t kBatchTablesMax = 256;

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

Result<Buffer> ReferenceWalk::read(IoTag tag, HostOffset offset, std::uint64_t bytes) noexcept {
  if (!range_fits(offset.value(), bytes,
                  round_up(metadata_->file->size(), metadata_->geometry.cluster_bytes()))) {
    return corrupt_at(Corruption::table_beyond_end_of_file, tag, offset.value(),
                      "a table ends beyond the end of the file; its end", offset.value() + bytes,
                      metadata_->file->size());
  }
  Buffer buffer = VARVE_TRY(Buffer::allocate(bytes));
  Batch batch(metadata_->counters);
  VARVE_TRY(batch.read(*metadata_->file, tag, offset, buffer.bytes()));
  VARVE_TRY(batch.run());
  return buffer;
}

void ReferenceWalk::add_l1_entry(L1Entry entry, std::uint64_t active_index, HostOffset where) {
  if (const Result<void> valid = entry.validate(metadata_->geometry, where); !valid) {
    problem_(valid.error());
    return;
  }
  if (!entry.is_allocated()) {
    return;
  }
  if (entry.offset().value() >= metadata_->file->size()) {
    problem_(corrupt_at(Corruption::table_beyond_end_of_file, IoTag::l1, where.value(),
                        "L2 table lies beyond the end of the file", entry.offset().value(),
                        metadata_->file->size()));
    return;
  }
  tables_.push_back({entry.offset(), 1, active_index, where});
}

Result<void> ReferenceWalk::add_snapshot_l1(const SnapshotEntry& snapshot) {
  if (snapshot.l1_entries == 0) {
    return {};
  }
  const Buffer bytes =
      VARVE_TRY(read(IoTag::l1, snapshot.l1_offset, std::uint64_t{snapshot.l1_entries} * 8));
  for (std::uint64_t i = 0; i < snapshot.l1_entries; ++i) {
    add_l1_entry(L1Entry(load_be<std::uint64_t>(bytes.bytes(), i * 8)), kNotActive,
                 snapshot.l1_offset + i * 8);
  }
  return {};
}

// Joins the references to the same table; file order makes the reads sequential.
void ReferenceWalk::merge_tables() {
  std::sort(tables_.begin(), tables_.end(),
            [](const TableReference& a, const TableReference& b) { return a.offset < b.offset; });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    if (kept != 0 && tables_[kept - 1].offset == tables_[i].offset) {
      TableReference& same = tables_[kept - 1];
      ++same.references;
      same.active_index = std::min(same.active_index, tables_[i].active_index);
    } else {
      tables_[kept++] = tables_[i];
    }
  }
  tables_.resize(kept);
}

Result<void> ReferenceWalk::collect() noexcept {
  try {
    tables_.clear();
    for (std::uint64_t i = 0; i < metadata_->l1.size(); ++i) {
      add_l1_entry(metadata_->l1.entry(i), i, metadata_->l1.offset_of(i));
    }
    for (const SnapshotEntry& snapshot : metadata_->snapshots.entries) {
      if (const Result<void> added = add_snapshot_l1(snapshot); !added) {
        problem_(added.error());
      }
    }
    merge_tables();
    return {};
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot collect the image's tables");
  }
}

Result<void> ReferenceWalk::visit_refcounts(const FixedVisitor& visit) {
  const Refcounts& refcounts = metadata_->refcounts;
  const std::uint64_t cluster_bytes = metadata_->geometry.cluster_bytes();
  visit(run_of(refcounts.table_offset(), refcounts.table().size() * 8), IoTag::refcount_table,
        refcounts.table_offset());
  for (std::uint64_t i = 0; i < refcounts.table().size(); ++i) {
    const HostOffset block(refcounts.table()[i]);
    const HostOffset where = refcounts.table_offset() + i * 8;
    if (block.value() == 0) {
      continue;
    }
    if (!is_aligned(block.value(), cluster_bytes) || block.value() >= kHostOffsetEnd) {
      problem_(corrupt_at(Corruption::refcount_block_unaligned, IoTag::refcount_table,
                          where.value(), "refcount block offset is not a cluster's",
                          block.value()));
    } else if (block.value() >= metadata_->file->size()) {
      problem_(corrupt_at(Corruption::table_beyond_end_of_file, IoTag::refcount_table,
                          where.value(), "refcount block lies beyond the end of the file",
                          block.value(), metadata_->file->size()));
    } else {
      visit(run_of(block, cluster_bytes), IoTag::refcount_block, where);
    }
  }
  return {};
}

Result<void> ReferenceWalk::visit_bitmap_tables(const FixedVisitor& visit, HostOffset directory,
                                                ConstBytes bytes) {
  const auto entries =
      VARVE_TRY(parse_bitmap_directory(bytes, *metadata_->header.bitmaps(), metadata_->geometry));
  for (const BitmapEntry& entry : entries) {
    if (entry.table_entries == 0) {
      continue;
    }
    const std::uint64_t table_bytes = std::uint64_t{entry.table_entries} * 8;
    visit(run_of(entry.table_offset, table_bytes), IoTag::bitmap, directory);
    const Buffer table = VARVE_TRY(read(IoTag::bitmap, entry.table_offset, table_bytes));
    for (std::uint64_t i = 0; i < entry.table_entries; ++i) {
      const std::uint64_t raw = load_be<std::uint64_t>(table.bytes(), i * 8);
      const HostOffset data(raw & L1Entry::kOffsetMask);
      if (data.value() != 0) {
        visit(run_of(data, metadata_->geometry.cluster_bytes()), IoTag::bitmap,
              entry.table_offset + i * 8);
      }
    }
  }
  return {};
}

Result<void> ReferenceWalk::visit_bitmaps(const FixedVisitor& visit) {
  const auto extension = metadata_->header.bitmaps();
  if (!extension || extension->directory_bytes == 0) {
    return {};
  }
  visit(run_of(extension->directory_offset, extension->directory_bytes), IoTag::bitmap,
        HostOffset(0));
  const Buffer directory =
      VARVE_TRY(read(IoTag::bitmap, extension->directory_offset, extension->directory_bytes));
  return visit_bitmap_tables(visit, extension->directory_offset, directory.bytes());
}

Result<void> ReferenceWalk::for_each_fixed(const FixedVisitor& visit) noexcept {
  try {
    visit({HostCluster(0), 1}, IoTag::header, HostOffset(0));
    VARVE_TRY(visit_refcounts(visit));
    visit(run_of(metadata_->l1.offset(), metadata_->l1.size() * 8), IoTag::l1, HostOffset(0));
    const SnapshotTable& snapshots = metadata_->snapshots;
    if (!snapshots.entries.empty()) {
      visit(run_of(metadata_->header.snapshot_table_offset, snapshots.serialised_bytes()),
            IoTag::snapshot_table, HostOffset(0));
    }
    for (const SnapshotEntry& snapshot : snapshots.entries) {
      if (snapshot.l1_entries != 0) {
        visit(run_of(snapshot.l1_offset, std::uint64_t{snapshot.l1_entries} * 8), IoTag::l1,
              metadata_->header.snapshot_table_offset);
      }
    }
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
  const std::uint64_t batch_tables =
      std::clamp<std::uint64_t>(kBatchBytes / cluster_bytes, 1, kBatchTablesMax);
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
      for (std::size_t i = 0; i < count; ++i) {
        const Bytes bytes = buffer.bytes().subspan(i * cluster_bytes, cluster_bytes);
        if (!all_read) {
          // Something failed: once more, one by one, to tell which.
          VARVE_TRY(batch.read(*metadata_->file, IoTag::l2, tables_[first + i].offset, bytes));
          if (const Result<void> read = batch.run(); !read) {
            problem_(read.error());
            continue;
          }
        }
        visit(tables_[first + i], bytes);
      }
    }
    return {};
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot walk the image's tables");
  }
}

}  // namespace varve
