// A storage that a caller of the C interface supplies by callbacks.
// Threads: the engine's; completions may come from any.
#pragma once

#include <string>

#include <varve/storage.h>

#include "capi/handles.h"

namespace varve::capi {

class CallbackStorage final : public Storage {
 public:
  CallbackStorage(varve_engine& engine, const varve_storage_callbacks& callbacks);
  ~CallbackStorage() override;
  CallbackStorage(const CallbackStorage&) = delete;
  CallbackStorage& operator=(const CallbackStorage&) = delete;

  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return capabilities_;
  }
  [[nodiscard]] std::uint64_t size() const noexcept override;
  void submit(StorageRequest& request) noexcept override;
  [[nodiscard]] Engine& engine() const noexcept override { return *engine_->engine; }
  [[nodiscard]] const char* name() const noexcept override { return name_.c_str(); }
  [[nodiscard]] Result<void> lock(bool for_writing, bool share_everything) noexcept override;
  void unlock() noexcept override;

  [[nodiscard]] varve_engine& engine_handle() const noexcept { return *engine_; }

 private:
  [[nodiscard]] Result<void> check(const StorageRequest& request) const noexcept;

  varve_engine* engine_;
  varve_storage_callbacks callbacks_;
  std::string name_;
  StorageCapabilities capabilities_;
};

}  // namespace varve::capi
