// What stands behind the handles of the services' C interface.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <varve/c/service.h>
#include <varve/service.h>

#include "capi/handles.h"

struct varve_state_sink {
  varve::StateSink* sink;
};

struct varve_state_source {
  varve::StateSource* source;
};

namespace varve::capi {

// The embedder's callbacks as the services know them.
class CallbackExecutor final : public Executor {
 public:
  explicit CallbackExecutor(const varve_service_options& options) noexcept
      : post_(options.post), turn_(options.turn), owner_(options.owner) {}
  void post(std::function<void()> work) override;
  void turn(Engine& engine, int timeout_milliseconds) noexcept override;

 private:
  void (*post_)(void* owner, void (*work)(void* argument), void* argument);
  void (*turn_)(void* owner, int timeout_milliseconds);
  void* owner_;
};

class CallbackProvider final : public StateProvider {
 public:
  explicit CallbackProvider(const varve_state_provider& provider) noexcept : provider_(provider) {}
  Result<void> quiesce(ConsistencyLevel level, unsigned timeout_milliseconds) noexcept override;
  void resume() noexcept override;
  Result<void> save(StateSink& sink) noexcept override;
  Result<void> load(StateSource* source, EnabledState state) noexcept override;

 private:
  varve_state_provider provider_;
};

// What a defined system needs for as long as it is defined.
struct DefinedSystem {
  std::string path;
  std::optional<CallbackProvider> provider;
  std::list<Counted<varve_image>> images;
};

}  // namespace varve::capi

struct varve_service {
  explicit varve_service(const varve_service_options& options) noexcept : executor(options) {}
  varve::capi::ForkMark mark;
  varve::capi::CallbackExecutor executor;
  std::unique_ptr<varve::SnapshotServices> services;
  // Of the work thread, as the functions that change it. The services use what is in it.
  std::list<varve::capi::DefinedSystem> systems;
  varve_engine* engine = nullptr;  // Of images; null where the service has a thread of its own.
};

namespace varve::capi {

// Refuses NULL and the handle of the parent's process.
[[nodiscard]] Result<void> admit(const varve_service* service) noexcept;

[[nodiscard]] inline CimText cim_text(const char* text) noexcept {
  return text != nullptr ? CimText(text) : std::nullopt;
}

// Nothing where it was left out. Longer paths than fit do not exist: the machine's name is bounded.
void write_path(varve_service_path* target, const std::string& path) noexcept;

}  // namespace varve::capi
