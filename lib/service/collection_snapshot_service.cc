// CollectionSnapshotService: checks, then the work of create_work.h and revert_work.h over several
// systems.
#include <algorithm>

#include "service/checks.h"
#include "service/clock.h"
#include "service/core.h"
#include "service/create_work.h"
#include "service/revert_work.h"

namespace varve {
namespace {

MethodCode check_collection_type(std::uint16_t type) noexcept {
  if (type == static_cast<std::uint16_t>(CollectionSnapshotType::standard)) {
    return MethodCode::completed;
  }
  return type == static_cast<std::uint16_t>(CollectionSnapshotType::recovery) ||
                 type >= kVendorSnapshotType
             ? MethodCode::not_supported
             : MethodCode::invalid_type;
}

Collection* find_collection(ServiceCore& core, CimText reference) {
  const auto id = core.references.parse(ReferenceKind::collection, reference);
  const auto found = id ? core.registry.collections.find(*id) : core.registry.collections.end();
  return found == core.registry.collections.end() ? nullptr : &found->second;
}

std::vector<SnapshotPlan> find_plans(ServiceCore& core, CimText reference) {
  std::vector<SnapshotPlan> plans;
  const auto id = core.references.parse(ReferenceKind::snapshot_collection, reference);
  if (id) {
    for (const FoundSnapshot& found : core.registry.find_snapshot_collection(*id)) {
      plans.push_back(plan_of(found));
    }
  }
  return plans;
}

// The members as systems, in the order of their GUIDs; null: one is a collection itself.
std::optional<std::vector<System*>> systems_of(ServiceCore& core, const Collection& collection) {
  std::vector<System*> systems;
  for (const Uuid& member : collection.members) {
    System* system = core.registry.find_system(member);
    if (system == nullptr) {
      return std::nullopt;
    }
    systems.push_back(system);
  }
  std::ranges::sort(systems, UuidLess(), [](const System* system) { return system->id(); });
  return systems;
}

// One plan per system. Answers 1 for what any of them cannot do, then 5 for what cannot be now.
MethodCode plan_all(const std::vector<System*>& systems, const RequestedSettings& settings,
                    std::vector<SystemPlan>& plans) {
  bool is_ready = true;
  for (System* system : systems) {
    const EnabledState state = system->enabled_state();
    // Standard: with machine state where there is any.
    const auto type = state == EnabledState::running || state == EnabledState::saved
                          ? VirtualSystemSnapshotType::full
                          : VirtualSystemSnapshotType::disk;
    auto plan = plan_snapshot(*system, settings, type, state);
    if (!plan) {
      return MethodCode::not_supported;
    }
    is_ready = is_ready && is_ready_for_snapshot(*system, state);
    plans.push_back(std::move(*plan));
  }
  return is_ready ? MethodCode::completed : MethodCode::invalid_state;
}

void name_all(std::vector<SystemPlan>& plans, const Collection& collection,
              const Uuid& snapshot_collection, const RequestedSettings& settings,
              std::uint64_t now) {
  for (SystemPlan& plan : plans) {
    plan.settings.snapshot = Uuid::make_random();
    plan.settings.collection = collection.id;
    plan.settings.snapshot_collection = snapshot_collection;
    plan.settings.system_count = static_cast<std::uint16_t>(plans.size());
    plan.element_name = settings.element_name.empty()
                            ? default_element_name(plan.system->definition.element_name, now)
                            : settings.element_name;
  }
}

}  // namespace

std::uint32_t CollectionSnapshotService::create_snapshot(CimText collection,
                                                         CimText snapshot_settings,
                                                         std::uint16_t snapshot_type,
                                                         std::string& resulting_snapshot_collection,
                                                         std::string& job) noexcept {
  return method(MethodCode::failed, [&] {
    resulting_snapshot_collection.clear();
    job.clear();
    std::unique_lock lock(core_->mutex);
    const Collection* found = find_collection(*core_, collection);
    const auto settings = parse_snapshot_settings(snapshot_settings);
    if (found == nullptr || found->members.empty() || !settings) {
      return MethodCode::invalid_parameter;
    }
    if (const MethodCode code = check_collection_type(snapshot_type);
        code != MethodCode::completed) {
      return code;
    }
    const auto systems = systems_of(*core_, *found);
    if (!systems) {
      return MethodCode::not_supported;
    }
    std::vector<SystemPlan> plans;
    if (const MethodCode code = plan_all(*systems, *settings, plans);
        code != MethodCode::completed) {
      return code;
    }
    const CreatedElement created{ReferenceKind::snapshot_collection, Uuid::make_random()};
    const std::uint64_t now = core_->clock().calendar_nanoseconds();
    name_all(plans, *found, created.id, *settings, now);
    std::string path = core_->print(created);  // What fails, fails before the work.
    const WorkStarted started =
        core_->start(lock,
                     std::make_unique<CreateWork>(std::move(plans), created, now,
                                                  core_->options().quiesce_timeout_milliseconds),
                     JobType::collection_snapshot, &job);
    if (started.created) {
      resulting_snapshot_collection = std::move(path);
    }
    return method_code_of(started);
  });
}

std::uint32_t CollectionSnapshotService::apply_snapshot(CimText snapshot_collection,
                                                        std::string& job) noexcept {
  return method(MethodCode::failed, [&] {
    job.clear();
    std::unique_lock lock(core_->mutex);
    std::vector<SnapshotPlan> plans = find_plans(*core_, snapshot_collection);
    if (plans.empty()) {
      return MethodCode::invalid_parameter;
    }
    const bool is_whole = plans.size() == plans.front().snapshot.settings.system_count;
    if (!is_whole || !is_ready_for_apply(plans)) {
      return MethodCode::invalid_state;
    }
    return method_code_of(core_->start(
        lock,
        std::make_unique<ApplyWork>(std::move(plans), core_->clock().calendar_nanoseconds(),
                                    core_->options().quiesce_timeout_milliseconds),
        JobType::apply, &job, true));
  });
}

std::uint32_t CollectionSnapshotService::destroy_snapshot(CimText affected_snapshot_collection,
                                                          std::string& job) noexcept {
  return method(MethodCode::failed, [&] {
    job.clear();
    std::unique_lock lock(core_->mutex);
    std::vector<SnapshotPlan> plans = find_plans(*core_, affected_snapshot_collection);
    if (plans.empty()) {
      return MethodCode::invalid_parameter;
    }
    for (const SnapshotPlan& plan : plans) {
      if (readiness_for_change(*plan.system) != Readiness::ready) {
        return MethodCode::invalid_state;
      }
    }
    return method_code_of(core_->start(
        lock, std::make_unique<DestroyWork>(varve::systems_of(plans), std::move(plans)),
        JobType::destroy, &job));
  });
}

std::uint32_t CollectionSnapshotService::export_snapshot(CimText /*snapshot_collection*/,
                                                         CimText /*export_directory*/,
                                                         std::string& job) noexcept {
  job.clear();
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

std::uint32_t CollectionSnapshotService::convert_to_reference_point(
    CimText /*affected_snapshot_collection*/, CimText /*reference_point_settings*/,
    std::string& resulting_reference_point, std::string& job) noexcept {
  resulting_reference_point.clear();
  job.clear();
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

std::uint32_t CollectionSnapshotService::request_state_change(std::uint16_t /*requested_state*/,
                                                              std::string& job) noexcept {
  job.clear();
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

std::uint32_t CollectionSnapshotService::start_service() noexcept {
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

std::uint32_t CollectionSnapshotService::stop_service() noexcept {
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

}  // namespace varve
