// SnapshotServices: what it tells of systems, snapshots and collections.
#include <algorithm>
#include <array>

#include "base/failure.h"
#include "base/try.h"
#include "service/checks.h"
#include "service/cim_xml.h"
#include "service/clock.h"
#include "service/core.h"
#include "service/create_work.h"
#include "service/guarded.h"

namespace varve {
namespace {

constexpr std::array kSupportedTypes = {VirtualSystemSnapshotType::full,
                                        VirtualSystemSnapshotType::disk};

Result<System*> system_at(ServiceCore& core, CimText reference) {
  const auto id = core.references.parse(ReferenceKind::system, reference);
  System* system = id ? core.registry.find_system(*id) : nullptr;
  if (system == nullptr) {
    return failure(ErrorCode::not_found, "there is no such system");
  }
  return system;
}

Result<FoundSnapshot> snapshot_at(ServiceCore& core, CimText reference) {
  const SnapshotAnswer answer = find_snapshot(core, reference);
  if (answer.lookup != SnapshotLookup::found) {
    return failure(ErrorCode::not_found, "there is no such snapshot");
  }
  return answer.found;
}

SystemDescription describe_system(const ServiceCore& core, const System& system) {
  SystemDescription description;
  description.path = core.references.print(ReferenceKind::system, system.id());
  description.name = guid_text(system.id());
  description.element_name = system.definition.element_name;
  description.enabled_state = system.enabled_state();
  description.user_snapshot_type = system.definition.user_snapshot_type;
  description.settings_path = core.references.print(ReferenceKind::setting_data, system.id());
  return description;
}

std::string path_or_nothing(const ServiceCore& core, ReferenceKind kind, const Uuid& id) {
  return id.is_null() ? std::string() : core.references.print(kind, id);
}

SnapshotDescription describe_snapshot(const ServiceCore& core, const System& system,
                                      const Snapshot& snapshot) {
  SnapshotDescription description;
  description.path = core.references.print(ReferenceKind::setting_data, snapshot.id);
  description.instance_id = "Microsoft:" + guid_text(snapshot.id);
  description.virtual_system_identifier = guid_text(system.id());
  description.virtual_system_type = "Microsoft:Hyper-V:Snapshot:Realized";
  description.system_path = core.references.print(ReferenceKind::system, system.id());
  description.element_name = snapshot.element_name;
  description.parent = path_or_nothing(core, ReferenceKind::setting_data, snapshot.parent);
  description.notes = snapshot.settings.notes;
  description.creation_time = cim_datetime(snapshot.creation_nanoseconds);
  description.creation_seconds = snapshot.creation_nanoseconds / kNanosecondsPerSecond;
  description.state_bytes = snapshot.state_bytes();
  description.is_saved = description.state_bytes > 0;
  description.user_snapshot_type = system.definition.user_snapshot_type;
  description.snapshot_type = snapshot.settings.type;
  description.state = snapshot.settings.state;
  description.consistency = snapshot.settings.consistency;
  description.guest_backup = snapshot.settings.guest_backup;
  description.ignore_non_snapshottable_disks = snapshot.settings.ignore_non_snapshottable_disks;
  description.snapshot_collection = path_or_nothing(core, ReferenceKind::snapshot_collection,
                                                    snapshot.settings.snapshot_collection);
  description.is_whole = snapshot.is_whole();
  return description;
}

CollectionDescription describe_collection(const ServiceCore& core, const Collection& collection) {
  CollectionDescription description;
  description.path = core.references.print(ReferenceKind::collection, collection.id);
  description.collection_id = guid_text(collection.id);
  description.element_name = collection.element_name;
  for (const Uuid& member : collection.members) {
    const bool is_system = core.registry.find_system(member) != nullptr;
    description.members.push_back(core.references.print(
        is_system ? ReferenceKind::system : ReferenceKind::collection, member));
  }
  return description;
}

// REQUIRES: at least one snapshot.
SnapshotCollectionDescription describe_snapshots(const ServiceCore& core,
                                                 const std::vector<FoundSnapshot>& snapshots) {
  const StoredSettings& settings = snapshots.front().snapshot->settings;
  SnapshotCollectionDescription description;
  description.path =
      core.references.print(ReferenceKind::snapshot_collection, settings.snapshot_collection);
  description.collection_id = guid_text(settings.snapshot_collection);
  description.element_name = snapshots.front().snapshot->element_name;
  description.collection = core.references.print(ReferenceKind::collection, settings.collection);
  description.is_whole = snapshots.size() == settings.system_count;
  for (const FoundSnapshot& found : snapshots) {
    description.snapshots.push_back(
        core.references.print(ReferenceKind::setting_data, found.snapshot->id));
    description.is_whole = description.is_whole && found.snapshot->is_whole();
  }
  return description;
}

}  // namespace

Result<std::vector<SystemDescription>> SnapshotServices::systems() const noexcept {
  return guarded([&]() -> Result<std::vector<SystemDescription>> {
    const std::lock_guard lock(core_->mutex);
    std::vector<SystemDescription> all;
    for (const auto& [id, system] : core_->registry.systems) {
      all.push_back(describe_system(*core_, *system));
    }
    return all;
  });
}

Result<SystemDescription> SnapshotServices::system(CimText path) const noexcept {
  return guarded([&]() -> Result<SystemDescription> {
    const std::lock_guard lock(core_->mutex);
    const System* found = VARVE_TRY(system_at(*core_, path));
    return describe_system(*core_, *found);
  });
}

Result<std::vector<SnapshotDescription>> SnapshotServices::snapshots(
    CimText system) const noexcept {
  return guarded([&]() -> Result<std::vector<SnapshotDescription>> {
    const std::lock_guard lock(core_->mutex);
    const System* found = VARVE_TRY(system_at(*core_, system));
    std::vector<SnapshotDescription> all;
    for (const Snapshot& snapshot : found->tree.snapshots) {
      if (!snapshot.is_pending()) {
        all.push_back(describe_snapshot(*core_, *found, snapshot));
      }
    }
    return all;
  });
}

Result<SnapshotDescription> SnapshotServices::snapshot(CimText path) const noexcept {
  return guarded([&]() -> Result<SnapshotDescription> {
    const std::lock_guard lock(core_->mutex);
    const FoundSnapshot found = VARVE_TRY(snapshot_at(*core_, path));
    return describe_snapshot(*core_, *found.system, *found.snapshot);
  });
}

Result<std::string> SnapshotServices::snapshot_text(CimText path) const noexcept {
  return guarded([&]() -> Result<std::string> {
    const SnapshotDescription snapshot = VARVE_TRY(this->snapshot(path));
    CimWriter writer("Msvm_VirtualSystemSettingData");
    writer.text("InstanceID", snapshot.instance_id)
        .text("ElementName", snapshot.element_name)
        .text("VirtualSystemIdentifier", snapshot.virtual_system_identifier)
        .text("VirtualSystemType", snapshot.virtual_system_type)
        .texts("Notes", snapshot.notes)
        .datetime("CreationTime", snapshot.creation_time);
    if (snapshot.parent.empty()) {
      writer.null("Parent", "string");
    } else {
      writer.text("Parent", snapshot.parent);
    }
    writer.boolean("IsSaved", snapshot.is_saved)
        .number("UserSnapshotType", "uint16",
                static_cast<std::uint64_t>(snapshot.user_snapshot_type));
    return writer.take();
  });
}

Result<std::string> SnapshotServices::most_current_snapshot(CimText system) const noexcept {
  return guarded([&]() -> Result<std::string> {
    const std::lock_guard lock(core_->mutex);
    const System* found = VARVE_TRY(system_at(*core_, system));
    return path_or_nothing(*core_, ReferenceKind::setting_data, found->tree.most_current);
  });
}

Result<std::string> SnapshotServices::last_applied_snapshot(CimText system) const noexcept {
  return guarded([&]() -> Result<std::string> {
    const std::lock_guard lock(core_->mutex);
    const System* found = VARVE_TRY(system_at(*core_, system));
    return path_or_nothing(*core_, ReferenceKind::setting_data, found->tree.last_applied);
  });
}

Result<std::vector<CollectionDescription>> SnapshotServices::collections() const noexcept {
  return guarded([&]() -> Result<std::vector<CollectionDescription>> {
    const std::lock_guard lock(core_->mutex);
    std::vector<CollectionDescription> all;
    for (const auto& [id, collection] : core_->registry.collections) {
      all.push_back(describe_collection(*core_, collection));
    }
    return all;
  });
}

Result<std::vector<SnapshotCollectionDescription>> SnapshotServices::snapshot_collections(
    CimText collection) const noexcept {
  return guarded([&]() -> Result<std::vector<SnapshotCollectionDescription>> {
    const std::lock_guard lock(core_->mutex);
    const auto id = core_->references.parse(ReferenceKind::collection, collection);
    if (!id || !core_->registry.collections.contains(*id)) {
      return failure(ErrorCode::not_found, "there is no such collection");
    }
    std::vector<Uuid> seen;
    std::vector<SnapshotCollectionDescription> all;
    for (const auto& [key, system] : core_->registry.systems) {
      for (const Snapshot& snapshot : system->tree.snapshots) {
        const Uuid& set = snapshot.settings.snapshot_collection;
        if (!snapshot.is_pending() && snapshot.settings.collection == *id &&
            std::ranges::find(seen, set) == seen.end()) {
          seen.push_back(set);
          all.push_back(describe_snapshots(*core_, core_->registry.find_snapshot_collection(set)));
        }
      }
    }
    return all;
  });
}

Result<SnapshotCollectionDescription> SnapshotServices::snapshot_collection(
    CimText path) const noexcept {
  return guarded([&]() -> Result<SnapshotCollectionDescription> {
    const std::lock_guard lock(core_->mutex);
    const auto id = core_->references.parse(ReferenceKind::snapshot_collection, path);
    const auto found =
        id ? core_->registry.find_snapshot_collection(*id) : std::vector<FoundSnapshot>();
    if (found.empty()) {
      return failure(ErrorCode::not_found, "there is no such snapshot collection");
    }
    return describe_snapshots(*core_, found);
  });
}

std::span<const VirtualSystemSnapshotType> SnapshotServices::supported_types() noexcept {
  return kSupportedTypes;
}

Result<std::vector<VirtualSystemSnapshotType>> SnapshotServices::supported_types(
    CimText system) const noexcept {
  return guarded([&]() -> Result<std::vector<VirtualSystemSnapshotType>> {
    const std::lock_guard lock(core_->mutex);
    System* found = VARVE_TRY(system_at(*core_, system));
    const EnabledState state = found->enabled_state();
    RequestedSettings settings;
    settings.ignore_non_snapshottable_disks = true;
    std::vector<VirtualSystemSnapshotType> types;
    for (const VirtualSystemSnapshotType type : kSupportedTypes) {
      if (is_settled(state) && found->definition.user_snapshot_type != UserSnapshotType::disable &&
          plan_snapshot(*found, settings, type, state)) {
        types.push_back(type);
      }
    }
    return types;
  });
}

}  // namespace varve
