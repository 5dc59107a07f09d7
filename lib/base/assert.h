// Assertions for what only a bug of ours can break: always on, never reachable from bytes on disk
// or from a caller's argument.
#pragma once

namespace varve {

// Prints the condition and its place to stderr and aborts.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace varve

#define VARVE_ASSERT(condition)                                  \
  do {                                                           \
    if (!(condition)) [[unlikely]] {                             \
      ::varve::assertion_failed(#condition, __FILE__, __LINE__); \
    }                                                            \
  } while (false)
