#include "service/scan.h"

#include <algorithm>

#include <varve/lineage.h>
#include <varve/snapshot.h>

#include "base/try.h"
#include "service/clock.h"

namespace varve {
namespace {

// One image's entries, and which of them are snapshots of the system.
struct ImageEntries {
  std::vector<SnapshotInfo> infos;
  std::vector<std::optional<StoredSettings>> settings;
  Lineage lineage;

  // The snapshot of the system at or above an entry: null where there is none.
  [[nodiscard]] Uuid nearest(std::size_t index) const noexcept {
    while (index != Lineage::kNone && !settings[index]) {
      index = lineage.snapshots[index].parent;
    }
    return index == Lineage::kNone ? Uuid() : settings[index]->snapshot;
  }
  // The entry's own snapshot: null where it is another program's.
  [[nodiscard]] Uuid own(std::size_t index) const noexcept {
    return index == Lineage::kNone || !settings[index] ? Uuid() : settings[index]->snapshot;
  }
  [[nodiscard]] Uuid parent_of(std::size_t index) const noexcept {
    return nearest(lineage.snapshots[index].parent);
  }
};

Result<ImageEntries> read_entries(const System& system, const Image& image) {
  ImageEntries entries;
  entries.infos = VARVE_TRY(list_snapshots(image));
  entries.lineage = VARVE_TRY(snapshot_lineage(image));
  for (const SnapshotInfo& info : entries.infos) {
    std::optional<StoredSettings> settings = decode_settings(info.settings);
    if (settings && settings->system != system.id()) {
      settings.reset();  // The image is a copy of another system's.
    }
    entries.settings.push_back(std::move(settings));
  }
  return entries;
}

Snapshot snapshot_of(const ImageEntries& entries, std::size_t index) {
  const SnapshotInfo& info = entries.infos[index];
  Snapshot snapshot;
  snapshot.id = entries.settings[index]->snapshot;
  snapshot.parent = entries.parent_of(index);
  snapshot.element_name = info.name;
  snapshot.creation_nanoseconds = info.date_seconds * kNanosecondsPerSecond + info.date_nanoseconds;
  snapshot.settings = *entries.settings[index];
  return snapshot;
}

}  // namespace

Result<SnapshotTree> scan_snapshots(const System& system, std::span<const OpenDisk> disks) {
  SnapshotTree tree;
  bool is_first = true;
  for (const OpenDisk& disk : disks) {
    const ImageEntries entries = VARVE_TRY(read_entries(system, *disk.image));
    for (std::size_t i = 0; i < entries.infos.size(); ++i) {
      if (!entries.settings[i]) {
        continue;
      }
      auto found = std::ranges::find(tree.snapshots, entries.settings[i]->snapshot, &Snapshot::id);
      if (found == tree.snapshots.end()) {
        tree.snapshots.push_back(snapshot_of(entries, i));
        found = tree.snapshots.end() - 1;
      }
      const SnapshotInfo& info = entries.infos[i];
      found->members.push_back({disk.index, info.vm_state_size});
      if (is_reserved_name(info.name)) {
        found->shows_unfinished = true;
      } else {
        found->element_name = info.name;
        found->is_first_named = found->is_first_named || entries.settings[i]->disk_index == 0;
      }
    }
    if (is_first) {
      tree.most_current = entries.nearest(entries.lineage.current);
      tree.last_applied = entries.own(entries.lineage.last_applied);
      is_first = false;
    }
  }
  std::ranges::stable_sort(tree.snapshots, {}, &Snapshot::creation_nanoseconds);
  return tree;
}

bool can_have_snapshots(const DiskDefinition& definition, const Image& image) {
  const bool is_read_only =
      definition.read_only || (definition.image == nullptr && !definition.options.writable);
  const ImageFacts facts = image.facts();
  return !is_read_only && facts.format == Format::qcow2 && facts.data_file_name.empty() &&
         facts.refcount_bits > 1;
}

}  // namespace varve
