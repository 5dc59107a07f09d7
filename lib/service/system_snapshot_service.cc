// VirtualSystemSnapshotService: checks, then work.
#include "service/checks.h"
#include "service/clock.h"
#include "service/core.h"
#include "service/create_work.h"
#include "service/revert_work.h"

namespace varve {
namespace {

MethodCode check_type(std::uint16_t type) noexcept {
  if (type == static_cast<std::uint16_t>(VirtualSystemSnapshotType::full) ||
      type == static_cast<std::uint16_t>(VirtualSystemSnapshotType::disk)) {
    return MethodCode::completed;
  }
  return type >= kVendorSnapshotType ? MethodCode::not_supported : MethodCode::invalid_type;
}

// Family B's check of a snapshot that is to be changed.
VirtualizationCode check_change(const SnapshotAnswer& answer) {
  switch (answer.lookup) {
    case SnapshotLookup::unknown:
      return VirtualizationCode::invalid_parameter;
    case SnapshotLookup::active_settings:
      return VirtualizationCode::incorrect_data_type;
    case SnapshotLookup::found:
      break;
  }
  switch (readiness_for_change(*answer.found.system)) {
    case Readiness::in_use:
      return VirtualizationCode::system_in_use;
    case Readiness::wrong_state:
      return VirtualizationCode::invalid_state;
    case Readiness::ready:
      break;
  }
  return VirtualizationCode::completed;
}

}  // namespace

std::uint32_t VirtualSystemSnapshotService::create_snapshot(CimText affected_system,
                                                            CimText snapshot_settings,
                                                            std::uint16_t snapshot_type,
                                                            std::string& resulting_snapshot,
                                                            std::string& job) noexcept {
  return method(MethodCode::failed, [&] {
    resulting_snapshot.clear();
    job.clear();
    std::unique_lock lock(core_->mutex);
    const auto id = core_->references.parse(ReferenceKind::system, affected_system);
    System* system = id ? core_->registry.find_system(*id) : nullptr;
    const auto settings = parse_snapshot_settings(snapshot_settings);
    if (system == nullptr || !settings) {
      return MethodCode::invalid_parameter;
    }
    if (const MethodCode code = check_type(snapshot_type); code != MethodCode::completed) {
      return code;
    }
    const EnabledState state = system->enabled_state();
    auto plan = plan_snapshot(*system, *settings,
                              static_cast<VirtualSystemSnapshotType>(snapshot_type), state);
    if (!plan) {
      return MethodCode::not_supported;
    }
    if (!is_ready_for_snapshot(*system, state)) {
      return MethodCode::invalid_state;
    }
    const std::uint64_t now = core_->clock().calendar_nanoseconds();
    plan->settings.snapshot = Uuid::make_random();
    plan->element_name = settings->element_name.empty()
                             ? default_element_name(system->definition.element_name, now)
                             : settings->element_name;
    const CreatedElement created{ReferenceKind::setting_data, plan->settings.snapshot};
    std::vector<SystemPlan> plans;
    plans.push_back(std::move(*plan));
    std::string path = core_->print(created);  // What fails, fails before the work.
    const WorkStarted started =
        core_->start(lock,
                     std::make_unique<CreateWork>(std::move(plans), created, now,
                                                  core_->options().quiesce_timeout_milliseconds),
                     JobType::snapshot, &job);
    if (started.created) {
      resulting_snapshot = std::move(path);
    }
    return method_code_of(started);
  });
}

std::uint32_t VirtualSystemSnapshotService::apply_snapshot(CimText snapshot,
                                                           std::string& job) noexcept {
  return method(MethodCode::failed, [&] {
    job.clear();
    std::unique_lock lock(core_->mutex);
    const SnapshotAnswer answer = find_snapshot(*core_, snapshot);
    if (answer.lookup != SnapshotLookup::found) {
      return answer.lookup == SnapshotLookup::unknown ? MethodCode::invalid_parameter
                                                      : MethodCode::invalid_type;
    }
    std::vector<SnapshotPlan> plans{plan_of(answer.found)};
    if (!is_ready_for_apply(plans)) {
      return MethodCode::invalid_state;
    }
    return method_code_of(core_->start(
        lock,
        std::make_unique<ApplyWork>(std::move(plans), core_->clock().calendar_nanoseconds(),
                                    core_->options().quiesce_timeout_milliseconds),
        JobType::apply, &job, true));
  });
}

std::uint32_t VirtualSystemSnapshotService::destroy_snapshot(CimText affected_snapshot,
                                                             std::string& job) noexcept {
  return method(MethodCode::failed, [&] {
    job.clear();
    std::unique_lock lock(core_->mutex);
    const SnapshotAnswer answer = find_snapshot(*core_, affected_snapshot);
    if (answer.lookup != SnapshotLookup::found) {
      return answer.lookup == SnapshotLookup::unknown ? MethodCode::invalid_parameter
                                                      : MethodCode::invalid_type;
    }
    if (readiness_for_change(*answer.found.system) != Readiness::ready) {
      return MethodCode::invalid_state;
    }
    return method_code_of(core_->start(
        lock,
        std::make_unique<DestroyWork>(std::vector<System*>{answer.found.system},
                                      std::vector<SnapshotPlan>{plan_of(answer.found)}),
        JobType::destroy, &job));
  });
}

std::uint32_t VirtualSystemSnapshotService::destroy_snapshot_tree(CimText snapshot_setting_data,
                                                                  std::string& job) noexcept {
  return method(VirtualizationCode::out_of_memory, [&] {
    job.clear();
    std::unique_lock lock(core_->mutex);
    const SnapshotAnswer answer = find_snapshot(*core_, snapshot_setting_data);
    if (const VirtualizationCode code = check_change(answer);
        code != VirtualizationCode::completed) {
      return code;
    }
    std::vector<SnapshotPlan> plans;
    for (const Snapshot* each : answer.found.system->tree.branch(answer.found.snapshot->id)) {
      plans.push_back({answer.found.system, *each});
    }
    return virtualization_code_of(core_->start(
        lock,
        std::make_unique<DestroyWork>(std::vector<System*>{answer.found.system}, std::move(plans)),
        JobType::destroy, &job));
  });
}

std::uint32_t VirtualSystemSnapshotService::clear_snapshot_state(CimText snapshot_setting_data,
                                                                 std::string& job) noexcept {
  return method(VirtualizationCode::out_of_memory, [&] {
    job.clear();
    std::unique_lock lock(core_->mutex);
    const SnapshotAnswer answer = find_snapshot(*core_, snapshot_setting_data);
    if (const VirtualizationCode code = check_change(answer);
        code != VirtualizationCode::completed) {
      return code;
    }
    if (answer.found.snapshot->state_bytes() == 0) {
      return VirtualizationCode::invalid_state;
    }
    return virtualization_code_of(core_->start(
        lock, std::make_unique<ClearStateWork>(plan_of(answer.found)), JobType::clear_state, &job));
  });
}

std::uint32_t VirtualSystemSnapshotService::convert_to_reference_point(
    CimText /*affected_snapshot*/, CimText /*reference_point_settings*/,
    std::string& resulting_reference_point, std::string& job) noexcept {
  resulting_reference_point.clear();
  job.clear();
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

std::uint32_t VirtualSystemSnapshotService::request_state_change(std::uint16_t /*requested_state*/,
                                                                 std::string& job) noexcept {
  job.clear();
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

std::uint32_t VirtualSystemSnapshotService::start_service() noexcept {
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

std::uint32_t VirtualSystemSnapshotService::stop_service() noexcept {
  return static_cast<std::uint32_t>(MethodCode::not_supported);
}

}  // namespace varve
