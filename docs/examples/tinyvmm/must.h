// How this example treats errors: it says what failed, and ends.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <varve/result.h>

namespace tinyvmm {

[[noreturn]] inline void fail(const char* what, const char* why) {
  std::fprintf(stderr, "tinyvmm: %s: %s\n", what, why);
  std::exit(1);
}

template <class T>
T must(varve::Result<T> result, const char* what) {
  if (!result) {
    fail(what, varve::describe(result.error()).c_str());
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

inline int must(int system_call, const char* what) {
  return system_call < 0 ? fail(what, std::strerror(errno)), 0 : system_call;
}

}  // namespace tinyvmm
