// Structs that begin with their size: older and newer callers meet in what both know.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <varve/result.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "base/try.h"

namespace varve::capi {

// Sizes end where a field of eight bytes may end, so that no field is cut.
inline constexpr std::size_t kFieldBytes = 8;

template <class T>
concept Sized = std::is_trivially_copyable_v<T> && offsetof(T, size)
== 0 && alignof(T) == alignof(std::size_t);

[[nodiscard]] inline Result<void> check_size(std::size_t size, const char* name) noexcept {
  if (size < kFieldBytes || size % kFieldBytes != 0) {
    Error error = failure(ErrorCode::invalid_argument, name);
    error.value = size;
    return error;
  }
  return {};
}

// The caller's struct with zeros for what it does not have. NULL: zeros. `name` is told with the
// struct's size where that is not one, or where what this library does not know is not zero.
template <Sized T>
[[nodiscard]] Result<T> read_struct(const T* given, const char* name) noexcept {
  T value = {};
  if (given == nullptr) {
    return value;
  }
  const std::size_t size = given->size;
  VARVE_TRY(check_size(size, name));
  const ConstBytes bytes(static_cast<const std::byte*>(static_cast<const void*>(given)), size);
  const std::size_t known = std::min(size, sizeof(T));
  if (!is_all_zero(bytes.subspan(known)) && known < size) {
    Error error = failure(ErrorCode::unsupported, name);
    error.value = size;
    error.limit = sizeof(T);
    return error;
  }
  copy_bytes(std::as_writable_bytes(std::span(&value, 1)).first(known), bytes.first(known));
  return value;
}

// Whether write_struct can fill it: asked before anything is done.
template <Sized T>
[[nodiscard]] Result<void> check_target(const T* target, const char* name) noexcept {
  return target == nullptr ? failure(ErrorCode::invalid_argument, name)
                           : check_size(target->size, name);
}

// The same of one that may be left out.
template <Sized T>
[[nodiscard]] Result<void> check_optional_target(const T* target, const char* name) noexcept {
  return target == nullptr ? Result<void>() : check_size(target->size, name);
}

// Fills what fits into the caller's struct, zeros what this library does not know, keeps the size;
// nothing where it was left out. REQUIRES: check_target or check_optional_target.
template <Sized T>
void write_struct(T* target, const T& value) noexcept {
  if (target == nullptr) {
    return;
  }
  const std::size_t size = target->size;
  const Bytes bytes(static_cast<std::byte*>(static_cast<void*>(target)), size);
  const std::size_t known = std::min(size, sizeof(T));
  copy_bytes(bytes.first(known), std::as_bytes(std::span(&value, 1)).first(known));
  zero_bytes(bytes.subspan(known));
  target->size = size;
}

}  // namespace varve::capi
