// Repairing an open image behind its closed gate. Each step leaves the file no worse wherever it is
// cut off, and the next repair finishes it:
//   bitmaps that something else lies over are given up, all of them, by one write of the header;
//   snapshots whose entries cannot be read leave the table, by another;
//   refcount structures that cannot be trusted are made anew, elsewhere (refcount_rebuild.h);
//   bits that say nothing about where data is are cleared, entry by entry;
//   what lies over a table gets a place of its own (separation.h);
//   counts and flags are made true (recount.h).

#include <array>
#include <cstddef>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include <varve/check.h>

#include "base/failure.h"
#include "base/try.h"
#include "image/qcow2_image.h"
#include "maintenance/bitmap_survey.h"
#include "maintenance/check_metadata.h"
#include "maintenance/mended_entry.h"
#include "maintenance/refcount_rebuild.h"
#include "maintenance/separation.h"
#include "maintenance/shared_places.h"
#include "maintenance/still_image.h"
#include "meta/batch.h"
#include "meta/recount.h"
#include "meta/reference_walk.h"
#include "meta/straight_line.h"

namespace varve {
namespace {

bool is_clean(const CheckReport& report) noexcept {
  return report.leaks == 0 && report.corruptions == 0 && report.failures == 0;
}

// Nobody may hold clusters that no table refers to: a recount would give them away. Nor may anybody
// read a snapshot: tables and memory change under it.
Result<void> check_repairable(const Qcow2Image& image) noexcept {
  const Metadata& metadata = image.metadata();
  if (!metadata.is_writable) {
    return failure(ErrorCode::read_only, "the image is open for reading only");
  }
  if (image.state_writers != 0 || !image.open_snapshots.empty() || metadata.store.has_drops()) {
    return failure(ErrorCode::busy, "a state is being written, or a snapshot read");
  }
  return {};
}

// Why something is left that no step stumbled on: the first thing the check still finds.
std::optional<Error> first_left(const CheckReport& report) noexcept {
  for (const Finding& finding : report.findings) {
    if (finding.severity != Severity::failure && finding.reason != Corruption::none) {
      return corrupt_at(finding.reason, finding.table, finding.offset,
                        "a place that cannot be repaired; its value", finding.found);
    }
  }
  return std::nullopt;
}

class Repairer {
 public:
  Repairer(Qcow2Image& image, const CheckOptions& options) : image_(&image), options_(&options) {}

  Result<RepairReport> run(Repair what) {
    report_.before = VARVE_TRY(check_metadata(metadata(), *options_));
    report_.lost = metadata().snapshot_losses;
    if (is_clean(report_.before)) {
      report_.after = report_.before;
    } else {
      const Result<void> repaired = what == Repair::leaks ? give_back_leaks() : repair_all();
      if (!repaired && repaired.error().code != ErrorCode::corrupt) {
        return repaired.error();
      }
      if (!repaired) {
        report_.left = repaired.error();
      }
      report_.after = VARVE_TRY(check_metadata(metadata(), *options_));
      if (!report_.left) {
        report_.left = first_left(report_.after);
      }
    }
    VARVE_TRY(take_marks_off());
    return std::move(report_);
  }

 private:
  [[nodiscard]] Metadata& metadata() const noexcept { return image_->metadata(); }

  Result<void> give_back_leaks() {
    if (!report_.lost.empty()) {
      report_.lost.clear();
      return corrupt_at(metadata().snapshot_losses.front().reason, IoTag::snapshot_table,
                        metadata().header.snapshot_table_offset.value(),
                        "the snapshot table is damaged: leaks alone cannot be repaired");
    }
    return recount(metadata(), Recounted::leaks);
  }

  Result<void> repair_all() {
    const std::vector<Loss> bitmaps = VARVE_TRY(BitmapSurvey(metadata()).run());
    report_.lost.insert(report_.lost.end(), bitmaps.begin(), bitmaps.end());
    for (const Loss& loss : report_.lost) {
      if (options_->about_to_lose) {
        options_->about_to_lose(loss);
      }
    }
    if (!bitmaps.empty()) {
      VARVE_TRY(give_up_bitmaps());
    }
    if (!metadata().snapshot_losses.empty() && metadata().are_losses_at_end) {
      VARVE_TRY(switch_snapshots(metadata().header.snapshot_table_offset));
    }
    VARVE_TRY(rebuild());
    SharedPlaces shared(metadata());
    VARVE_TRY(shared.survey());
    if (shared.overlap()) {
      // Nothing in use may look free at least.
      VARVE_TRY(recount(metadata(), Recounted::raised));
      return *shared.overlap();
    }
    VARVE_TRY(mend(shared));
    if (!metadata().snapshot_losses.empty()) {
      VARVE_TRY(move_snapshots());
    }
    VARVE_TRY(separate());
    return recount(metadata(), Recounted::all);
  }

  // Nobody takes them for whole any more; their space is nobody's.
  Result<void> give_up_bitmaps() {
    HeaderPatch patch;
    patch.set<std::uint64_t>(offsetof(RawHeader, autoclear_features),
                             metadata().header.autoclear & kAutoclearKnown & ~kAutoclearBitmaps);
    VARVE_TRY(write_header(metadata(), patch));
    return image_->reload();
  }

  // The header names the entries that are left, at `offset`, and memory is loaded anew.
  Result<void> switch_snapshots(HostOffset offset) {
    const auto count = static_cast<std::uint32_t>(metadata().snapshots.entries.size());
    HeaderPatch patch;
    patch.set<std::uint32_t>(offsetof(RawHeader, snapshot_count), count);
    patch.set<std::uint64_t>(offsetof(RawHeader, snapshot_table_offset),
                             count == 0 ? 0 : offset.value());
    VARVE_TRY(write_header(metadata(), patch));
    return image_->reload();
  }

  // Entries are left behind ones that are lost: a new table, in space that is counted before it is
  // taken. Nothing becomes free before the header names it.
  Result<void> move_snapshots() {
    VARVE_TRY(recount(metadata(), Recounted::raised));
    const SnapshotTable& table = metadata().snapshots;
    const std::uint64_t clusters = metadata().geometry.clusters_for(table.serialised_bytes());
    const ClusterRun run = VARVE_TRY(claim_run(metadata(), clusters));
    VARVE_TRY(flush_and_wait(metadata()));
    Buffer bytes =
        VARVE_TRY(Buffer::allocate_zeroed(clusters * metadata().geometry.cluster_bytes()));
    VARVE_TRY(table.serialise(bytes.bytes()));
    const HostOffset offset = metadata().geometry.offset_of(run.first);
    Batch batch(metadata().counters);
    VARVE_TRY(
        batch.run(batch.write(*metadata().file, IoTag::snapshot_table, offset, bytes.bytes())));
    VARVE_TRY(barrier(metadata()));
    return switch_snapshots(offset);
  }

  Result<void> rebuild() {
    RefcountRebuild rebuild(metadata());
    VARVE_TRY(rebuild.survey());
    if (!rebuild.is_needed()) {
      return {};
    }
    if (rebuild.problem()) {
      return *rebuild.problem();
    }
    VARVE_TRY(rebuild.run());
    report_.refcounts_rebuilt = true;
    return image_->reload();
  }

  // Each entry is one write of eight bytes, right by itself. What a disk shows as well stays as it
  // is: a table there may be none at all.
  Result<void> mend(const SharedPlaces& shared) {
    Batch batch(metadata().counters);
    // The memory of writes stays until they have run.
    std::vector<std::array<std::byte, 8>> values;
    struct Place {
      IoTag tag = IoTag::l2;
      std::uint64_t offset = 0;
      std::uint64_t value = 0;
    };
    std::vector<Place> places;
    ReferenceWalk walk(metadata(), [&](const Error& error) {
      if (error.tag == IoTag::l1 && is_mendable(error)) {
        places.push_back({IoTag::l1, error.offset, mended_entry(L1Entry(error.value)).raw()});
      }
    });
    VARVE_TRY(walk.collect());
    const Geometry& geometry = metadata().geometry;
    VARVE_TRY(walk.for_each_table(
        [&](const ReferenceWalk::TableReference& table, ConstBytes bytes) -> Result<void> {
          for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
            const HostOffset where = table.offset + (i << geometry.l2_entry_bits());
            const L2Entry entry = L2Entry::load(geometry, bytes, i);
            const L2Entry mended = mended_entry(entry, metadata().header);
            if (entry.raw() != mended.raw()) {
              places.push_back({IoTag::l2, where.value(), mended.raw()});
            }
          }
          return {};
        }));
    std::erase_if(places, [&](const Place& place) { return shared.is_data(place.offset); });
    if (places.empty()) {
      return {};
    }
    values.resize(places.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
      store_be(Bytes(values[i]), 0, places[i].value);
      VARVE_TRY(batch.write(*metadata().file, places[i].tag, HostOffset(places[i].offset),
                            ConstBytes(values[i])));
    }
    VARVE_TRY(write_in_place(metadata(), batch));
    VARVE_TRY(barrier(metadata()));
    report_.entries_mended = places.size();
    return image_->reload();
  }

  Result<void> separate() {
    Separation separation(metadata());
    VARVE_TRY(separation.survey());
    if (!separation.is_needed()) {
      return {};
    }
    // Space is claimed: nothing in use may look free.
    VARVE_TRY(recount(metadata(), Recounted::raised));
    VARVE_TRY(separation.run());
    report_.overlaps_separated = separation.count();
    return image_->reload();
  }

  Result<void> take_marks_off() {
    const std::uint64_t marks =
        metadata().header.incompatible & (kIncompatibleCorrupt | kIncompatibleDirty);
    if (marks != 0 && is_clean(report_.after)) {
      VARVE_TRY(clear_features(metadata(), marks));
    }
    return {};
  }

  Qcow2Image* image_;
  const CheckOptions* options_;
  RepairReport report_;
};

}  // namespace

Result<RepairReport> repair(Image& image, Repair what, const CheckOptions& options) noexcept {
  auto* const qcow2 = dynamic_cast<Qcow2Image*>(&image.core());
  if (qcow2 == nullptr) {
    return failure(ErrorCode::unsupported, "only qcow2 images can be repaired");
  }
  StillImage still(*qcow2);
  VARVE_TRY(still.begin());
  VARVE_TRY(check_repairable(*qcow2));
  try {
    return Repairer(*qcow2, options).run(what);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot keep what was found");
  }
}

}  // namespace varve
