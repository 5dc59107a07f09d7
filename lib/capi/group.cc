#include <varve/group.h>

#include "capi/call.h"
#include "capi/snapshot.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

namespace {

// The handles as images, each of them usable.
Result<std::vector<Image*>> images_of(varve_image* const* images, size_t count) {
  VARVE_TRY(require(images != nullptr && count != 0, "the group has no image"));
  std::vector<Image*> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    VARVE_TRY(admit(engine_of(images[i]), Call::blocking));
    result.push_back(images[i]->image.get());
  }
  return result;
}

Result<void> stop(void* owner) {
  const auto& steps = *static_cast<const varve_group_steps*>(owner);
  return steps.stop == nullptr
             ? Result<void>()
             : result_of(steps.stop(steps.owner), "the embedder cannot stop the guest");
}

void resume(void* owner) {
  const auto& steps = *static_cast<const varve_group_steps*>(owner);
  if (steps.resume != nullptr) {
    steps.resume(steps.owner);
  }
}

Result<void> save(void* owner) {
  const auto& steps = *static_cast<const varve_group_steps*>(owner);
  return steps.save == nullptr
             ? Result<void>()
             : result_of(steps.save(steps.owner), "the embedder cannot save the guest's state");
}

varve_group_info info_of(const Group& group) noexcept {
  varve_group_info info = {};
  info.group = c_uuid(group.uuid);
  info.is_pending = group.is_pending ? 1 : 0;
  info.member_count = static_cast<uint32_t>(group.members.size());
  for (const GroupMember& member : group.members) {
    info.missing_count += member.index == GroupMember::kMissing ? 1 : 0;
  }
  return info;
}

}  // namespace

varve_code varve_group_create(varve_image* const* images, size_t count,
                              const varve_snapshot_options* options, const varve_group_steps* given,
                              varve_group_created* created, varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto members = VARVE_TRY(images_of(images, count));
    VARVE_TRY(check_optional_target(created, "varve_group_created"));
    auto steps = VARVE_TRY(read_struct(given, "varve_group_steps"));
    const SnapshotCreateOptions wanted = VARVE_TRY(snapshot_options(options));
    const GroupCreated made =
        VARVE_TRY(create_group_snapshot(members, wanted, {&steps, stop, resume, save}));
    varve_group_created filled = {};
    filled.pause_nanoseconds = made.pause_nanoseconds;
    filled.group = c_uuid(made.group);
    write_struct(created, filled);
    return {};
  });
}

varve_code varve_group_list(varve_image* const* images, size_t image_count,
                            varve_group_info* groups, size_t capacity, size_t* count,
                            varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto members = VARVE_TRY(images_of(images, image_count));
    VARVE_TRY(require(count != nullptr, "varve_group_list: count is NULL"));
    if (capacity != 0) {
      VARVE_TRY(check_target(groups, "varve_group_info"));
    }
    const std::vector<Group> found = VARVE_TRY(list_groups(members));
    // The array's stride is what the caller takes the struct's size for.
    auto* place = static_cast<std::byte*>(static_cast<void*>(groups));
    const size_t stride = capacity != 0 ? groups->size : 0;
    for (size_t i = 0; i < std::min(capacity, found.size()); ++i) {
      auto* target = static_cast<varve_group_info*>(static_cast<void*>(place + i * stride));
      target->size = stride;
      write_struct(target, info_of(found[i]));
    }
    *count = found.size();
    return {};
  });
}

varve_code varve_group_apply(varve_image* const* images, size_t count, const varve_uuid* group,
                             varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto members = VARVE_TRY(images_of(images, count));
    VARVE_TRY(require(group != nullptr, "varve_group_apply: group is NULL"));
    return apply_group_snapshot(members, uuid_of(*group));
  });
}

varve_code varve_group_delete(varve_image* const* images, size_t count, const varve_uuid* group,
                              varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto members = VARVE_TRY(images_of(images, count));
    VARVE_TRY(require(group != nullptr, "varve_group_delete: group is NULL"));
    return delete_group_snapshot(members, uuid_of(*group));
  });
}

varve_code varve_group_settle(varve_image* const* images, size_t count,
                              varve_group_settlement* settlement, varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto members = VARVE_TRY(images_of(images, count));
    VARVE_TRY(check_optional_target(settlement, "varve_group_settlement"));
    const GroupSettlement settled = VARVE_TRY(settle_group(members));
    varve_group_settlement filled = {};
    filled.completed = settled.completed.size();
    filled.removed = settled.removed.size();
    filled.undecided = settled.undecided.size();
    filled.missing = settled.missing.size();
    write_struct(settlement, filled);
    return {};
  });
}
