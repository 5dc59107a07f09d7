// SimDisk: a simulated file that outlives the storages opened on it; SimStorage: such an opening.
// Requests take effect when they are submitted and complete from the engine's next poll.
//
// Threads: the engine's. Lifetime: the disk outlives its storages.
#pragma once

#include <varve/engine.h>
#include <varve/storage.h>

#include "sim/sparse_bytes.h"

namespace varve::sim {

// What a sparse file on a good file system can do.
[[nodiscard]] StorageCapabilities sparse_file_capabilities() noexcept;

struct SimDisk {
  SparseBytes content;
  StorageCapabilities capabilities = sparse_file_capabilities();
};

// Whether `request` may be made of a storage of these capabilities and size.
[[nodiscard]] Result<void> validate_request(const StorageRequest& request,
                                            const StorageCapabilities& capabilities,
                                            std::uint64_t size) noexcept;

// The bytes a write carries, in one piece.
[[nodiscard]] std::vector<std::byte> gather(const StorageRequest& request);

// Makes `request` happen to `content`; a read fills its vectors.
[[nodiscard]] Result<void> apply_request(const StorageRequest& request,
                                         const StorageCapabilities& capabilities,
                                         SparseBytes& content);

class SimStorage final : public Storage {
 public:
  SimStorage(Engine& engine, SimDisk& disk) noexcept : engine_(engine), disk_(disk) {}

  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return disk_.capabilities;
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return disk_.content.size(); }
  void submit(StorageRequest& request) noexcept override;
  [[nodiscard]] Engine& engine() const noexcept override { return engine_; }
  [[nodiscard]] const char* name() const noexcept override { return "<simulated>"; }

 private:
  Engine& engine_;
  SimDisk& disk_;
};

}  // namespace varve::sim
