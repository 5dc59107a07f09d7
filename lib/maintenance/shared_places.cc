#include "maintenance/shared_places.h"

#include <algorithm>

#include "base/failure.h"
#include "base/try.h"
#include "maintenance/mended_entry.h"

namespace varve {

Result<void> SharedPlaces::survey() {
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t clusters = geometry.clusters_for(metadata_->file->size());
  tables_.assign(clusters, IoTag::none);
  data_.assign(clusters, false);
  // What breaks another rule is told by whoever counts.
  ReferenceWalk walk(*metadata_, [](const Error&) {});
  VARVE_TRY(walk.collect());
  VARVE_TRY(walk.for_each_fixed(
      [this](ClusterRun run, IoTag tag, HostOffset where) { add_table(run, tag, where); }));
  return walk.for_each_table(
      [&](const ReferenceWalk::TableReference& table, ConstBytes bytes) -> Result<void> {
        add_table({geometry.cluster_of(table.offset), 1}, IoTag::l2, table.where);
        for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
          const L2Entry entry = L2Entry::load(geometry, bytes, i);
          if (entry.raw() != 0) {
            add_data(walk, mended_entry(entry, metadata_->header),
                     table.offset + (i << geometry.l2_entry_bits()));
          }
        }
        return {};
      });
}

// Two bitmaps may share what they share: it is only read.
void SharedPlaces::add_table(ClusterRun run, IoTag tag, HostOffset where) {
  const std::uint64_t end = std::min<std::uint64_t>(run.first.value() + run.count, tables_.size());
  for (std::uint64_t i = run.first.value(); i < end; ++i) {
    const bool is_shared =
        tables_[i] != IoTag::none && !(tables_[i] == tag && tag == IoTag::bitmap);
    if (is_shared && !overlap_) {
      overlap_ = corrupt_at(Corruption::tables_overlap, tag, where.value(),
                            "a table lies over another one, or over the header; its offset",
                            i << metadata_->geometry.cluster_bits);
    }
    tables_[i] = tag;
  }
}

void SharedPlaces::add_data(const ReferenceWalk& walk, L2Entry entry, HostOffset where) {
  const Header& header = metadata_->header;
  if (!entry.validate(header.geometry, header.version, header.has_data_file(), where)) {
    return;
  }
  const ClusterRun run = walk.clusters_of(entry);
  const std::uint64_t end = std::min<std::uint64_t>(run.first.value() + run.count, data_.size());
  for (std::uint64_t i = run.first.value(); i < end; ++i) {
    data_[i] = true;
  }
}

bool SharedPlaces::is_data(std::uint64_t offset) const noexcept {
  const std::uint64_t cluster = offset >> metadata_->geometry.cluster_bits;
  return cluster < data_.size() && data_[cluster];
}

}  // namespace varve
