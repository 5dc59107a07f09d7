#include "meta/walk_items.h"

#include <new>

#include "base/failure.h"
#include "base/try.h"
#include "format/l2_entry.h"

namespace varve {
namespace {

// Bits that no entry has that is plainly a cluster, with or without COPIED, or nothing at all.
// Where one is set, or entries are extended, every rule is looked at.
std::uint64_t unusual_bits(const Geometry& geometry, std::uint32_t version) noexcept {
  if (geometry.extended_l2) {
    return ~std::uint64_t{0};
  }
  const std::uint64_t unaligned = (geometry.cluster_bytes() - 1) & L2Entry::kOffsetMask;
  return L2Entry::kReserved | L2Entry::kCompressed | unaligned | (version < 3 ? L2Entry::kZero : 0);
}

// Entries looked at together where they continue a run.
constexpr std::uint32_t kStride = 16;

// Whether the entries from `first` on are plainly the clusters from `host` on, one behind the
// other; adds their bits to `bits`. REQUIRES: plain entries of 8 bytes.
bool is_straight(ConstBytes bytes, std::uint32_t first, std::uint64_t host,
                 std::uint64_t cluster_bytes, std::uint64_t& bits) noexcept {
  std::uint64_t differing = 0;
  std::uint64_t all = 0;
  for (std::uint32_t i = 0; i < kStride; ++i) {
    const auto raw = load_be<std::uint64_t>(bytes, std::uint64_t{first + i} * 8);
    all |= raw;
    differing |= (raw & ~L2Entry::kCopied) ^ (host + i * cluster_bytes);
  }
  bits |= differing == 0 ? all : 0;
  return differing == 0;
}

}  // namespace

Result<void> WalkItems::reserve() noexcept {
  try {
    heads_.assign(metadata_->refcounts.table().size(), WalkItem::kNone);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a walk");
  }
  clear();
  return {};
}

void WalkItems::clear() noexcept {
  for (const std::uint32_t block : blocks_) {
    heads_[block] = WalkItem::kNone;
  }
  blocks_.clear();
  items_.clear();
}

Result<bool> WalkItems::take_table(std::uint32_t table, HostOffset offset,
                                   ConstBytes bytes) noexcept {
  try {
    return take_entries(table, offset, bytes);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a walk");
  }
}

void WalkItems::add(std::uint32_t table, const Run& run) {
  if (run.count == 0) {
    return;
  }
  const std::uint64_t block = metadata_->geometry.refcount_block_index(HostCluster(run.cluster));
  if (block >= heads_.size() || !metadata_->refcounts.has_block(block)) {
    stray_ = run.cluster;
    return;
  }
  if (heads_[block] == WalkItem::kNone) {
    blocks_.push_back(static_cast<std::uint32_t>(block));
  }
  items_.push_back({run.cluster, run.count, table, run.entry, heads_[block]});
  heads_[block] = static_cast<std::uint32_t>(items_.size() - 1);
}

Result<bool> WalkItems::take_entries(std::uint32_t table, HostOffset offset, ConstBytes bytes) {
  const Geometry& geometry = metadata_->geometry;
  const std::uint32_t version = metadata_->header.version;
  const std::uint64_t unusual = unusual_bits(geometry, version);
  const std::uint64_t block_mask = geometry.refcounts_per_block() - 1;
  const std::uint32_t entry_bits = geometry.l2_entry_bits();
  const auto entries = static_cast<std::uint32_t>(geometry.l2_entries());
  std::uint64_t copied = 0;
  stray_.reset();
  Run run;
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::uint64_t next = run.cluster + run.count;
    if (run.count != 0 && !geometry.extended_l2 && entries - i >= kStride &&
        (next & block_mask) != 0 && block_mask - (next & block_mask) >= kStride &&
        is_straight(bytes, i, next << geometry.cluster_bits, geometry.cluster_bytes(), copied)) {
      run.count += kStride;
      i += kStride - 1;
      continue;
    }
    const auto raw = load_be<std::uint64_t>(bytes, std::uint64_t{i} << entry_bits);
    const std::uint64_t host = raw & L2Entry::kOffsetMask;
    if ((raw & unusual) != 0 || geometry.extended_l2 || (host == 0 && raw > L2Entry::kZero)) {
      const L2Entry entry = L2Entry::load(geometry, bytes, i);
      VARVE_TRY(
          entry.validate(geometry, version, false, offset + (std::uint64_t{i} << entry_bits)));
      if (entry.is_compressed()) {
        add(table, run);
        run = Run();
        take_compressed(table, entry);
        continue;
      }
    }
    copied |= raw;
    const std::uint64_t cluster = host >> geometry.cluster_bits;
    // No cluster is number 0, where a run that is not begun would go on.
    if (host != 0 && cluster == run.cluster + run.count && (cluster & block_mask) != 0) {
      ++run.count;
      continue;
    }
    add(table, run);
    run = host == 0 ? Run() : Run{cluster, 1, i};
  }
  add(table, run);
  add(table, {geometry.cluster_of(offset).value(), 1, WalkItem::kTable});
  if (stray_) {
    return corrupt_at(Corruption::refcount_missing_block, IoTag::l2, offset.value(),
                      "a referenced cluster has no refcount block; cluster", *stray_);
  }
  return (copied & L2Entry::kCopied) != 0;
}

// Every cluster the data touches counts one reference for it.
void WalkItems::take_compressed(std::uint32_t table, L2Entry entry) {
  const ClusterRun run = metadata_->map.clusters_of(entry.compressed_extent(metadata_->geometry));
  for (std::uint64_t i = 0; i < run.count; ++i) {
    add(table, {run.first.value() + i, 1, WalkItem::kNone});
  }
}

}  // namespace varve
