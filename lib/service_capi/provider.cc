#include "capi/call.h"
#include "service_capi/handles.h"

using namespace varve;
using namespace varve::capi;

namespace varve::capi {

namespace {

void run(void* argument) {
  const std::unique_ptr<std::function<void()>> work(static_cast<std::function<void()>*>(argument));
  (*work)();
}

}  // namespace

void CallbackExecutor::post(std::function<void()> work) {
  auto owned = std::make_unique<std::function<void()>>(std::move(work));
  post_(owner_, run, owned.release());
}

void CallbackExecutor::turn(Engine& engine, int timeout_milliseconds) noexcept {
  if (turn_ != nullptr) {
    turn_(owner_, timeout_milliseconds);
  } else {
    Executor::turn(engine, timeout_milliseconds);
  }
}

Result<void> CallbackProvider::quiesce(ConsistencyLevel level,
                                       unsigned timeout_milliseconds) noexcept {
  return result_of(
      provider_.quiesce(provider_.owner, static_cast<uint32_t>(level), timeout_milliseconds),
      "the embedder cannot stop the guest");
}

void CallbackProvider::resume() noexcept {
  provider_.resume(provider_.owner);
}

Result<void> CallbackProvider::save(StateSink& sink) noexcept {
  varve_state_sink handle{&sink};
  return result_of(provider_.save(provider_.owner, &handle),
                   "the embedder cannot save the guest's state");
}

Result<void> CallbackProvider::load(StateSource* source, EnabledState state) noexcept {
  varve_state_source handle{source};
  return result_of(provider_.load(provider_.owner, source != nullptr ? &handle : nullptr,
                                  static_cast<uint16_t>(state)),
                   "the embedder cannot load the guest's state");
}

}  // namespace varve::capi

varve_code varve_service_sink_write(varve_state_sink* sink, const void* data, size_t length,
                                    varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(require(sink != nullptr && (data != nullptr || length == 0),
                      "varve_service_sink_write: sink or data is NULL"));
    return sink->sink->write({static_cast<const std::byte*>(data), length});
  });
}

void varve_service_sink_expect(varve_state_sink* sink, uint64_t total_bytes) {
  if (sink != nullptr) {
    sink->sink->expect(total_bytes);
  }
}

uint64_t varve_service_source_get_size(const varve_state_source* source) {
  return source != nullptr ? source->source->size() : 0;
}

varve_code varve_service_source_read(varve_state_source* source, uint64_t offset, void* target,
                                     size_t length, varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(require(source != nullptr && (target != nullptr || length == 0),
                      "varve_service_source_read: source or target is NULL"));
    return source->source->read(offset, {static_cast<std::byte*>(target), length});
  });
}
