#include "maintenance/refcount_rebuild.h"

#include <algorithm>
#include <cstddef>
#include <new>

#include "base/failure.h"
#include "base/try.h"
#include "maintenance/check_refcounts.h"
#include "maintenance/mended_entry.h"
#include "meta/batch.h"
#include "meta/straight_line.h"

namespace varve {
namespace {

// Clusters counted at a time: four bytes each. No block counts more.
constexpr std::uint64_t kWindowClusters = 16 * 1024 * 1024;
constexpr std::uint64_t kReadBytes = 4 * kMiB;

bool is_refcounts(IoTag tag) noexcept {
  return tag == IoTag::refcount_table || tag == IoTag::refcount_block;
}

}  // namespace

RefcountRebuild::RefcountRebuild(Metadata& metadata)
    : metadata_(&metadata),
      geometry_(metadata.geometry),
      walk_(metadata, [this](const Error& error) { tell(error); }),
      file_clusters_(metadata.file->capabilities().fixed_size
                         ? metadata.file->size() >> geometry_.cluster_bits
                         : geometry_.clusters_for(metadata.file->size())) {}

// Broken rules of the structures that are made anew are what this is for; entries that only need
// mending are followed.
void RefcountRebuild::tell(const Error& error) {
  if (is_refcounts(error.tag)) {
    is_needed_ = true;
  } else if (!is_mendable(error) && !problem_) {
    problem_ = error;
  }
}

void RefcountRebuild::mark(std::vector<bool>& map, ClusterRun run) {
  const std::uint64_t end = run.first.value() + run.count;
  if (map.size() < end) {
    map.resize(end, false);
  }
  for (std::uint64_t i = run.first.value(); i < end; ++i) {
    map[i] = true;
  }
}

Result<void> RefcountRebuild::survey() {
  VARVE_TRY(walk_.collect());
  VARVE_TRY(walk_.for_each_fixed([this](ClusterRun run, IoTag tag, HostOffset) {
    if (!is_refcounts(tag)) {
      mark(used_, run);
      return;
    }
    for (std::uint64_t i = 0; i < run.count; ++i) {
      // One block for two ranges of clusters, or over the table.
      const std::uint64_t cluster = run.first.value() + i;
      is_needed_ = is_needed_ || (cluster < old_.size() && old_[cluster]);
      mark(old_, {HostCluster(cluster), 1});
    }
  }));
  VARVE_TRY(walk_.for_each_table(
      [this](const ReferenceWalk::TableReference& table, ConstBytes bytes) -> Result<void> {
        mark(used_, {geometry_.cluster_of(table.offset), 1});
        for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
          survey_entry(L2Entry::load(geometry_, bytes, i),
                       table.offset + (i << geometry_.l2_entry_bits()));
        }
        return {};
      }));
  for (std::uint64_t i = 0; i < std::min(used_.size(), old_.size()); ++i) {
    is_needed_ = is_needed_ || (used_[i] && old_[i]);
  }
  spare_named_blocks();
  VARVE_TRY(read_blocks());
  find_uncounted();
  return {};
}

void RefcountRebuild::survey_entry(L2Entry entry, HostOffset where) {
  const L2Entry mended = mended_entry(entry, metadata_->header);
  const bool has_data_file = metadata_->header.has_data_file();
  const Result<void> valid =
      mended.validate(geometry_, metadata_->header.version, has_data_file, where);
  if (!valid) {
    tell(valid.error());
    return;
  }
  const ClusterRun run = walk_.clusters_of(mended);
  // Compressed data may name sectors of one cluster more than it fills.
  const std::uint64_t end = file_clusters_ + (mended.is_compressed() ? 1 : 0);
  if (run.count != 0 && run.first.value() + run.count > end) {
    tell(corrupt_at(Corruption::cluster_beyond_end_of_file, IoTag::l2, where.value(),
                    "a cluster lies beyond the end of the file", entry.raw(),
                    metadata_->file->size()));
  } else if (run.count != 0) {
    mark(used_, run);
  }
}

// Other programs read blocks past bits that are wrong in their entries: until the header has
// switched they find what was there.
void RefcountRebuild::spare_named_blocks() {
  for (const std::uint64_t entry : metadata_->refcounts.table()) {
    const std::uint64_t cluster = (entry & L1Entry::kOffsetMask) >> geometry_.cluster_bits;
    if (cluster != 0 && cluster < file_clusters_) {
      mark(old_, {HostCluster(cluster), 1});
    }
  }
}

Result<void> RefcountRebuild::read_blocks() {
  RefcountReader reader(*metadata_, kReadBytes, [this](const Error& error) { tell(error); });
  return reader.for_each(0, std::max<std::uint64_t>(used_.size(), 1),
                         [this](const CountedRange& range) -> Result<void> {
                           is_needed_ = is_needed_ || range.state == CountedRange::State::unknown;
                           return {};
                         });
}

void RefcountRebuild::find_uncounted() {
  const std::uint64_t per_block = geometry_.refcounts_per_block();
  for (std::uint64_t i = 0; i < used_.size() && !is_needed_; ++i) {
    is_needed_ = used_[i] && !metadata_->refcounts.has_block(i / per_block);
  }
}

// Free space inside the file first, what lies behind its end last.
Result<std::uint64_t> RefcountRebuild::take(std::uint64_t count) {
  std::uint64_t first = count == 1 ? next_free_ : 1;
  for (std::uint64_t i = first; i < first + count; ++i) {
    if (is_busy(i)) {
      first = i + 1;
    }
  }
  if (metadata_->file->capabilities().fixed_size && first + count > file_clusters_) {
    return failure(ErrorCode::no_space, "the storage has no room for new refcount blocks");
  }
  next_free_ = count == 1 ? first + 1 : next_free_;
  mark(busy_, {HostCluster(first), count});
  return first;
}

void RefcountRebuild::need(std::uint64_t cluster) {
  const std::uint64_t block = cluster / geometry_.refcounts_per_block();
  if (block >= blocks_.size()) {
    blocks_.resize(block + 1, 0);
    is_block_needed_.resize(block + 1, false);
  }
  is_block_needed_[block] = true;
}

// Each block may make another one necessary that counts it.
Result<void> RefcountRebuild::place_blocks() {
  bool is_settled = false;
  while (!is_settled) {
    is_settled = true;
    for (std::uint64_t i = 0; i < blocks_.size(); ++i) {
      if (is_block_needed_[i] && blocks_[i] == 0) {
        blocks_[i] = VARVE_TRY(take(1));
        need(blocks_[i]);
        is_settled = false;
      }
    }
  }
  return {};
}

Result<void> RefcountRebuild::place_table() {
  while (true) {
    const std::uint64_t count = geometry_.clusters_for(blocks_.size() * 8);
    if (blocks_.size() * 8 > kRefcountTableBytesMax) {
      return failure(ErrorCode::no_space, "the refcount table would exceed its limit in bytes");
    }
    table_ = {HostCluster(VARVE_TRY(take(count))), count};
    for (std::uint64_t i = 0; i < count; ++i) {
      need(table_.first.value() + i);
    }
    VARVE_TRY(place_blocks());
    if (geometry_.clusters_for(blocks_.size() * 8) <= count) {
      return {};
    }
    // Counting itself has made it longer: elsewhere, once more.
    for (std::uint64_t i = 0; i < count; ++i) {
      busy_[table_.first.value() + i] = false;
    }
  }
}

Result<void> RefcountRebuild::run() {
  VARVE_ASSERT(!problem_);
  busy_ = used_;
  for (std::uint64_t i = 0; i < old_.size(); ++i) {
    if (old_[i]) {
      mark(busy_, {HostCluster(i), 1});
    }
  }
  for (std::uint64_t i = 0; i < used_.size(); ++i) {
    if (used_[i]) {
      need(i);
    }
  }
  VARVE_TRY(place_blocks());
  VARVE_TRY(place_table());
  VARVE_TRY(write_blocks());
  VARVE_TRY(write_table());
  VARVE_TRY(barrier(*metadata_));
  return switch_header();
}

Result<void> RefcountRebuild::write_blocks() {
  const std::uint64_t per_block = geometry_.refcounts_per_block();
  const std::uint64_t end = blocks_.size() * per_block;
  for (std::uint64_t first = 0; first < end; first += kWindowClusters) {
    VARVE_TRY(count_window(first, std::min(kWindowClusters, end - first)));
    VARVE_TRY(write_window(first));
  }
  return {};
}

void RefcountRebuild::count_run(std::uint64_t first, ClusterRun run, std::uint64_t references) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t cluster = run.first.value() + i;
    if (cluster >= first && cluster - first < counts_.size()) {
      std::uint32_t& count = counts_[cluster - first];
      const std::uint64_t sum = count + references;
      count = static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, ~std::uint32_t{0}));
    }
  }
}

Result<void> RefcountRebuild::count_window(std::uint64_t first, std::uint64_t count) {
  counts_.assign(count, 0);
  VARVE_TRY(walk_.for_each_fixed([&](ClusterRun run, IoTag tag, HostOffset) {
    if (!is_refcounts(tag)) {
      count_run(first, run, 1);
    }
  }));
  VARVE_TRY(walk_.for_each_table(
      [&](const ReferenceWalk::TableReference& table, ConstBytes bytes) -> Result<void> {
        count_run(first, {geometry_.cluster_of(table.offset), 1}, table.references);
        for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
          const L2Entry entry = mended_entry(L2Entry::load(geometry_, bytes, i), metadata_->header);
          count_run(first, walk_.clusters_of(entry), table.references);
        }
        return {};
      }));
  count_run(first, table_, 1);
  for (const std::uint64_t block : blocks_) {
    if (block != 0) {
      count_run(first, {HostCluster(block), 1}, 1);
    }
  }
  return problem_ ? Result<void>(*problem_) : Result<void>();
}

// The blocks that count the window.
Result<void> RefcountRebuild::write_window(std::uint64_t first) {
  const std::uint64_t per_block = geometry_.refcounts_per_block();
  const std::uint64_t blocks = counts_.size() / per_block;
  Buffer bytes = VARVE_TRY(Buffer::allocate(geometry_.cluster_bytes()));
  Batch batch(metadata_->counters);
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t block = first / per_block + i;
    if (blocks_[block] == 0) {
      continue;
    }
    zero_bytes(bytes.bytes());
    for (std::uint64_t at = 0; at < per_block; ++at) {
      const std::uint32_t count = counts_[i * per_block + at];
      if (count > geometry_.refcount_max()) {
        return corrupt_at(Corruption::refcount_overflow, IoTag::refcount_block, Error::kNoOffset,
                          "a cluster has more references than its refcount can hold; cluster",
                          first + i * per_block + at, geometry_.refcount_max());
      }
      if (count != 0) {
        store_refcount(geometry_, bytes.bytes(), at, count);
      }
    }
    VARVE_TRY(batch.write(*metadata_->file, IoTag::refcount_block,
                          geometry_.offset_of(HostCluster(blocks_[block])), bytes.bytes()));
    VARVE_TRY(batch.run());
  }
  return {};
}

Result<void> RefcountRebuild::write_table() {
  Buffer bytes = VARVE_TRY(Buffer::allocate_zeroed(table_.count * geometry_.cluster_bytes()));
  for (std::uint64_t i = 0; i < blocks_.size(); ++i) {
    store_be<std::uint64_t>(bytes.bytes(), i * 8, blocks_[i] << geometry_.cluster_bits);
  }
  Batch batch(metadata_->counters);
  VARVE_TRY(batch.write(*metadata_->file, IoTag::refcount_table, geometry_.offset_of(table_.first),
                        bytes.bytes()));
  return batch.run();
}

// Offset and size in one write inside the first sector (O5).
Result<void> RefcountRebuild::switch_header() {
  HeaderPatch patch;
  patch.set<std::uint64_t>(offsetof(RawHeader, refcount_table_offset),
                           geometry_.offset_of(table_.first).value());
  patch.set<std::uint32_t>(offsetof(RawHeader, refcount_table_clusters),
                           static_cast<std::uint32_t>(table_.count));
  return write_header(*metadata_, patch);
}

}  // namespace varve
