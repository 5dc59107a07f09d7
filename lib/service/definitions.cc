// SnapshotServices: its beginning and end, and what the embedder defines.
#include <algorithm>

#include "base/failure.h"
#include "base/try.h"
#include "service/checks.h"
#include "service/core.h"
#include "service/guarded.h"
#include "service/image_set.h"
#include "service/revert_work.h"
#include "service/scan.h"
#include "service/settings_text.h"

namespace varve {
namespace {

Result<void> validate(const ServiceCore& core, const SystemDefinition& definition) noexcept {
  if (definition.id.is_null()) {
    return failure(ErrorCode::invalid_argument, "a system takes a GUID");
  }
  for (const DiskDefinition& disk : definition.disks) {
    if ((disk.image == nullptr) == disk.path.empty()) {
      return failure(ErrorCode::invalid_argument, "a disk is an open image or a path");
    }
    if (disk.image != nullptr && core.options().own_thread) {
      return failure(ErrorCode::invalid_argument,
                     "a service with a thread of its own takes disks by path");
    }
  }
  return {};
}

// Finishes what a crash left between the disks of the defined systems and this one. Disks that
// others have locked are left for later. Nothing is half made while a system is in use.
Result<void> settle(ServiceCore& core, System& system) {
  std::vector<System*> systems{&system};
  {
    const std::lock_guard lock(core.mutex);
    for (const auto& [id, other] : core.registry.systems) {
      if (!other->is_in_use) {
        systems.push_back(other.get());
      }
    }
  }
  OpenDisks disks;
  for (System* each : systems) {
    const Result<void> opened = disks.open(*each, core.engine(), [] { return false; });
    if (!opened && opened.error().code != ErrorCode::timed_out) {
      return opened;
    }
  }
  VARVE_TRY(settle_sets(disks, WorkControl()));
  for (System* each : systems) {
    SnapshotTree tree = VARVE_TRY(scan_snapshots(*each, disks.of(*each)));
    const std::lock_guard lock(core.mutex);
    // A system some of whose disks are locked tells what looking at them told.
    if (disks.of(*each).size() ==
        static_cast<std::size_t>(std::ranges::count(each->disks, true, &Disk::is_snapshottable))) {
      each->tree = std::move(tree);
    }
  }
  return {};
}

Result<std::unique_ptr<System>> read_system(ServiceCore& core, const SystemDefinition& definition) {
  auto system = std::make_unique<System>();
  system->definition = definition;
  for (const DiskDefinition& disk : definition.disks) {
    system->disks.push_back({disk, false});
  }
  OpenDisks disks;
  VARVE_TRY(disks.open_to_look(*system, core.engine()));
  for (const OpenDisk& disk : disks.all()) {
    disk.disk().is_snapshottable = can_have_snapshots(disk.disk().definition, *disk.image);
  }
  system->tree = VARVE_TRY(scan_snapshots(*system, disks.all()));
  static_cast<void>(disks.close());
  VARVE_TRY(settle(core, *system));
  return system;
}

}  // namespace

SnapshotServices::SnapshotServices(std::unique_ptr<ServiceCore> core) noexcept
    : core_(std::move(core)), virtual_system_(*core_), collection_(*core_) {}

SnapshotServices::~SnapshotServices() = default;

Result<std::unique_ptr<SnapshotServices>> SnapshotServices::create(
    const ServiceOptions& options) noexcept {
  return guarded([&]() -> Result<std::unique_ptr<SnapshotServices>> {
    std::unique_ptr<ServiceCore> core = VARVE_TRY(ServiceCore::create(options));
    return std::make_unique<SnapshotServices>(std::move(core));
  });
}

Result<std::string> SnapshotServices::define_system(const SystemDefinition& definition) noexcept {
  return guarded([&]() -> Result<std::string> {
    VARVE_TRY(validate(*core_, definition));
    {
      const std::lock_guard lock(core_->mutex);
      if (core_->registry.find_system(definition.id) != nullptr) {
        return failure(ErrorCode::exists, "the system is defined already");
      }
    }
    Result<std::unique_ptr<System>> system = std::unique_ptr<System>();
    core_->on_work_thread(
        [&] { system = guarded([&] { return read_system(*core_, definition); }); });
    if (!system) {
      return system.error();
    }
    std::string path = core_->references.print(ReferenceKind::system, definition.id);
    const std::lock_guard lock(core_->mutex);
    core_->registry.systems.emplace(definition.id, std::move(*system));
    return path;
  });
}

Result<void> SnapshotServices::remove_system(CimText system) noexcept {
  return guarded([&]() -> Result<void> {
    const std::lock_guard lock(core_->mutex);
    const auto id = core_->references.parse(ReferenceKind::system, system);
    const System* found = id ? core_->registry.find_system(*id) : nullptr;
    if (found == nullptr) {
      return failure(ErrorCode::not_found, "there is no such system");
    }
    if (found->is_in_use) {
      return failure(ErrorCode::busy, "a job uses the system");
    }
    for (auto& [key, collection] : core_->registry.collections) {
      std::erase(collection.members, *id);
    }
    core_->registry.systems.erase(*id);
    return {};
  });
}

Result<std::string> SnapshotServices::define_collection(const Uuid& id,
                                                        std::string_view element_name) noexcept {
  return guarded([&]() -> Result<std::string> {
    if (id.is_null()) {
      return failure(ErrorCode::invalid_argument, "a collection takes a GUID");
    }
    std::string path = core_->references.print(ReferenceKind::collection, id);
    const std::lock_guard lock(core_->mutex);
    auto [entry, is_new] =
        core_->registry.collections.insert({id, {id, std::string(element_name), {}}});
    if (!is_new) {
      return failure(ErrorCode::exists, "the collection is defined already");
    }
    return path;
  });
}

namespace {

Result<Collection*> collection_at(ServiceCore& core, CimText reference) {
  const auto id = core.references.parse(ReferenceKind::collection, reference);
  const auto found = id ? core.registry.collections.find(*id) : core.registry.collections.end();
  if (found == core.registry.collections.end()) {
    return failure(ErrorCode::not_found, "there is no such collection");
  }
  return &found->second;
}

// A system's or a collection's GUID.
Result<Uuid> member_at(ServiceCore& core, CimText reference) {
  const auto system = core.references.parse(ReferenceKind::system, reference);
  if (system && core.registry.find_system(*system) != nullptr) {
    return *system;
  }
  const auto collection = core.references.parse(ReferenceKind::collection, reference);
  if (collection && core.registry.collections.contains(*collection)) {
    return *collection;
  }
  return failure(ErrorCode::not_found, "there is no such system or collection");
}

}  // namespace

Result<void> SnapshotServices::remove_collection(CimText collection) noexcept {
  return guarded([&]() -> Result<void> {
    const std::lock_guard lock(core_->mutex);
    const Collection* found = VARVE_TRY(collection_at(*core_, collection));
    const Uuid id = found->id;
    for (auto& [key, other] : core_->registry.collections) {
      std::erase(other.members, id);
    }
    core_->registry.collections.erase(id);
    return {};
  });
}

Result<void> SnapshotServices::add_member(CimText collection, CimText member) noexcept {
  return guarded([&]() -> Result<void> {
    const std::lock_guard lock(core_->mutex);
    Collection* found = VARVE_TRY(collection_at(*core_, collection));
    const Uuid id = VARVE_TRY(member_at(*core_, member));
    if (std::ranges::find(found->members, id) != found->members.end()) {
      return failure(ErrorCode::exists, "it is a member already");
    }
    found->members.push_back(id);
    return {};
  });
}

Result<void> SnapshotServices::remove_member(CimText collection, CimText member) noexcept {
  return guarded([&]() -> Result<void> {
    const std::lock_guard lock(core_->mutex);
    Collection* found = VARVE_TRY(collection_at(*core_, collection));
    const Uuid id = VARVE_TRY(member_at(*core_, member));
    if (std::erase(found->members, id) == 0) {
      return failure(ErrorCode::not_found, "it is no member");
    }
    return {};
  });
}

std::uint32_t SnapshotServices::rename_snapshot(CimText snapshot,
                                                std::string_view element_name) noexcept {
  return method(MethodCode::failed, [&] {
    std::unique_lock lock(core_->mutex);
    const SnapshotAnswer answer = find_snapshot(*core_, snapshot);
    if (answer.lookup == SnapshotLookup::unknown || !is_element_name(element_name)) {
      return MethodCode::invalid_parameter;
    }
    if (answer.lookup == SnapshotLookup::active_settings) {
      return MethodCode::invalid_type;
    }
    if (readiness_for_change(*answer.found.system) != Readiness::ready) {
      return MethodCode::invalid_state;
    }
    RenameWork work(plan_of(answer.found), std::string(element_name));
    const Result<void> result = core_->run_now(lock, work);
    return result ? MethodCode::completed : method_code_of(result.error());
  });
}

}  // namespace varve
