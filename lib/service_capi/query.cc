#include "capi/call.h"
#include "service_capi/handles.h"
#include "service_capi/instances.h"

using namespace varve;
using namespace varve::capi;

namespace {

using Instances = std::vector<Instance>;

template <class Enum>
uint64_t number(Enum value) noexcept {
  return static_cast<uint64_t>(value);
}

Instance instance_of(SystemDescription from) {
  return {{"Path", std::move(from.path)},
          {"Name", std::move(from.name)},
          {"ElementName", std::move(from.element_name)},
          {"EnabledState", number(from.enabled_state)},
          {"UserSnapshotType", number(from.user_snapshot_type)},
          {"SettingsPath", std::move(from.settings_path)}};
}

Instance instance_of(SnapshotDescription from) {
  return {{"Path", std::move(from.path)},
          {"InstanceID", std::move(from.instance_id)},
          {"VirtualSystemIdentifier", std::move(from.virtual_system_identifier)},
          {"VirtualSystemType", std::move(from.virtual_system_type)},
          {"SystemPath", std::move(from.system_path)},
          {"ElementName", std::move(from.element_name)},
          {"Parent", std::move(from.parent)},
          {"Notes", std::move(from.notes)},
          {"CreationTime", std::move(from.creation_time)},
          {"CreationSeconds", from.creation_seconds},
          {"StateBytes", from.state_bytes},
          {"IsSaved", number(from.is_saved)},
          {"UserSnapshotType", number(from.user_snapshot_type)},
          {"SnapshotType", number(from.snapshot_type)},
          {"EnabledState", number(from.state)},
          {"ConsistencyLevel", number(from.consistency)},
          {"GuestBackupType", number(from.guest_backup)},
          {"IgnoreNonSnapshottableDisks", number(from.ignore_non_snapshottable_disks)},
          {"SnapshotCollection", std::move(from.snapshot_collection)},
          {"IsWhole", number(from.is_whole)}};
}

Instance instance_of(CollectionDescription from) {
  return {{"Path", std::move(from.path)},
          {"CollectionID", std::move(from.collection_id)},
          {"ElementName", std::move(from.element_name)},
          {"Members", std::move(from.members)}};
}

Instance instance_of(SnapshotCollectionDescription from) {
  return {{"Path", std::move(from.path)},
          {"CollectionID", std::move(from.collection_id)},
          {"ElementName", std::move(from.element_name)},
          {"Collection", std::move(from.collection)},
          {"Snapshots", std::move(from.snapshots)},
          {"IsWhole", number(from.is_whole)}};
}

Instance instance_of(JobDescription from) {
  return {{"Path", std::move(from.path)},
          {"InstanceID", std::move(from.instance_id)},
          {"Caption", std::move(from.caption)},
          {"JobState", number(from.job_state)},
          {"JobType", number(from.job_type)},
          {"PercentComplete", uint64_t{from.percent_complete}},
          {"ErrorCode", uint64_t{from.error_code}},
          {"ErrorDescription", std::move(from.error_description)},
          {"ErrorSummaryDescription", std::move(from.error_summary_description)},
          {"JobStatus", std::move(from.job_status)},
          {"TimeSubmitted", std::move(from.time_submitted)},
          {"StartTime", std::move(from.start_time)},
          {"ElapsedTime", from.elapsed_nanoseconds},
          {"TimeBeforeRemoval", from.removal_nanoseconds},
          {"Cancellable", number(from.cancellable)}};
}

Instance instance_of(AffectedElement from) {
  return {{"Path", std::move(from.path)}, {"ElementEffects", uint64_t{from.effect}}};
}

Instance instance_of(VirtualSystemSnapshotType type) {
  return {{"SnapshotType", number(type)}};
}

Instances text_instance(std::string text) {
  return {{{"Text", std::move(text)}}};
}

template <class T>
Result<Instances> one(Result<T> found) {
  Instances instances;
  instances.push_back(instance_of(VARVE_TRY(std::move(found))));
  return instances;
}

template <class T>
Result<Instances> all(Result<std::vector<T>> found) {
  Instances instances;
  for (T& each : VARVE_TRY(std::move(found))) {
    instances.push_back(instance_of(std::move(each)));
  }
  return instances;
}

// The snapshot whose path was found; none where there is none.
Result<Instances> at(const SnapshotServices& services, Result<std::string> path) {
  const std::string found = VARVE_TRY(std::move(path));
  return found.empty() ? Instances() : one(services.snapshot(found));
}

Result<Instances> errors_of(const SnapshotServices& services, CimText job) {
  VARVE_TRY(services.job(job));
  std::vector<std::string> errors;
  services.job_errors(job, errors);
  Instances instances;
  for (std::string& text : errors) {
    instances.push_back({{"Text", std::move(text)}});
  }
  return instances;
}

Result<Instances> supported_types(const SnapshotServices& services, CimText system) {
  if (system) {
    return all(services.supported_types(system));
  }
  Instances instances;
  for (const VirtualSystemSnapshotType type : SnapshotServices::supported_types()) {
    instances.push_back(instance_of(type));
  }
  return instances;
}

Result<Instances> ask(const SnapshotServices& services, uint32_t question, CimText of) {
  switch (question) {
    case VARVE_SERVICE_SYSTEMS:
      return all(services.systems());
    case VARVE_SERVICE_SYSTEM:
      return one(services.system(of));
    case VARVE_SERVICE_SNAPSHOTS:
      return all(services.snapshots(of));
    case VARVE_SERVICE_SNAPSHOT:
      return one(services.snapshot(of));
    case VARVE_SERVICE_MOST_CURRENT:
      return at(services, services.most_current_snapshot(of));
    case VARVE_SERVICE_LAST_APPLIED:
      return at(services, services.last_applied_snapshot(of));
    case VARVE_SERVICE_COLLECTIONS:
      return all(services.collections());
    case VARVE_SERVICE_SNAPSHOT_COLLECTIONS:
      return all(services.snapshot_collections(of));
    case VARVE_SERVICE_SNAPSHOT_COLLECTION:
      return one(services.snapshot_collection(of));
    case VARVE_SERVICE_JOBS:
      return all(services.jobs());
    case VARVE_SERVICE_JOB:
      return one(services.job(of));
    case VARVE_SERVICE_AFFECTED_ELEMENTS:
      return all(services.affected_elements(of));
    case VARVE_SERVICE_JOB_ERRORS:
      return errors_of(services, of);
    case VARVE_SERVICE_SNAPSHOT_TEXT:
      return text_instance(VARVE_TRY(services.snapshot_text(of)));
    case VARVE_SERVICE_SUPPORTED_TYPES:
      return supported_types(services, of);
    default:
      return failure(ErrorCode::unsupported, "varve_service_query: the question is unknown");
  }
}

const Property* find_property(const varve_instances* found, size_t instance,
                              std::string_view name) noexcept {
  if (found == nullptr || instance >= found->instances.size()) {
    return nullptr;
  }
  for (const Property& property : found->instances[instance]) {
    if (property.name == name) {
      return &property;
    }
  }
  return nullptr;
}

}  // namespace

varve_code varve_service_query(varve_service* service, uint32_t question, const char* of,
                               varve_instances** found, varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(admit(service));
    VARVE_TRY(require(found != nullptr, "varve_service_query: found is NULL"));
    auto answer = std::make_unique<varve_instances>();
    answer->instances = VARVE_TRY(ask(*service->services, question, cim_text(of)));
    *found = answer.release();
    return {};
  });
}

size_t varve_service_count_instances(const varve_instances* found) {
  return found != nullptr ? found->instances.size() : 0;
}

const char* varve_service_get_text(const varve_instances* found, size_t instance,
                                   const char* property, size_t element) {
  const Property* known = find_property(found, instance, text_or_empty(property));
  if (known == nullptr) {
    return nullptr;
  }
  if (const auto* text = std::get_if<std::string>(&known->value)) {
    return element == 0 ? text->c_str() : nullptr;
  }
  const auto* list = std::get_if<std::vector<std::string>>(&known->value);
  return list != nullptr && element < list->size() ? (*list)[element].c_str() : nullptr;
}

varve_code varve_service_get_number(const varve_instances* found, size_t instance,
                                    const char* property, uint64_t* number, varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(require(number != nullptr, "varve_service_get_number: number is NULL"));
    const Property* known = find_property(found, instance, text_or_empty(property));
    const auto* value = known != nullptr ? std::get_if<uint64_t>(&known->value) : nullptr;
    if (value == nullptr) {
      return failure(ErrorCode::not_found, "the instance has no number of that name");
    }
    *number = *value;
    return {};
  });
}

void varve_service_free_instances(varve_instances* found) {
  destroy(found);
}
