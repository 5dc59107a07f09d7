#include <varve/snapshot_operation.h>

#include "capi/call.h"
#include "capi/snapshot.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

static_assert(VARVE_PHASE_READY == static_cast<int>(SnapshotPhase::ready));
static_assert(VARVE_PHASE_FROZEN == static_cast<int>(SnapshotPhase::frozen));
static_assert(VARVE_PHASE_RECLAIMING == static_cast<int>(SnapshotPhase::reclaiming));
static_assert(VARVE_PHASE_DONE == static_cast<int>(SnapshotPhase::done));

struct varve_operation {
  explicit varve_operation(varve_image& owner) noexcept : engine(owner.engine), counted(owner) {}
  varve_engine* engine;
  Counted<varve_image> counted;
  varve_operation_options options = {};
  std::unique_ptr<SnapshotOperation> operation;
};

namespace {

void phase_changed(SnapshotOperation&, void* owner) {
  auto* handle = static_cast<varve_operation*>(owner);
  if (handle->options.changed != nullptr) {
    const CallbackScope scope(*handle->engine);
    handle->options.changed(handle->options.owner, handle);
  }
}

template <class Start>
varve_code start_operation(varve_image* image, const varve_operation_options* given,
                           varve_operation** operation, varve_error* error, Start start) noexcept {
  return call(engine_of(image), Call::quick, error, [&]() -> Result<void> {
    VARVE_TRY(require(operation != nullptr, "varve_operation_start: operation is NULL"));
    auto handle = std::make_unique<varve_operation>(*image);
    handle->options = VARVE_TRY(read_struct(given, "varve_operation_options"));
    VARVE_TRY(check_flags(handle->options.flags,
                          VARVE_OPERATION_WAIT_FOR_TURN | VARVE_OPERATION_STEPWISE,
                          "varve_operation_options.flags"));
    OperationOptions wanted;
    wanted.wait_for_turn = (handle->options.flags & VARVE_OPERATION_WAIT_FOR_TURN) != 0;
    wanted.stepwise = (handle->options.flags & VARVE_OPERATION_STEPWISE) != 0;
    wanted.changed = handle->options.changed != nullptr ? phase_changed : nullptr;
    wanted.owner = handle.get();
    handle->operation = VARVE_TRY(start(wanted));
    *operation = handle.release();
    return {};
  });
}

}  // namespace

varve_code varve_operation_start_create(varve_image* image, const varve_snapshot_options* snapshot,
                                        const varve_operation_options* options,
                                        varve_operation** operation, varve_error* error) {
  return start_operation(
      image, options, operation, error,
      [&](const OperationOptions& wanted) -> Result<std::unique_ptr<SnapshotOperation>> {
        return start_create(*image->image, VARVE_TRY(snapshot_options(snapshot)), wanted);
      });
}

varve_code varve_operation_start_apply(varve_image* image, size_t index,
                                       const varve_operation_options* options,
                                       varve_operation** operation, varve_error* error) {
  return start_operation(image, options, operation, error, [&](const OperationOptions& wanted) {
    return start_apply(*image->image, index, wanted);
  });
}

varve_code varve_operation_start_delete(varve_image* image, size_t index,
                                        const varve_operation_options* options,
                                        varve_operation** operation, varve_error* error) {
  return start_operation(image, options, operation, error, [&](const OperationOptions& wanted) {
    return start_delete(*image->image, index, wanted);
  });
}

varve_code varve_operation_get_progress(const varve_operation* operation,
                                        varve_progress* progress) {
  return call(engine_of(operation), Call::quick, nullptr, [&]() -> Result<void> {
    VARVE_TRY(check_target(progress, "varve_progress"));
    const SnapshotProgress now = operation->operation->progress();
    const SnapshotTimes times = operation->operation->times();
    varve_progress filled = {};
    filled.phase = static_cast<uint32_t>(now.phase);
    filled.clusters_done = now.clusters_done;
    filled.clusters_total = now.clusters_total;
    filled.pause_nanoseconds = times.pause_nanoseconds;
    filled.usable_nanoseconds = times.usable_nanoseconds;
    filled.total_nanoseconds = times.total_nanoseconds;
    filled.uuid = c_uuid(operation->operation->uuid());
    copy_id(operation->operation->id(), filled.id);
    write_struct(progress, filled);
    return {};
  });
}

varve_code varve_operation_freeze(varve_operation* operation, varve_error* error) {
  return call(engine_of(operation), Call::quick, error,
              [&] { return operation->operation->freeze(); });
}

varve_code varve_operation_publish(varve_operation* operation, varve_error* error) {
  return call(engine_of(operation), Call::quick, error,
              [&] { return operation->operation->publish(); });
}

void varve_operation_cancel(varve_operation* operation) {
  if (is_usable(engine_of(operation))) {
    operation->operation->cancel();
  }
}

varve_code varve_operation_wait_for(varve_operation* operation, uint32_t phase,
                                    varve_error* error) {
  return call(engine_of(operation), Call::blocking, error, [&]() -> Result<void> {
    return operation->operation->wait_for(
        VARVE_TRY(enum_of(phase, SnapshotPhase::done, "varve_operation_wait_for: phase")));
  });
}

varve_code varve_operation_get_result(const varve_operation* operation, varve_error* error) {
  return call(engine_of(operation), Call::quick, error, [&]() -> Result<void> {
    if (!operation->operation->is_done()) {
      return failure(ErrorCode::busy, "the operation is not done");
    }
    return operation->operation->result();
  });
}

varve_code varve_operation_close(varve_operation* operation, varve_error* error) {
  if (operation == nullptr) {
    return VARVE_OK;
  }
  return call(engine_of(operation), Call::quick, error, [&]() -> Result<void> {
    if (!operation->operation->is_done()) {
      VARVE_TRY(admit(operation->engine, Call::blocking));
    }
    // The callback has nothing more to hear of a handle that is going.
    operation->options.changed = nullptr;
    destroy(operation);
    return {};
  });
}
