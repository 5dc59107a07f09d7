#include "capi/callback_storage.h"

#include "capi/call.h"

namespace varve::capi {
namespace {

StorageCapabilities capabilities_of(const varve_storage_callbacks& callbacks) noexcept {
  const auto has = [&](std::uint32_t flag) { return (callbacks.flags & flag) != 0; };
  StorageCapabilities capabilities;
  capabilities.request_alignment = value_or(callbacks.request_alignment, 1U);
  capabilities.memory_alignment = value_or(callbacks.memory_alignment, 1U);
  capabilities.fixed_size = has(VARVE_STORAGE_FIXED_SIZE);
  capabilities.can_discard = has(VARVE_STORAGE_CAN_DISCARD);
  capabilities.discard_zeroes = has(VARVE_STORAGE_DISCARD_ZEROES);
  capabilities.can_write_zeroes = has(VARVE_STORAGE_CAN_WRITE_ZEROES);
  capabilities.growth_is_zero = has(VARVE_STORAGE_GROWTH_IS_ZERO);
  capabilities.read_only = has(VARVE_STORAGE_READ_ONLY);
  return capabilities;
}

}  // namespace

CallbackStorage::CallbackStorage(varve_engine& engine, const varve_storage_callbacks& callbacks)
    : engine_(&engine),
      callbacks_(callbacks),
      name_(callbacks.name != nullptr ? callbacks.name : "<callbacks>"),
      capabilities_(capabilities_of(callbacks)) {}

CallbackStorage::~CallbackStorage() {
  if (callbacks_.close != nullptr) {
    const CallbackScope scope(*engine_);
    callbacks_.close(callbacks_.owner);
  }
}

std::uint64_t CallbackStorage::size() const noexcept {
  const CallbackScope scope(*engine_);
  return callbacks_.get_size(callbacks_.owner);
}

Result<void> CallbackStorage::check(const StorageRequest& request) const noexcept {
  const auto fail = [&](ErrorCode code, const char* what) {
    return failure_at(code, request.tag, request.offset, what);
  };
  switch (request.operation) {
    case StorageOperation::read:
    case StorageOperation::flush:
      return {};
    case StorageOperation::discard:
      if (!capabilities_.can_discard) {
        return fail(ErrorCode::unsupported, "the storage cannot discard");
      }
      break;
    case StorageOperation::resize:
      if (capabilities_.fixed_size) {
        return fail(ErrorCode::unsupported, "the storage cannot change its size");
      }
      break;
    default:
      break;
  }
  if (capabilities_.read_only) {
    return fail(ErrorCode::read_only, "the storage is for reading only");
  }
  return {};
}

void CallbackStorage::submit(StorageRequest& request) noexcept {
  const Result<void> valid = check(request);
  if (!valid) {
    engine().post(request, valid);
    return;
  }
  request.internal.implementation = this;
  const CallbackScope scope(*engine_);
  callbacks_.submit(callbacks_.owner,
                    static_cast<varve_storage_request*>(static_cast<void*>(&request)));
}

Result<void> CallbackStorage::lock(bool for_writing, bool share_everything) noexcept {
  if (callbacks_.lock == nullptr) {
    return {};
  }
  const CallbackScope scope(*engine_);
  return result_of(callbacks_.lock(callbacks_.owner, for_writing ? 1 : 0, share_everything ? 1 : 0),
                   "the storage's lock is held by somebody else");
}

void CallbackStorage::unlock() noexcept {
  if (callbacks_.unlock != nullptr) {
    const CallbackScope scope(*engine_);
    callbacks_.unlock(callbacks_.owner);
  }
}

}  // namespace varve::capi
