#include "capi/snapshot.h"

#include <algorithm>

#include <varve/lineage.h>

#include "capi/call.h"
#include "capi/state.h"
#include "capi/structs.h"

namespace varve::capi {

varve_uuid c_uuid(const Uuid& uuid) noexcept {
  varve_uuid result = {};
  std::ranges::copy(uuid.bytes, result.bytes);
  return result;
}

Uuid uuid_of(const varve_uuid& uuid) noexcept {
  Uuid result;
  std::ranges::copy(uuid.bytes, result.bytes.begin());
  return result;
}

void copy_id(const std::string& id, char (&target)[16]) noexcept {
  const std::size_t length = std::min(id.size(), sizeof(target) - 1);
  std::copy_n(id.data(), length, target);
  target[length] = '\0';
}

Result<SnapshotCreateOptions> snapshot_options(const varve_snapshot_options* given) {
  const auto from = VARVE_TRY(read_struct(given, "varve_snapshot_options"));
  VARVE_TRY(check_flags(from.flags, VARVE_SNAPSHOT_HAS_ICOUNT, "varve_snapshot_options.flags"));
  VARVE_TRY(require(from.settings != nullptr || from.settings_bytes == 0,
                    "varve_snapshot_options.settings is NULL"));
  VARVE_TRY(require(from.settings_bytes <= kSnapshotSettingsBytesMax,
                    "varve_snapshot_options.settings_bytes"));
  SnapshotCreateOptions options;
  options.name = text_or_empty(from.name);
  options.date_seconds = from.date_seconds;
  options.date_nanoseconds = from.date_nanoseconds;
  options.vm_clock_nanoseconds = from.vm_clock_nanoseconds;
  options.icount = (from.flags & VARVE_SNAPSHOT_HAS_ICOUNT) != 0 ? from.icount : -1;
  options.uuid = uuid_of(from.uuid);
  options.settings.assign(static_cast<const char*>(from.settings), from.settings_bytes);
  options.state = from.state != nullptr ? from.state->writer.get() : nullptr;
  return options;
}

}  // namespace varve::capi

using namespace varve;
using namespace varve::capi;

struct varve_snapshot_list {
  std::vector<SnapshotInfo> snapshots;
  Lineage lineage;
};

namespace {

uint32_t flags_of(const varve_snapshot_list& list, size_t index) noexcept {
  const SnapshotInfo& from = list.snapshots[index];
  uint32_t flags = flag_if(from.pending, VARVE_SNAPSHOT_PENDING);
  flags |= flag_if(from.has_state_digest, VARVE_SNAPSHOT_HAS_STATE_DIGEST);
  if (index < list.lineage.snapshots.size() && list.lineage.snapshots[index].is_known) {
    flags |= VARVE_SNAPSHOT_PARENT_KNOWN;
  }
  if (list.lineage.is_current_known && list.lineage.current == index) {
    flags |= VARVE_SNAPSHOT_CURRENT;
  }
  return list.lineage.last_applied == index ? flags | VARVE_SNAPSHOT_LAST_APPLIED : flags;
}

varve_snapshot_info info_of(const varve_snapshot_list& list, size_t index) noexcept {
  const SnapshotInfo& from = list.snapshots[index];
  varve_snapshot_info info = {};
  info.id = from.id.c_str();
  info.name = from.name.c_str();
  info.settings = from.settings.c_str();
  info.settings_bytes = from.settings.size();
  info.disk_bytes = from.disk_size;
  info.vm_state_bytes = from.vm_state_size;
  info.vm_clock_nanoseconds = from.vm_clock_nanoseconds;
  info.icount = from.icount;
  info.date_seconds = from.date_seconds;
  info.date_nanoseconds = from.date_nanoseconds;
  info.uuid = c_uuid(from.uuid);
  info.parent = c_uuid(from.parent);
  info.group = c_uuid(from.group);
  std::ranges::copy(from.state_digest, info.state_digest);
  const bool has_lineage = index < list.lineage.snapshots.size();
  info.parent_index = has_lineage && list.lineage.snapshots[index].parent != Lineage::kNone
                          ? list.lineage.snapshots[index].parent
                          : VARVE_NO_INDEX;
  info.flags = flags_of(list, index);
  return info;
}

}  // namespace

varve_code varve_snapshot_list_make(varve_image* image, varve_snapshot_list** list,
                                    varve_error* error) {
  return call(engine_of(image), Call::quick, error, [&]() -> Result<void> {
    VARVE_TRY(require(list != nullptr, "varve_snapshot_list_make: list is NULL"));
    auto made = std::make_unique<varve_snapshot_list>();
    made->snapshots = VARVE_TRY(list_snapshots(*image->image));
    made->lineage = VARVE_TRY(snapshot_lineage(*image->image));
    *list = made.release();
    return {};
  });
}

size_t varve_snapshot_list_get_count(const varve_snapshot_list* list) {
  return list != nullptr ? list->snapshots.size() : 0;
}

varve_code varve_snapshot_list_get(const varve_snapshot_list* list, size_t index,
                                   varve_snapshot_info* info, varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(require(list != nullptr, "varve_snapshot_list_get: list is NULL"));
    VARVE_TRY(check_target(info, "varve_snapshot_info"));
    if (index >= list->snapshots.size()) {
      return failure(ErrorCode::not_found, "the list has no such snapshot");
    }
    write_struct(info, info_of(*list, index));
    return {};
  });
}

void varve_snapshot_list_free(varve_snapshot_list* list) {
  destroy(list);
}

varve_code varve_snapshot_find(varve_image* image, const char* text, uint32_t by, size_t* index,
                               varve_error* error) {
  return call(engine_of(image), Call::quick, error, [&]() -> Result<void> {
    VARVE_TRY(require(text != nullptr && index != nullptr, "varve_snapshot_find: text or index"));
    SnapshotReference reference;
    reference.text = text;
    reference.by = VARVE_TRY(enum_of(by, SnapshotReference::By::name, "varve_snapshot_find: by"));
    *index = VARVE_TRY(find_snapshot(*image->image, reference));
    return {};
  });
}

varve_code varve_snapshot_create(varve_image* image, const varve_snapshot_options* options,
                                 varve_snapshot_created* created, varve_error* error) {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(check_optional_target(created, "varve_snapshot_created"));
    const SnapshotCreateOptions wanted = VARVE_TRY(snapshot_options(options));
    const SnapshotCreated made = VARVE_TRY(create_snapshot(*image->image, wanted));
    varve_snapshot_created filled = {};
    filled.pause_nanoseconds = made.pause_nanoseconds;
    filled.uuid = c_uuid(made.uuid);
    copy_id(made.id, filled.id);
    write_struct(created, filled);
    return {};
  });
}

varve_code varve_snapshot_apply(varve_image* image, size_t index, varve_error* error) {
  return call(engine_of(image), Call::blocking, error,
              [&] { return apply_snapshot(*image->image, index); });
}

varve_code varve_snapshot_delete(varve_image* image, size_t index, varve_error* error) {
  return call(engine_of(image), Call::blocking, error,
              [&] { return delete_snapshot(*image->image, index); });
}

varve_code varve_snapshot_rename(varve_image* image, size_t index, const char* name,
                                 varve_error* error) {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(name != nullptr, "varve_snapshot_rename: name is NULL"));
    return rename_snapshot(*image->image, index, name);
  });
}

varve_code varve_snapshot_open(varve_image* image, size_t index, varve_image** snapshot,
                               varve_error* error) {
  return call(engine_of(image), Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(snapshot != nullptr, "varve_snapshot_open: snapshot is NULL"));
    auto handle = std::make_unique<varve_image>();
    handle->engine = image->engine;
    handle->parent = image;
    handle->image = VARVE_TRY(open_snapshot(*image->image, index));
    ++image->handles;
    *snapshot = handle.release();
    return {};
  });
}
