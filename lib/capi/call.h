// How every function of the C interface begins and ends: handles are checked, exceptions and errors
// become codes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include <varve/result.h>
#include <varve/varve.h>

#include "base/failure.h"
#include "base/try.h"
#include "capi/handles.h"

namespace varve::capi {

// Fills `error`, where it is given, and answers with the code.
varve_code report(const Error& failed, varve_error* error) noexcept;

[[nodiscard]] varve_code code_of(ErrorCode code) noexcept;

// A code that a callback answered with; unknown ones are `io`. REQUIRES: not VARVE_OK.
[[nodiscard]] Error error_of(varve_code code, int os_errno, const char* what) noexcept;
[[nodiscard]] inline Result<void> result_of(varve_code code, const char* what) noexcept {
  return code == VARVE_OK ? Result<void>() : error_of(code, 0, what);
}

enum class Call {
  quick,     // Also inside callbacks.
  blocking,  // Runs the engine, or frees what a callback may be using.
};

// Whether the handles of `engine` may be used now.
[[nodiscard]] Result<void> admit(const varve_engine* engine, Call call) noexcept;

// Whether a number may be asked for.
[[nodiscard]] inline bool is_usable(const varve_engine* engine) noexcept {
  return engine != nullptr && !engine->mark.is_child();
}

[[nodiscard]] inline const varve_engine* engine_of(const varve_engine* handle) noexcept {
  return handle;
}
template <class Handle>
[[nodiscard]] const varve_engine* engine_of(const Handle* handle) noexcept {
  return handle != nullptr ? handle->engine : nullptr;
}

// Runs `body`, which answers with a Result<void>.
template <class Body>
varve_code guarded(varve_error* error, Body&& body) noexcept {
  try {
    const Result<void> result = std::forward<Body>(body)();
    return result ? VARVE_OK : report(result.error(), error);
  } catch (...) {
    // The library throws when memory is short, and never else.
    return report(failure(ErrorCode::no_memory, "cannot allocate what the call needs"), error);
  }
}
template <class Body>
varve_code call(const varve_engine* engine, Call kind, varve_error* error, Body&& body) noexcept {
  return guarded(error, [&]() -> Result<void> {
    VARVE_TRY(admit(engine, kind));
    return std::forward<Body>(body)();
  });
}

// Frees a handle that went out as a plain pointer.
template <class Handle>
void destroy(Handle* handle) noexcept {
  const std::unique_ptr<Handle> owned(handle);
}

[[nodiscard]] inline Result<void> require(bool condition, const char* what) noexcept {
  return condition ? Result<void>() : failure(ErrorCode::invalid_argument, what);
}

[[nodiscard]] inline Result<void> check_flags(std::uint64_t flags, std::uint64_t known,
                                              const char* what) noexcept {
  if ((flags & ~known) != 0) {
    Error error = failure(ErrorCode::unsupported, what);
    error.value = flags & ~known;
    return error;
  }
  return {};
}

[[nodiscard]] constexpr std::uint32_t flag_if(bool condition, std::uint32_t flag) noexcept {
  return condition ? flag : 0;
}

// A number that stands for an enumerator.
template <class Enum>
[[nodiscard]] Result<Enum> enum_of(std::uint32_t value, Enum last, const char* what) noexcept {
  if (value > static_cast<std::uint32_t>(last)) {
    Error error = failure(ErrorCode::unsupported, what);
    error.value = value;
    return error;
  }
  return static_cast<Enum>(value);
}

template <class Number>
[[nodiscard]] Number value_or(Number value, Number fallback) noexcept {
  return value != 0 ? value : fallback;
}

// Tells the caller of progress, where that is asked for; an answer other than 0 cancels.
template <class Options>
[[nodiscard]] std::function<void(std::uint64_t, std::uint64_t)> progress_of(
    const Options& options, std::atomic<bool>& cancel) {
  if (options.progress == nullptr) {
    return {};
  }
  return [&](std::uint64_t done, std::uint64_t total) {
    if (options.progress(options.owner, done, total) != 0) {
      cancel = true;
    }
  };
}

[[nodiscard]] inline const char* text_or_empty(const char* text) noexcept {
  return text != nullptr ? text : "";
}

}  // namespace varve::capi
