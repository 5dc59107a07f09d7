#include <new>

#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>

#include "base/failure.h"
#include "base/try.h"
#include "snapshot/apply_operation.h"
#include "snapshot/create_operation.h"
#include "snapshot/delete_operation.h"
#include "snapshot/entries.h"
#include "snapshot/facts_table.h"
#include "snapshot/group_edit.h"
#include "snapshot/snapshot_image.h"
#include "snapshot/state_attachment.h"
#include "snapshot/table_operation.h"

namespace varve {
namespace {

// The spec keeps a name's length in 16 bits.
constexpr std::size_t kNameBytesMax = 65535;

Result<void> validate_apply(const Qcow2Image& image, const SnapshotEntry& entry) noexcept {
  const Metadata& metadata = image.metadata();
  if (metadata.header.bitmaps().has_value()) {
    return failure(ErrorCode::unsupported, "snapshots are not applied while the image has bitmaps");
  }
  const std::uint64_t entries = metadata.geometry.l1_entries_for(entry.disk_size);
  if (entries * 8 > kL1BytesMax) {
    return corrupt_at(Corruption::snapshot_l1_invalid, IoTag::snapshot_table,
                      metadata.header.snapshot_table_offset.value(),
                      "the snapshot's disk is larger than an L1 table can map", entry.disk_size);
  }
  return {};
}

// Runs `body` with allocation failures as no_memory.
template <class Body>
auto without_exceptions(Body&& body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a snapshot operation");
  }
}

}  // namespace

Result<void> validate_create(const Qcow2Image& image,
                             const SnapshotCreateOptions& options) noexcept {
  const Metadata& metadata = image.metadata();
  if (metadata.header.has_data_file()) {
    return failure(ErrorCode::unsupported,
                   "images with an external data file have no internal snapshots");
  }
  if (metadata.geometry.refcount_max() < 2) {
    return failure(ErrorCode::unsupported, "refcounts of 1 bit cannot count a second reference");
  }
  if (options.name.size() > kNameBytesMax) {
    return failure(ErrorCode::invalid_argument, "the snapshot's name is too long");
  }
  if (options.settings.size() > kSnapshotSettingsBytesMax) {
    return failure(ErrorCode::invalid_argument, "the snapshot's settings are too long");
  }
  return {};
}

Result<std::vector<SnapshotInfo>> list_snapshots(const Image& image) {
  return without_exceptions([&]() -> Result<std::vector<SnapshotInfo>> {
    std::vector<SnapshotInfo> list;
    const auto* core = dynamic_cast<Qcow2Image*>(&image.core());
    if (core != nullptr) {
      for (const SnapshotEntry& entry : core->metadata().snapshots.entries) {
        list.push_back(info_of(entry));
      }
    }
    return list;
  });
}

Result<std::size_t> find_snapshot(const Image& image, const SnapshotReference& reference) {
  const Qcow2Image* core = VARVE_TRY(qcow2_of(image));
  const auto& entries = core->metadata().snapshots.entries;
  std::optional<std::size_t> by_name;
  bool is_ambiguous = false;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (reference.by != SnapshotReference::By::name && entries[i].id == reference.text) {
      return i;
    }
    if (reference.by != SnapshotReference::By::id && entries[i].name == reference.text) {
      is_ambiguous = by_name.has_value();
      by_name = by_name.value_or(i);
    }
  }
  if (is_ambiguous) {
    return failure(ErrorCode::invalid_argument, "several snapshots have this name: use the id");
  }
  if (by_name) {
    return *by_name;
  }
  if (const auto uuid = Uuid::parse(reference.text);
      uuid && reference.by == SnapshotReference::By::id_or_name) {
    if (const std::size_t index = index_of(core->metadata().snapshots, *uuid);
        index != kNoSnapshot) {
      return index;
    }
  }
  return failure(ErrorCode::not_found, "there is no such snapshot");
}

Result<std::unique_ptr<SnapshotOperation>> start_create(
    Image& image, const SnapshotCreateOptions& options,
    const OperationOptions& operation_options) noexcept {
  return without_exceptions([&]() -> Result<std::unique_ptr<SnapshotOperation>> {
    Qcow2Image* core = VARVE_TRY(qcow2_of(image));
    VARVE_TRY(validate_create(*core, options));
    if (!operation_options.stepwise) {
      VARVE_TRY(finished_state(core->metadata(), options.state));
    }
    auto operation = std::make_unique<CreateOperation>(*core, options);
    VARVE_TRY(operation->begin(operation_options));
    return std::unique_ptr<SnapshotOperation>(std::move(operation));
  });
}

Result<std::unique_ptr<SnapshotOperation>> start_apply(
    Image& image, std::size_t index, const OperationOptions& operation_options) noexcept {
  return without_exceptions([&]() -> Result<std::unique_ptr<SnapshotOperation>> {
    Qcow2Image* core = VARVE_TRY(qcow2_of(image));
    const SnapshotEntry* entry = VARVE_TRY(entry_at(*core, index));
    VARVE_TRY(validate_apply(*core, *entry));
    auto operation = std::make_unique<ApplyOperation>(*core, *entry);
    VARVE_TRY(operation->begin(operation_options));
    return std::unique_ptr<SnapshotOperation>(std::move(operation));
  });
}

Result<std::unique_ptr<SnapshotOperation>> start_delete(
    Image& image, std::size_t index, const OperationOptions& operation_options) noexcept {
  return without_exceptions([&]() -> Result<std::unique_ptr<SnapshotOperation>> {
    Qcow2Image* core = VARVE_TRY(qcow2_of(image));
    const SnapshotEntry* entry = VARVE_TRY(entry_at(*core, index));
    auto operation = std::make_unique<DeleteOperation>(*core, *entry);
    VARVE_TRY(operation->begin(operation_options));
    return std::unique_ptr<SnapshotOperation>(std::move(operation));
  });
}

Result<SnapshotCreated> create_snapshot(Image& image,
                                        const SnapshotCreateOptions& options) noexcept {
  return without_exceptions([&]() -> Result<SnapshotCreated> {
    const auto operation = VARVE_TRY(start_create(image, options));
    VARVE_TRY(operation->wait());
    SnapshotCreated created;
    created.id = operation->id();
    created.uuid = operation->uuid();
    created.pause_nanoseconds = operation->times().pause_nanoseconds;
    return created;
  });
}

Result<void> apply_snapshot(Image& image, std::size_t index) noexcept {
  const auto operation = VARVE_TRY(start_apply(image, index));
  return operation->wait();
}

Result<void> delete_snapshot(Image& image, std::size_t index) noexcept {
  const auto operation = VARVE_TRY(start_delete(image, index));
  return operation->wait();
}

Result<void> rename_snapshot(Image& image, std::size_t index, std::string_view new_name) noexcept {
  return without_exceptions([&]() -> Result<void> {
    Qcow2Image* core = VARVE_TRY(qcow2_of(image));
    const SnapshotEntry* entry = VARVE_TRY(entry_at(*core, index));
    if (new_name.empty() || new_name.size() > kNameBytesMax) {
      return failure(ErrorCode::invalid_argument, "the snapshot's name is empty or too long");
    }
    return edit_table(
        *core,
        [entry = *entry, name = std::string(new_name)](SnapshotTable& table) -> Result<void> {
          const std::optional<std::size_t> same = find_same_snapshot(table, entry);
          if (!same) {
            return failure(ErrorCode::not_found, "the snapshot has been deleted");
          }
          table.entries[*same].name = name;
          return {};
        });
  });
}

Result<std::unique_ptr<Image>> open_snapshot(Image& image, std::size_t index) noexcept {
  return without_exceptions([&]() -> Result<std::unique_ptr<Image>> {
    Qcow2Image* core = VARVE_TRY(qcow2_of(image));
    const SnapshotEntry entry = *VARVE_TRY(readable_entry_at(*core, index));
    auto snapshot = std::make_unique<SnapshotImage>(*core, entry);
    VARVE_TRY(snapshot->load(entry));
    return std::make_unique<Image>(std::move(snapshot));
  });
}

Result<void> read_vm_state(Image& image, std::size_t index, std::uint64_t offset,
                           std::span<std::byte> target) noexcept {
  return without_exceptions([&]() -> Result<void> {
    const auto reader = VARVE_TRY(StateReader::open(image, index));
    return reader->read_at(offset, target);
  });
}

Result<void> drop_snapshot_state(Image& image, std::size_t index) noexcept {
  return without_exceptions([&]() -> Result<void> {
    Qcow2Image* core = VARVE_TRY(qcow2_of(image));
    const SnapshotEntry* entry = VARVE_TRY(entry_at(*core, index));
    if (entry->l1_entries <= core->metadata().geometry.l1_entries_for(entry->disk_size)) {
      return {};  // There is none.
    }
    DeleteOperation operation(*core, *entry, DeleteOperation::What::state);
    VARVE_TRY(operation.begin({}));
    const Result<void> result = operation.wait();
    // Once it is gone, what fails costs space at most.
    const bool is_gone = operation.times().usable_nanoseconds != 0;
    return is_gone && !core->metadata().commit.is_poisoned() ? Result<void>() : result;
  });
}

}  // namespace varve
