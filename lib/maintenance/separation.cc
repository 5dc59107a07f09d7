#include "maintenance/separation.h"

#include <algorithm>
#include <array>

#include "base/buffer.h"
#include "base/endian.h"
#include "base/try.h"
#include "meta/batch.h"
#include "meta/straight_line.h"

namespace varve {

Result<void> Separation::survey() {
  VARVE_TRY(make_ready_to_change(*metadata_));
  // What breaks another rule is told by whoever counts.
  ReferenceWalk walk(*metadata_, [](const Error&) {});
  VARVE_TRY(walk.collect());
  survey_slots(walk.tables());
  if (metadata_->header.has_data_file()) {
    return {};
  }
  data_.assign(metadata_->geometry.clusters_for(metadata_->file->size()), false);
  VARVE_TRY(
      walk.for_each_table([this](const ReferenceWalk::TableReference& table, ConstBytes bytes) {
        survey_data(table.offset, bytes);
        return Result<void>();
      }));
  if (!has_compressed_) {
    return {};
  }
  return walk.for_each_table([this](const ReferenceWalk::TableReference& table, ConstBytes bytes) {
    survey_compressed(table.offset, bytes);
    return Result<void>();
  });
}

void Separation::survey_slots(const std::vector<ReferenceWalk::TableReference>& tables) {
  std::vector<std::uint64_t> shared;
  for (const ReferenceWalk::TableReference& table : tables) {
    if (table.active_references > 1) {
      shared.push_back(table.offset.value());
    }
  }
  std::vector<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < metadata_->l1.size() && !shared.empty(); ++i) {
    const HostOffset table = metadata_->l1.entry(i).offset();
    if (!std::binary_search(shared.begin(), shared.end(), table.value())) {
      continue;
    }
    if (std::find(seen.begin(), seen.end(), table.value()) == seen.end()) {
      seen.push_back(table.value());
    } else {
      shared_slots_.push_back({metadata_->l1.offset_of(i), table, 0});
    }
  }
}

template <class Visit>
void Separation::for_each_entry(HostOffset table, ConstBytes bytes, Visit visit) const {
  const Geometry& geometry = metadata_->geometry;
  if (metadata_->guard.places().find(geometry.cluster_of(table)) != TablePlaces::Kind::l2) {
    return;
  }
  for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
    const L2Entry entry = L2Entry::load(geometry, bytes, i);
    const HostOffset where = table + (i << geometry.l2_entry_bits());
    if ((entry.is_compressed() || entry.has_host()) &&
        entry.validate(geometry, metadata_->header.version, false, where)) {
      visit(entry, where);
    }
  }
}

bool Separation::is_table(ClusterRun run) const {
  return metadata_->guard.find_foreign(run, TablePlaces::Kind::none).has_value();
}

void Separation::survey_data(HostOffset table, ConstBytes bytes) {
  for_each_entry(table, bytes, [this](L2Entry entry, HostOffset where) {
    const HostCluster cluster = metadata_->geometry.cluster_of(entry.host());
    if (entry.is_compressed()) {
      has_compressed_ = true;
    } else if (cluster.value() >= data_.size()) {
      // Behind the end of the file: there is nothing to separate.
    } else if (is_table({cluster, 1})) {
      clusters_.push_back(
          {where, entry.host(), entry.raw() & ~(L2Entry::kOffsetMask | L2Entry::kCopied)});
    } else {
      data_[cluster.value()] = true;
    }
  });
}

void Separation::survey_compressed(HostOffset table, ConstBytes bytes) {
  for_each_entry(table, bytes, [this](L2Entry entry, HostOffset where) {
    if (!entry.is_compressed()) {
      return;
    }
    const CompressedExtent extent = entry.compressed_extent(metadata_->geometry);
    const ClusterRun run = metadata_->map.clusters_of(extent);
    bool is_shared = is_table(run);
    for (std::uint64_t i = 0; i < run.count && !is_shared; ++i) {
      const std::uint64_t cluster = run.first.value() + i;
      is_shared = cluster < data_.size() && data_[cluster];
    }
    if (is_shared) {
      compressed_.push_back({where, extent});
    }
  });
}

Result<void> Separation::copy(HostOffset from, HostOffset to, Bytes bytes, IoTag tag) {
  const Geometry& geometry = metadata_->geometry;
  Batch batch(metadata_->counters);
  VARVE_TRY(batch.run(batch.read(*metadata_->file, tag, from, bytes)));
  if (tag == IoTag::l2) {
    // What both tables map is shared from now on.
    for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
      const L2Entry entry = L2Entry::load(geometry, bytes, i);
      if (!entry.is_compressed()) {
        entry.with_copied(false).store(geometry, bytes, i);
      }
    }
  }
  VARVE_TRY(batch.run(batch.write(*metadata_->file, tag, to, bytes)));
  metadata_->commit.note_unsynced(false);
  // The count, and what it counts.
  return flush_and_wait(*metadata_);
}

Result<void> Separation::lead(HostOffset where, std::uint64_t entry, IoTag tag) {
  std::array<std::byte, 8> bytes{};
  store_be(Bytes(bytes), 0, entry);
  Batch batch(metadata_->counters);
  VARVE_TRY(batch.write(*metadata_->file, tag, where, ConstBytes(bytes)));
  return write_in_place(*metadata_, batch);
}

Result<void> Separation::copy(Place& place, IoTag tag) {
  const Geometry& geometry = metadata_->geometry;
  place.fresh = geometry.offset_of(VARVE_TRY(claim_run(*metadata_, 1)).first);
  Buffer bytes = VARVE_TRY(Buffer::allocate(geometry.cluster_bytes()));
  return copy(place.target, place.fresh, bytes.bytes(), tag);
}

Result<void> Separation::lead(const Place& place, IoTag tag) {
  return lead(place.where, place.fresh.value() | place.flags, tag);
}

// To the beginning of clusters of its own: what it needs of them is not known before it is
// decompressed.
Result<void> Separation::copy(CompressedPlace& place) {
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t length = round_up(place.extent.length, kSectorBytes);
  const HostOffset fresh =
      geometry.offset_of(VARVE_TRY(claim_run(*metadata_, geometry.clusters_for(length))).first);
  place.fresh = {fresh, length};
  if (!L2Entry::is_compressible_at(geometry, place.fresh)) {
    return corrupt_at(Corruption::cluster_overlaps_metadata, IoTag::l2, place.where.value(),
                      "compressed data lies over a table, and no entry could name its new place",
                      place.extent.offset.value(), fresh.value());
  }
  Buffer bytes = VARVE_TRY(Buffer::allocate_zeroed(length));
  return copy(place.extent.offset, fresh, bytes.bytes(), IoTag::compressed_data);
}

// All is copied before the first entry changes: what is copied may be the table of that entry. One
// that names its own table goes first, for then nobody reads that table as data any more.
Result<void> Separation::run() {
  for (Place& place : clusters_) {
    VARVE_TRY(copy(place, IoTag::guest_data));
  }
  for (CompressedPlace& place : compressed_) {
    VARVE_TRY(copy(place));
  }
  const Geometry& geometry = metadata_->geometry;
  for (const bool names_itself : {true, false}) {
    for (const Place& place : clusters_) {
      if ((geometry.cluster_of(place.where) == geometry.cluster_of(place.target)) == names_itself) {
        VARVE_TRY(lead(place, IoTag::l2));
      }
    }
  }
  for (const CompressedPlace& place : compressed_) {
    VARVE_TRY(lead(place.where, L2Entry::compressed(geometry, place.fresh).raw(), IoTag::l2));
  }
  for (Place& place : shared_slots_) {
    VARVE_TRY(copy(place, IoTag::l2));
    VARVE_TRY(lead(place, IoTag::l1));
  }
  return barrier(*metadata_);
}

}  // namespace varve
