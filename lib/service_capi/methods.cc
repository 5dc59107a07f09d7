#include "capi/call.h"
#include "service_capi/handles.h"

using namespace varve;
using namespace varve::capi;

namespace {

// Calls `method`, which gets the services and the texts it fills.
template <class Failure, class Method>
uint32_t invoke(varve_service* service, Failure failure_code, varve_service_path* resulting,
                varve_service_path* job, Method method) noexcept {
  std::string made;
  std::string started;
  uint32_t code = static_cast<uint32_t>(failure_code);
  if (admit(service)) {
    code = method(*service->services, made, started);
  }
  write_path(resulting, made);
  write_path(job, started);
  return code;
}

// The methods that are about a snapshot and nothing else, of the service that `service_of` gives.
template <class Service, class Failure>
uint32_t invoke_on(varve_service* service, Failure failure_code,
                   Service& (SnapshotServices::*service_of)() noexcept,
                   std::uint32_t (Service::*method)(CimText, std::string&) noexcept,
                   const char* snapshot, varve_service_path* job) noexcept {
  return invoke(service, failure_code, nullptr, job,
                [&](SnapshotServices& services, std::string&, std::string& started) {
                  return ((services.*service_of)().*method)(cim_text(snapshot), started);
                });
}

}  // namespace

uint32_t varve_service_create_snapshot(varve_service* service, const char* affected_system,
                                       const char* snapshot_settings, uint16_t snapshot_type,
                                       varve_service_path* resulting, varve_service_path* job) {
  return invoke(service, MethodCode::failed, resulting, job,
                [&](SnapshotServices& services, std::string& made, std::string& started) {
                  return services.virtual_system().create_snapshot(cim_text(affected_system),
                                                                   cim_text(snapshot_settings),
                                                                   snapshot_type, made, started);
                });
}

uint32_t varve_service_apply_snapshot(varve_service* service, const char* snapshot,
                                      varve_service_path* job) {
  return invoke_on(service, MethodCode::failed, &SnapshotServices::virtual_system,
                   &VirtualSystemSnapshotService::apply_snapshot, snapshot, job);
}

uint32_t varve_service_destroy_snapshot(varve_service* service, const char* snapshot,
                                        varve_service_path* job) {
  return invoke_on(service, MethodCode::failed, &SnapshotServices::virtual_system,
                   &VirtualSystemSnapshotService::destroy_snapshot, snapshot, job);
}

uint32_t varve_service_destroy_snapshot_tree(varve_service* service, const char* snapshot,
                                             varve_service_path* job) {
  return invoke_on(service, VirtualizationCode::failed, &SnapshotServices::virtual_system,
                   &VirtualSystemSnapshotService::destroy_snapshot_tree, snapshot, job);
}

uint32_t varve_service_clear_snapshot_state(varve_service* service, const char* snapshot,
                                            varve_service_path* job) {
  return invoke_on(service, VirtualizationCode::failed, &SnapshotServices::virtual_system,
                   &VirtualSystemSnapshotService::clear_snapshot_state, snapshot, job);
}

uint32_t varve_service_create_collection_snapshot(varve_service* service, const char* collection,
                                                  const char* snapshot_settings,
                                                  uint16_t snapshot_type,
                                                  varve_service_path* resulting,
                                                  varve_service_path* job) {
  return invoke(service, MethodCode::failed, resulting, job,
                [&](SnapshotServices& services, std::string& made, std::string& started) {
                  return services.collection().create_snapshot(cim_text(collection),
                                                               cim_text(snapshot_settings),
                                                               snapshot_type, made, started);
                });
}

uint32_t varve_service_apply_collection_snapshot(varve_service* service,
                                                 const char* snapshot_collection,
                                                 varve_service_path* job) {
  return invoke_on(service, MethodCode::failed, &SnapshotServices::collection,
                   &CollectionSnapshotService::apply_snapshot, snapshot_collection, job);
}

uint32_t varve_service_destroy_collection_snapshot(varve_service* service,
                                                   const char* snapshot_collection,
                                                   varve_service_path* job) {
  return invoke_on(service, MethodCode::failed, &SnapshotServices::collection,
                   &CollectionSnapshotService::destroy_snapshot, snapshot_collection, job);
}

uint32_t varve_service_call_other(varve_service* service, uint32_t method, const char* snapshot,
                                  varve_service_path* job) {
  return invoke(service, MethodCode::failed, nullptr, job,
                [&](SnapshotServices& services, std::string& made, std::string& started) {
                  switch (method) {
                    case VARVE_SERVICE_CONVERT_TO_REFERENCE_POINT:
                      return services.virtual_system().convert_to_reference_point(
                          cim_text(snapshot), std::nullopt, made, started);
                    case VARVE_SERVICE_EXPORT_SNAPSHOT:
                      return services.collection().export_snapshot(cim_text(snapshot), std::nullopt,
                                                                   started);
                    case VARVE_SERVICE_REQUEST_STATE_CHANGE:
                      return services.virtual_system().request_state_change(0, started);
                    case VARVE_SERVICE_START:
                      return services.virtual_system().start_service();
                    case VARVE_SERVICE_STOP:
                      return services.virtual_system().stop_service();
                    default:
                      return static_cast<uint32_t>(MethodCode::invalid_parameter);
                  }
                });
}

uint32_t varve_service_rename_snapshot(varve_service* service, const char* snapshot,
                                       const char* element_name) {
  return invoke(service, MethodCode::failed, nullptr, nullptr,
                [&](SnapshotServices& services, std::string&, std::string&) {
                  return services.rename_snapshot(cim_text(snapshot), text_or_empty(element_name));
                });
}

uint32_t varve_service_request_job_state_change(varve_service* service, const char* job,
                                                uint16_t requested_state, const char* timeout) {
  return invoke(service, JobRequestCode::failed, nullptr, nullptr,
                [&](SnapshotServices& services, std::string&, std::string&) {
                  return services.request_job_state_change(cim_text(job), requested_state,
                                                           cim_text(timeout));
                });
}

const char* varve_service_describe(uint32_t map, uint32_t number) {
  const auto small = static_cast<uint16_t>(number);
  switch (map) {
    case VARVE_SERVICE_METHOD_CODE:
      return method_code_text(number);
    case VARVE_SERVICE_VIRTUALIZATION_CODE:
      return virtualization_code_text(number);
    case VARVE_SERVICE_SNAPSHOT_TYPE:
      return virtual_system_snapshot_type_text(small);
    case VARVE_SERVICE_COLLECTION_SNAPSHOT_TYPE:
      return collection_snapshot_type_text(small);
    case VARVE_SERVICE_ENABLED_STATE:
      return enabled_state_text(small);
    case VARVE_SERVICE_USER_SNAPSHOT_TYPE:
      return user_snapshot_type_text(small);
    case VARVE_SERVICE_JOB_STATE:
      return job_state_text(small);
    case VARVE_SERVICE_JOB_TYPE:
      return job_type_text(small);
    case VARVE_SERVICE_JOB_REQUEST_CODE:
      return job_request_code_text(number);
    case VARVE_SERVICE_JOB_ERROR_CODE:
      return job_error_code_text(number);
    default:
      return "";
  }
}
