#include <varve/engine.h>

#include "capi/call.h"
#include "capi/structs.h"

using namespace varve;
using namespace varve::capi;

static_assert(VARVE_AIO_THREADS == static_cast<int>(AioBackend::threads));
static_assert(VARVE_LOG_INFO == static_cast<int>(LogLevel::info));

namespace {

void log(void* owner, LogLevel level, const char* text) {
  auto& engine = *static_cast<varve_engine*>(owner);
  const CallbackScope scope(engine);
  engine.log(engine.log_owner, static_cast<uint32_t>(level), text);
}

}  // namespace

varve_code varve_engine_create(const varve_engine_options* given, varve_engine** engine,
                               varve_error* error) {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(require(engine != nullptr, "varve_engine_create: engine is NULL"));
    const auto options = VARVE_TRY(read_struct(given, "varve_engine_options"));
    VARVE_TRY(check_flags(options.flags, VARVE_ENGINE_NO_THREADS, "varve_engine_options.flags"));
    EngineOptions wanted;
    wanted.backend =
        VARVE_TRY(enum_of(options.backend, AioBackend::threads, "varve_engine_options.backend"));
    wanted.queue_depth = value_or(options.queue_depth, wanted.queue_depth);
    wanted.threads = (options.flags & VARVE_ENGINE_NO_THREADS) != 0
                         ? 0
                         : value_or(options.threads, wanted.threads);
    auto handle = std::make_unique<varve_engine>();
    handle->log = options.log;
    handle->log_owner = options.log_owner;
    if (options.log != nullptr) {
      wanted.log = log;
      wanted.log_owner = handle.get();
    }
    handle->engine = VARVE_TRY(Engine::create(wanted));
    *engine = handle.release();
    return {};
  });
}

varve_code varve_engine_destroy(varve_engine* engine, varve_error* error) {
  if (engine == nullptr) {
    return VARVE_OK;
  }
  return call(engine, Call::blocking, error, [&]() -> Result<void> {
    if (engine->handles != 0) {
      return failure(ErrorCode::busy, "storages or images of the engine are open");
    }
    // Completions of nobody's are left where a storage was closed a moment ago.
    engine->engine->poll();
    destroy(engine);
    return {};
  });
}

uint32_t varve_engine_backend(const varve_engine* engine) {
  return is_usable(engine) ? static_cast<uint32_t>(engine->engine->backend()) : 0;
}

int varve_engine_event_fd(varve_engine* engine) {
  return is_usable(engine) ? engine->engine->event_fd() : -1;
}

void varve_engine_submit_pending(varve_engine* engine) {
  if (is_usable(engine)) {
    engine->engine->submit_pending();
  }
}

size_t varve_engine_poll(varve_engine* engine) {
  return admit(engine, Call::blocking) ? engine->engine->poll() : 0;
}

size_t varve_engine_wait(varve_engine* engine, int timeout_milliseconds) {
  return admit(engine, Call::blocking) ? engine->engine->wait(timeout_milliseconds) : 0;
}
