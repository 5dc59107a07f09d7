#include <algorithm>

#include "capi/call.h"
#include "capi/image.h"
#include "capi/snapshot.h"
#include "capi/structs.h"
#include "service_capi/handles.h"

using namespace varve;
using namespace varve::capi;

namespace varve::capi {

Result<void> admit(const varve_service* service) noexcept {
  VARVE_TRY(require(service != nullptr, "the service is NULL"));
  return require(!service->mark.is_child(), "the service is the process's that has forked");
}

void write_path(varve_service_path* target, const std::string& path) noexcept {
  if (target == nullptr) {
    return;
  }
  const std::size_t length = std::min(path.size(), sizeof(target->text) - 1);
  std::copy_n(path.data(), length, target->text);
  target->text[length] = '\0';
}

}  // namespace varve::capi

namespace {

constexpr std::size_t kHostNameBytesMax = 255;

Result<ServiceOptions> service_options(const varve_service_options& from, Executor& executor) {
  VARVE_TRY(check_flags(from.flags, VARVE_SERVICE_SYNCHRONOUS | VARVE_SERVICE_OWN_THREAD,
                        "varve_service_options.flags"));
  ServiceOptions wanted;
  wanted.host_name = text_or_empty(from.host_name);
  VARVE_TRY(require(wanted.host_name.size() <= kHostNameBytesMax,
                    "varve_service_options.host_name is longer than 255 bytes"));
  wanted.synchronous = (from.flags & VARVE_SERVICE_SYNCHRONOUS) != 0;
  wanted.own_thread = (from.flags & VARVE_SERVICE_OWN_THREAD) != 0;
  VARVE_TRY(require(from.turn == nullptr || from.post != nullptr,
                    "varve_service_options.turn without post"));
  wanted.executor = from.post != nullptr ? &executor : nullptr;
  wanted.engine_options.backend =
      VARVE_TRY(enum_of(from.backend, AioBackend::threads, "varve_service_options.backend"));
  if (!wanted.own_thread) {
    VARVE_TRY(admit(from.engine, Call::blocking));
    wanted.engine = from.engine->engine.get();
  }
  wanted.quiesce_timeout_milliseconds =
      value_or(from.quiesce_timeout_milliseconds, wanted.quiesce_timeout_milliseconds);
  wanted.lock_timeout_milliseconds =
      value_or(from.lock_timeout_milliseconds, wanted.lock_timeout_milliseconds);
  wanted.job_retention_seconds = value_or(from.job_retention_seconds, wanted.job_retention_seconds);
  return wanted;
}

Result<DiskDefinition> disk_of(const varve_service_disk* given, DefinedSystem& system) {
  const auto from = VARVE_TRY(read_struct(given, "varve_service_disk"));
  DiskDefinition disk;
  disk.read_only = from.is_read_only != 0;
  if (from.image != nullptr) {
    VARVE_TRY(admit(engine_of(from.image), Call::blocking));
    disk.image = from.image->image.get();
    system.images.emplace_back(*from.image);
    return disk;
  }
  disk.path = text_or_empty(from.path);
  disk.options.writable = !disk.read_only;
  if (from.options != nullptr) {
    const auto options = VARVE_TRY(read_struct(from.options, "varve_open_options"));
    disk.options = VARVE_TRY(open_options(options));
  }
  return disk;
}

// What the callbacks of `given` need stays in `system`.
Result<SystemDefinition> definition_of(const varve_service_system* given, DefinedSystem& system) {
  VARVE_TRY(require(given != nullptr, "varve_service_define_system: system is NULL"));
  const auto from = VARVE_TRY(read_struct(given, "varve_service_system"));
  SystemDefinition definition;
  definition.id = uuid_of(from.id);
  definition.element_name = text_or_empty(from.element_name);
  VARVE_TRY(
      require(from.disks != nullptr || from.disk_count == 0, "varve_service_system.disks is NULL"));
  // The array's stride is what the caller takes the struct's size for.
  const auto* place = static_cast<const std::byte*>(static_cast<const void*>(from.disks));
  for (std::size_t i = 0; i < from.disk_count; ++i) {
    const void* disk = place + i * from.disks->size;
    definition.disks.push_back(
        VARVE_TRY(disk_of(static_cast<const varve_service_disk*>(disk), system)));
  }
  if (from.provider != nullptr) {
    const auto provider = VARVE_TRY(read_struct(from.provider, "varve_state_provider"));
    VARVE_TRY(require(provider.quiesce != nullptr && provider.resume != nullptr &&
                          provider.save != nullptr && provider.load != nullptr,
                      "varve_state_provider lacks a callback"));
    definition.provider = &system.provider.emplace(provider);
  }
  if (from.enabled_state != nullptr) {
    definition.enabled_state = [ask = from.enabled_state, owner = from.owner] {
      return static_cast<EnabledState>(ask(owner));
    };
  }
  const auto type =
      value_or(from.user_snapshot_type, static_cast<uint32_t>(definition.user_snapshot_type));
  VARVE_TRY(require(type >= static_cast<uint32_t>(UserSnapshotType::disable) &&
                        type <= static_cast<uint32_t>(UserSnapshotType::test),
                    "varve_service_system.user_snapshot_type is not 2 to 5"));
  definition.user_snapshot_type = static_cast<UserSnapshotType>(type);
  return definition;
}

// Runs `body` on the services.
template <class Body>
varve_code on_services(varve_service* service, varve_error* error, Body body) noexcept {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(admit(service));
    return body(*service->services);
  });
}

}  // namespace

varve_code varve_service_create(const varve_service_options* given, varve_service** service,
                                varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(require(service != nullptr, "varve_service_create: service is NULL"));
    const auto from = VARVE_TRY(read_struct(given, "varve_service_options"));
    auto handle = std::make_unique<varve_service>(from);
    const ServiceOptions wanted = VARVE_TRY(service_options(from, handle->executor));
    handle->services = VARVE_TRY(SnapshotServices::create(wanted));
    if (!wanted.own_thread) {
      handle->engine = from.engine;
      ++from.engine->handles;
    }
    *service = handle.release();
    return {};
  });
}

varve_code varve_service_close(varve_service* service, varve_error* error) {
  if (service == nullptr) {
    return VARVE_OK;
  }
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(admit(service));
    if (service->engine != nullptr) {
      VARVE_TRY(admit(service->engine, Call::blocking));
      --service->engine->handles;
    }
    service->services.reset();  // Before what its systems use.
    destroy(service);
    return {};
  });
}

varve_code varve_service_define_system(varve_service* service, const varve_service_system* system,
                                       varve_service_path* path, varve_error* error) {
  return on_services(service, error, [&](SnapshotServices& services) -> Result<void> {
    std::list<DefinedSystem> defined(1);
    const SystemDefinition definition = VARVE_TRY(definition_of(system, defined.front()));
    std::string made = VARVE_TRY(services.define_system(definition));
    write_path(path, made);
    defined.front().path = std::move(made);
    service->systems.splice(service->systems.end(), defined);
    return {};
  });
}

varve_code varve_service_remove_system(varve_service* service, const char* system,
                                       varve_error* error) {
  return on_services(service, error, [&](SnapshotServices& services) -> Result<void> {
    // Paths name one system in several ways: the services' own is asked for.
    const SystemDescription removed = VARVE_TRY(services.system(cim_text(system)));
    VARVE_TRY(services.remove_system(cim_text(system)));
    service->systems.remove_if(
        [&](const DefinedSystem& defined) { return defined.path == removed.path; });
    return {};
  });
}

varve_code varve_service_define_collection(varve_service* service, const varve_uuid* id,
                                           const char* element_name, varve_service_path* path,
                                           varve_error* error) {
  return on_services(service, error, [&](SnapshotServices& services) -> Result<void> {
    VARVE_TRY(require(id != nullptr, "varve_service_define_collection: id is NULL"));
    write_path(path,
               VARVE_TRY(services.define_collection(uuid_of(*id), text_or_empty(element_name))));
    return {};
  });
}

varve_code varve_service_remove_collection(varve_service* service, const char* collection,
                                           varve_error* error) {
  return on_services(service, error, [&](SnapshotServices& services) {
    return services.remove_collection(cim_text(collection));
  });
}

varve_code varve_service_add_member(varve_service* service, const char* collection,
                                    const char* member, varve_error* error) {
  return on_services(service, error, [&](SnapshotServices& services) {
    return services.add_member(cim_text(collection), cim_text(member));
  });
}

varve_code varve_service_remove_member(varve_service* service, const char* collection,
                                       const char* member, varve_error* error) {
  return on_services(service, error, [&](SnapshotServices& services) {
    return services.remove_member(cim_text(collection), cim_text(member));
  });
}
