// ModelHost: where the image of a model run lives (simulated memory, simulated memory with delays,
// or a real file), and how it is opened.
//
// Threads: the engine's. Lifetime: outlives every image it opened.
#pragma once

#include <memory>
#include <string>

#include <varve/engine.h>
#include <varve/image.h>

#include "model/geometry_cases.h"
#include "sim/sparse_bytes.h"

namespace varve::model {

enum class StorageKind : std::uint8_t {
  memory,
  delay,
  uring_file,
  automatic_file,
  threads_file,
  direct_file,
  device,  // A loop device, past the page cache.
  order,   // Simulated as delay, and the order of what is written is watched.
};
[[nodiscard]] constexpr bool is_simulated(StorageKind kind) noexcept {
  return kind == StorageKind::memory || kind == StorageKind::delay || kind == StorageKind::order;
}

class ModelHost {
 public:
  virtual ~ModelHost() = default;
  [[nodiscard]] virtual Engine& engine() noexcept = 0;
  virtual Result<void> create() = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<Image>> open(DiscardMode discard) = 0;
  // The image's bytes while it is closed.
  [[nodiscard]] virtual sim::SparseBytes content() = 0;
  // The first rule of order that was broken, where it is watched; else empty.
  [[nodiscard]] virtual std::string violation() const { return {}; }
};

// Errors: unsupported where the machine has no io_uring or the folder no O_DIRECT (also from open).
[[nodiscard]] Result<std::unique_ptr<ModelHost>> make_host(StorageKind kind,
                                                           const GeometryCase& geometry,
                                                           std::uint64_t seed);

// The byte pattern of the backing file: the lab's own stamp.
[[nodiscard]] std::vector<std::byte> backing_content(const GeometryCase& geometry);

}  // namespace varve::model
