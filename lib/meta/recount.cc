#include "meta/recount.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <optional>
#include <vector>

#include "base/failure.h"
#include "base/try.h"
#include "meta/ask.h"
#include "meta/reference_walk.h"
#include "meta/shutdown.h"
#include "meta/straight_line.h"

namespace varve {
namespace {

// Settles one window of clusters after the other: counts up, F, flags, F, counts down, F. Each
// cluster's counts and flags depend on that cluster alone, so windows are independent.
class Settlement {
 public:
  Settlement(Metadata& metadata, Recounted what, std::uint64_t window_clusters)
      : metadata_(&metadata),
        what_(what),
        window_clusters_(window_clusters),
        walk_(metadata, [this](const Error& error) {
          if (!problem_) {
            problem_ = error;
          }
        }) {}

  Result<void> run() {
    VARVE_TRY(walk_.collect());
    // Counts behind the end of the file can only be leaks.
    const std::uint64_t end = metadata_->geometry.clusters_for(metadata_->file->size());
    for (first_ = 0; first_ < end; first_ += window_clusters_) {
      counts_.assign(std::min(window_clusters_, end - first_), 0);
      VARVE_TRY(count());
      VARVE_TRY(adjust(Way::up));
      VARVE_TRY(flush_and_wait(*metadata_));
      if (what_ == Recounted::raised) {
        continue;
      }
      VARVE_TRY(fix_flags());
      VARVE_TRY(flush_and_wait(*metadata_));
      VARVE_TRY(adjust(Way::down));
      VARVE_TRY(flush_and_wait(*metadata_));
    }
    return {};
  }

 private:
  enum class Way { up, down };

  void add(ClusterRun run, std::uint32_t references) {
    for (std::uint64_t i = 0; i < run.count; ++i) {
      const std::uint64_t cluster = run.first.value() + i;
      if (cluster >= first_ && cluster - first_ < counts_.size()) {
        std::uint32_t& count = counts_[cluster - first_];
        count = references > ~count ? ~std::uint32_t{0} : count + references;
      }
    }
  }

  Result<void> told_problem() const { return problem_ ? Result<void>(*problem_) : Result<void>(); }

  template <class Visitor>
  void for_each_entry(ConstBytes bytes, HostOffset table, Visitor&& visit) {
    const Geometry& geometry = metadata_->geometry;
    for (std::uint64_t index = 0; index < geometry.l2_entries(); ++index) {
      const L2Entry entry = L2Entry::load(geometry, bytes, index);
      const Result<void> valid =
          entry.validate(geometry, metadata_->header.version, metadata_->header.has_data_file(),
                         table + (index << geometry.l2_entry_bits()));
      if (!valid) {
        problem_ = problem_ ? problem_ : std::optional<Error>(valid.error());
        continue;
      }
      visit(index, entry);
    }
  }

  Result<void> count() {
    VARVE_TRY(walk_.for_each_fixed([this](ClusterRun run, IoTag, HostOffset) { add(run, 1); }));
    VARVE_TRY(
        walk_.for_each_table([this](const ReferenceWalk::TableReference& table, ConstBytes bytes) {
          add({metadata_->geometry.cluster_of(table.offset), 1}, table.references);
          for_each_entry(bytes, table.offset, [&](std::uint64_t, L2Entry entry) {
            add(walk_.clusters_of(entry), table.references);
          });
          return told_problem();
        }));
    return told_problem();
  }

  // Raises (or lowers) the stored counts of the window to the counted references.
  Result<void> adjust(Way way) {
    Refcounts& refcounts = metadata_->refcounts;
    const Geometry& geometry = metadata_->geometry;
    for (std::uint64_t i = 0; i < counts_.size(); ++i) {
      const HostCluster cluster(first_ + i);
      const std::uint64_t block_index = geometry.refcount_block_index(cluster);
      if (!refcounts.has_block(block_index)) {
        if (counts_[i] != 0) {
          return corrupt_at(
              Corruption::refcount_missing_block, IoTag::refcount_table,
              refcounts.table_offset().value() + block_index * 8,
              "a referenced cluster has no refcount block: the image needs repair; cluster",
              cluster.value());
        }
        continue;
      }
      TableCache::Table* block =
          VARVE_TRY(ask_until(*metadata_, [&] { return refcounts.block(block_index); }));
      const std::uint64_t index = cluster.value() % geometry.refcounts_per_block();
      const std::uint64_t stored = load_refcount(geometry, block->bytes(), index);
      if (way == Way::up ? stored >= counts_[i] : stored <= counts_[i]) {
        continue;
      }
      if (way == Way::up && what_ == Recounted::leaks) {
        return corrupt_at(Corruption::refcount_too_low, IoTag::refcount_block,
                          block->offset().value(),
                          "a cluster is counted too low: leaks alone cannot be repaired; cluster",
                          cluster.value());
      }
      if (counts_[i] > geometry.refcount_max()) {
        return corrupt_at(
            Corruption::refcount_too_low, IoTag::refcount_block, block->offset().value(),
            "a cluster has more references than its refcount can hold; cluster", cluster.value());
      }
      const Refcounts::Span span = refcounts.span_of(index, 1);
      store_refcount(geometry, block->edit(span.begin, span.end), index, counts_[i]);
      if (counts_[i] == 0) {
        metadata_->guard.places().forget({cluster, 1});
      }
    }
    return {};
  }

  [[nodiscard]] bool is_in_window(HostCluster cluster) const {
    return cluster.value() >= first_ && cluster.value() - first_ < counts_.size();
  }
  [[nodiscard]] bool is_single(HostCluster cluster) const {
    return counts_[cluster.value() - first_] == 1;
  }

  Result<void> fix_flags() {
    L1Table& l1 = metadata_->l1;
    const Geometry& geometry = metadata_->geometry;
    for (std::uint64_t i = 0; i < l1.size(); ++i) {
      const L1Entry entry = l1.entry(i);
      if (!entry.is_allocated()) {
        continue;
      }
      const HostCluster cluster = geometry.cluster_of(entry.offset());
      if (is_in_window(cluster) && is_single(cluster) != entry.is_copied()) {
        l1.set(i, L1Entry::table(entry.offset(), is_single(cluster)));
      }
      VARVE_TRY(fix_table(entry.offset()));
    }
    return {};
  }

  Result<void> fix_table(HostOffset offset) {
    const Geometry& geometry = metadata_->geometry;
    TableCache::Table* table = VARVE_TRY(ask_until(*metadata_, [&]() -> Answer<TableCache::Table*> {
      if (TableCache::Table* found = metadata_->l2.find(offset)) {
        return found;
      }
      return Need{Need::Kind::l2_table, offset, 0};
    }));
    for_each_entry(table->bytes(), offset, [&](std::uint64_t index, L2Entry entry) {
      const bool is_counted =
          !entry.is_compressed() && entry.has_host() && !metadata_->header.has_data_file();
      if (!is_counted) {
        return;
      }
      const HostCluster cluster = geometry.cluster_of(entry.host());
      if (is_in_window(cluster) && is_single(cluster) != entry.is_copied()) {
        const std::uint64_t begin = index << geometry.l2_entry_bits();
        entry.with_copied(is_single(cluster))
            .store(geometry, table->edit(begin, begin + geometry.l2_entry_bytes()), index);
      }
    });
    return told_problem();
  }

  Metadata* metadata_;
  Recounted what_;
  std::uint64_t window_clusters_;
  ReferenceWalk walk_;
  std::optional<Error> problem_;
  std::uint64_t first_ = 0;
  std::vector<std::uint32_t> counts_;
};

}  // namespace

Result<void> clear_features(Metadata& metadata, std::uint64_t features) noexcept {
  const std::uint64_t kept = metadata.header.incompatible & ~features;
  HeaderPatch patch;
  patch.set<std::uint64_t>(offsetof(RawHeader, incompatible_features), kept);
  VARVE_TRY(write_header(metadata, patch));
  metadata.header.incompatible = kept;
  return {};
}

Result<void> recount(Metadata& metadata, Recounted what, std::uint64_t window_clusters) noexcept {
  try {
    return Settlement(metadata, what, window_clusters).run();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot recount the image");
  }
}

Result<void> settle(Metadata& metadata) noexcept {
  VARVE_TRY(recount(metadata, Recounted::all));
  return clear_features(metadata, kIncompatibleDirty);
}

}  // namespace varve
