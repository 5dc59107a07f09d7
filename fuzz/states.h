// Machine states of snapshots: what records say they are, written and read by the library. A state
// that verifies is one that was written, whatever happened to the image since.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <varve/state.h>

#include "world.h"

namespace varve::fuzz {

using State = std::vector<std::byte>;

// Of the snapshot a record takes; nothing where it takes only the disk.
[[nodiscard]] std::optional<State> state_of(const Record& record);

// Finished, and known to the world. The writer is gone before the image is closed.
[[nodiscard]] Result<std::unique_ptr<StateWriter>> write_state(World& world, Image& image,
                                                               const State& state, bool backwards);

struct FoundState {
  State bytes;
  std::uint64_t size = 0;  // Larger than what is read of a state without sums.
  bool is_verified = false;
};
[[nodiscard]] Result<FoundState> read_state(const World& world, Image& image, std::size_t index);

}  // namespace varve::fuzz
