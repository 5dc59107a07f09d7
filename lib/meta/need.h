// What a question to meta can answer besides its value: something must be brought first. The asker
// satisfies the need (Metadata::satisfy), is resumed, and asks again. So the mapping and allocation
// code stays synchronous and free of I/O.
#pragma once

#include <cstdint>
#include <utility>
#include <variant>

#include <varve/result.h>

#include "base/units.h"

namespace varve {

struct Need {
  enum class Kind : std::uint8_t {
    l2_table,         // The table at `offset` is not in memory.
    refcount_block,   // The block at `offset` is not in memory.
    l2_room,          // Every cached table is dirty: a flush round must clean some.
    refcount_growth,  // No refcount block covers the cluster at `offset`.
    file_growth,      // The file must become at least `offset` bytes long.
    round,            // A flush round must complete first.
    early_write,      // What may be written at any moment must be: too much of it is in memory.
    reclaim,          // The reclaimer must give back what it can.
    turn,             // Nothing: others get a turn of the engine's loop first.
  };
  Kind kind = Kind::l2_table;
  HostOffset offset;
  std::uint64_t clusters =
      0;  // refcount_growth: so many free clusters must be counted behind the new blocks.
};

struct Nothing {};

// A value, or what is needed before it can be told, or an error.
template <class T>
class [[nodiscard]] Answer {
 public:
  Answer(T value) noexcept : state_(std::move(value)) {}
  Answer(const Need& need) noexcept : state_(need) {}
  Answer(const Error& error) noexcept : state_(error) {}

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  [[nodiscard]] const Need* need() const noexcept { return std::get_if<Need>(&state_); }
  [[nodiscard]] const Error* error() const noexcept { return std::get_if<Error>(&state_); }
  T& operator*() noexcept { return *std::get_if<T>(&state_); }
  const T& operator*() const noexcept { return *std::get_if<T>(&state_); }
  T* operator->() noexcept { return std::get_if<T>(&state_); }

 private:
  std::variant<T, Need, Error> state_;
};

}  // namespace varve

// Yields the value; otherwise returns the need or the error to the caller, who must return an
// Answer.
#define VARVE_ASK(expression)                             \
  __extension__({                                         \
    auto varve_answer = (expression);                     \
    if (const auto* varve_need = varve_answer.need()) {   \
      return *varve_need;                                 \
    }                                                     \
    if (const auto* varve_error = varve_answer.error()) { \
      return *varve_error;                                \
    }                                                     \
    std::move(*varve_answer);                             \
  })
