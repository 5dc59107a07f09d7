// What is done to a disk, in steps both programs can take, and the model that says what the disk
// holds afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "interop/matrix.h"

namespace varve::interop {

struct Step {
  enum class Action : std::uint8_t {
    write,
    write_compressed,
    zero,
    zero_unmap,
    discard,
    flush,
    grow,  // The disk's size becomes `offset`.
  };
  Action action = Action::write;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  unsigned seed = 0;  // Of the pattern written.
};
using Script = std::vector<Step>;

// What fills a write: these bytes over and over. A prime length, so that no two clusters are alike.
inline constexpr std::size_t kPatternBytes = 251;
[[nodiscard]] std::vector<std::byte> pattern_of(unsigned seed);
[[nodiscard]] std::vector<std::byte> filled(unsigned seed, std::uint64_t length);

// Who takes the steps. They differ where the format leaves a choice: over a backing file in version
// 2, where nothing can be marked as zero, QEMU's discard leaves every cluster alone, Varve's those
// the backing file reaches.
enum class Actor : std::uint8_t { varve, qemu };

// Scripts for a disk of this case, as far as the actor can take its steps. All start from the same
// first writes.
[[nodiscard]] Script first_writes(const Case& example);
[[nodiscard]] Script write_script(const Case& example, Actor actor);
[[nodiscard]] Script discard_script(const Case& example, Actor actor);
[[nodiscard]] Script zero_script(const Case& example, Actor actor);
[[nodiscard]] Script grow_script(const Case& example, Actor actor);

[[nodiscard]] Script script_of(const ChangedCase& changed, Actor actor);

using Content = std::vector<std::byte>;
[[nodiscard]] Content backing_content(const Case& example);
[[nodiscard]] Content new_content(const Case& example);
void apply(const Case& example, Actor actor, const Script& script, Content& content);

}  // namespace varve::interop
