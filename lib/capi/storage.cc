#include <varve/storage.h>

#include "base/checked.h"
#include "capi/call.h"
#include "capi/callback_storage.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

static_assert(sizeof(varve_iovec) == sizeof(IoVector));
static_assert(offsetof(varve_iovec, data) == offsetof(IoVector, data));
static_assert(offsetof(varve_iovec, size) == offsetof(IoVector, size));
static_assert(VARVE_STORAGE_RESIZE == static_cast<int>(StorageOperation::resize));
static_assert(VARVE_STORAGE_WRITE_ZEROES == static_cast<int>(StorageOperation::write_zeroes));
static_assert(VARVE_STORAGE_ALLOCATE == static_cast<int>(StorageOperation::allocate));

namespace {

constexpr uint32_t kFileFlags = VARVE_FILE_WRITABLE | VARVE_FILE_CREATE | VARVE_FILE_TRUNCATE |
                                VARVE_FILE_DIRECT | VARVE_FILE_NO_FSYNC;
constexpr uint32_t kDescriptorFlags = VARVE_FILE_WRITABLE | VARVE_FILE_NO_FSYNC;
constexpr uint32_t kStorageFlags = VARVE_STORAGE_FIXED_SIZE | VARVE_STORAGE_CAN_DISCARD |
                                   VARVE_STORAGE_DISCARD_ZEROES | VARVE_STORAGE_CAN_WRITE_ZEROES |
                                   VARVE_STORAGE_GROWTH_IS_ZERO | VARVE_STORAGE_READ_ONLY;

FileOptions file_options(uint32_t flags) noexcept {
  FileOptions options;
  options.writable = (flags & VARVE_FILE_WRITABLE) != 0;
  options.create = (flags & VARVE_FILE_CREATE) != 0;
  options.truncate = (flags & VARVE_FILE_TRUNCATE) != 0;
  options.direct = (flags & VARVE_FILE_DIRECT) != 0;
  options.fsync = (flags & VARVE_FILE_NO_FSYNC) == 0;
  return options;
}

// Makes the handle first, so that what is opened cannot be lost for want of memory.
template <class Open>
varve_code open_storage(varve_engine* engine, varve_storage** storage, varve_error* error,
                        Open open) noexcept {
  return call(engine, Call::blocking, error, [&]() -> Result<void> {
    VARVE_TRY(require(storage != nullptr, "varve_storage_open: storage is NULL"));
    auto handle = std::make_unique<varve_storage>();
    handle->engine = engine;
    handle->storage = VARVE_TRY(open());
    ++engine->handles;
    *storage = handle.release();
    return {};
  });
}

StorageRequest& request_of(varve_storage_request* request) noexcept {
  return *static_cast<StorageRequest*>(static_cast<void*>(request));
}

Result<void> completion(const StorageRequest& request, varve_code code, int os_errno) noexcept {
  if (code == VARVE_OK) {
    return {};
  }
  Error error = error_of(code, os_errno, "the embedder's storage reports an error");
  error.tag = request.tag;
  error.offset = request.offset;
  return error;
}

}  // namespace

varve_code varve_storage_open_path(varve_engine* engine, const char* path, uint32_t flags,
                                   varve_storage** storage, varve_error* error) {
  return open_storage(engine, storage, error, [&]() -> Result<std::unique_ptr<Storage>> {
    VARVE_TRY(require(path != nullptr, "varve_storage_open_path: path is NULL"));
    VARVE_TRY(check_flags(flags, kFileFlags, "varve_storage_open_path: flags"));
    return open_file(*engine->engine, path, file_options(flags));
  });
}

varve_code varve_storage_open_fd(varve_engine* engine, int fd, uint32_t flags,
                                 varve_storage** storage, varve_error* error) {
  return open_storage(engine, storage, error, [&]() -> Result<std::unique_ptr<Storage>> {
    VARVE_TRY(check_flags(flags, kDescriptorFlags, "varve_storage_open_fd: flags"));
    return adopt_file(*engine->engine, fd, file_options(flags));
  });
}

varve_code varve_storage_open_memory(varve_engine* engine, uint64_t bytes, varve_storage** storage,
                                     varve_error* error) {
  return open_storage(engine, storage, error,
                      [&] { return make_memory_storage(*engine->engine, bytes); });
}

varve_code varve_storage_open_callbacks(varve_engine* engine,
                                        const varve_storage_callbacks* callbacks,
                                        varve_storage** storage, varve_error* error) {
  return open_storage(engine, storage, error, [&]() -> Result<std::unique_ptr<Storage>> {
    VARVE_TRY(require(callbacks != nullptr, "varve_storage_open_callbacks: callbacks is NULL"));
    const auto given = VARVE_TRY(read_struct(callbacks, "varve_storage_callbacks"));
    VARVE_TRY(check_flags(given.flags, kStorageFlags, "varve_storage_callbacks.flags"));
    VARVE_TRY(require(given.submit != nullptr, "varve_storage_callbacks.submit is NULL"));
    VARVE_TRY(require(given.get_size != nullptr, "varve_storage_callbacks.get_size is NULL"));
    VARVE_TRY(require(is_power_of_two(value_or(given.request_alignment, 1U)) &&
                          is_power_of_two(value_or(given.memory_alignment, 1U)),
                      "varve_storage_callbacks: an alignment is no power of two"));
    return Result<std::unique_ptr<Storage>>(std::make_unique<CallbackStorage>(*engine, given));
  });
}

varve_code varve_storage_request_get(const varve_storage_request* request, varve_storage_io* io) {
  return guarded(nullptr, [&]() -> Result<void> {
    VARVE_TRY(require(request != nullptr, "varve_storage_request_get: request is NULL"));
    VARVE_TRY(check_target(io, "varve_storage_io"));
    const auto& asked = *static_cast<const StorageRequest*>(static_cast<const void*>(request));
    varve_storage_io filled = {};
    filled.operation = static_cast<uint32_t>(asked.operation);
    filled.tag = static_cast<uint32_t>(asked.tag);
    filled.offset = asked.offset;
    filled.length = asked.operation == StorageOperation::flush ? 0 : asked.size_bytes();
    filled.vectors = static_cast<const varve_iovec*>(static_cast<const void*>(asked.vectors));
    filled.vector_count = asked.vectors != nullptr ? asked.vector_count : 0;
    write_struct(io, filled);
    return {};
  });
}

void varve_storage_complete(varve_storage_request* request, varve_code code, int os_errno) {
  if (request != nullptr) {
    StorageRequest& done = request_of(request);
    const auto& storage = *static_cast<CallbackStorage*>(done.internal.implementation);
    if (is_usable(&storage.engine_handle())) {
      storage.engine().post(done, completion(done, code, os_errno));
    }
  }
}

void varve_storage_complete_from_any_thread(varve_storage_request* request, varve_code code,
                                            int os_errno) {
  if (request != nullptr) {
    StorageRequest& done = request_of(request);
    const auto& storage = *static_cast<CallbackStorage*>(done.internal.implementation);
    if (is_usable(&storage.engine_handle())) {
      storage.engine().post_from_any_thread(done, completion(done, code, os_errno));
    }
  }
}

uint64_t varve_storage_get_size(const varve_storage* storage) {
  return is_usable(engine_of(storage)) ? storage->storage->size() : 0;
}

varve_code varve_storage_close(varve_storage* storage, varve_error* error) {
  if (storage == nullptr) {
    return VARVE_OK;
  }
  return call(engine_of(storage), Call::blocking, error, [&]() -> Result<void> {
    --storage->engine->handles;
    destroy(storage);
    return {};
  });
}
