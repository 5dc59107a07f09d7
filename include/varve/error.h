// The one error value of the library: what kind of failure, where in the image, and why.
//
// Threads: plain values, no shared state. Nothing here allocates except describe().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <varve/corruption.h>
#include <varve/types.h>

namespace varve {

// The kind of a failure. A program branches on this; people read describe().
enum class ErrorCode : std::uint8_t {
  io,       // The operating system reported an error (see os_errno) none of the kinds below names.
  corrupt,  // The bytes of the image contradict the format; `corruption` says which rule.
  unsupported,       // Legal qcow2 that this build or this operation does not handle.
  invalid_argument,  // The caller's own request is malformed, whatever the image holds.
  out_of_range,      // The request lies beyond the end of the disk or of a documented limit.
  not_found,         // The file, snapshot or table named does not exist.
  read_only,         // A change was asked of an image opened read-only.
  no_space,          // The file system, the device or a fixed-size table is full; nothing was lost.
  no_memory,         // An allocation failed; state is unchanged.
  timed_out,         // The time the caller allowed has passed.
  busy,       // Somebody else holds what is needed: a lock, an open snapshot, a control operation.
  cancelled,  // The caller cancelled the operation before it took effect.
  poisoned,   // An earlier flush failed: what is durable is unknown until the image is reopened.
  exists,     // The name to be created is taken.
  over_budget,  // Looking at the image costs more than its Budget allows; `what` names which.
};

// A failure with its context. A small value; copying it never allocates.
struct [[nodiscard]] Error {
  ErrorCode code = ErrorCode::io;
  IoTag tag = IoTag::none;  // The table or data the failure concerns.
  Corruption corruption =
      Corruption::none;       // Set with ErrorCode::corrupt: the rule that was broken.
  std::int32_t os_errno = 0;  // Positive errno from the operating system, or 0.
  const char* what =
      "";  // Literal text with static lifetime: what is wrong, in the format's words.
  std::uint64_t offset =
      kNoOffset;                    // Byte offset in the file (or in the disk, for guest requests).
  std::uint64_t value = kNoOffset;  // The offending field's value, where a limit was broken.
  std::uint64_t limit = kNoOffset;  // The limit it broke.
  // Words of the image itself, printable and ended by a zero: the names of features that are not
  // known here. Empty otherwise; cut where they are long.
  char detail[64] = {};

  static constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};
};

// Stable lower-case word for a code: "no_space". Static lifetime.
[[nodiscard]] const char* error_code_name(ErrorCode code) noexcept;

// One line for people: what, the field's value and limit, the table and offset, and the system's
// own words for os_errno. Carries no file name: the caller knows it. May throw std::bad_alloc.
[[nodiscard]] std::string describe(const Error& error);

}  // namespace varve
