#include "snapshot/entries.h"

#include "base/failure.h"
#include "base/try.h"

namespace varve {

Result<Qcow2Image*> qcow2_of(const Image& image) noexcept {
  auto* core = dynamic_cast<Qcow2Image*>(&image.core());
  if (core == nullptr) {
    return failure(ErrorCode::unsupported, "only qcow2 images hold snapshots");
  }
  return core;
}

Result<const SnapshotEntry*> entry_at(const Qcow2Image& image, std::size_t index) noexcept {
  const auto& entries = image.metadata().snapshots.entries;
  if (index >= entries.size()) {
    return failure(ErrorCode::not_found, "there is no such snapshot");
  }
  return &entries[index];
}

Result<const SnapshotEntry*> readable_entry_at(const Qcow2Image& image,
                                               std::size_t index) noexcept {
  const SnapshotEntry* entry = VARVE_TRY(entry_at(image, index));
  if (image.snapshot_in_deletion == entry->l1_offset) {
    return failure(ErrorCode::busy, "the snapshot is being deleted");
  }
  return entry;
}

}  // namespace varve
