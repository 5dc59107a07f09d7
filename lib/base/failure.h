// Short ways to make an Error, so that a check reads as one line.
#pragma once

#include <cerrno>
#include <cstdint>

#include <varve/error.h>

namespace varve {

// A failure without a place. `what` has static lifetime.
[[nodiscard]] inline Error failure(ErrorCode code, const char* what) noexcept {
  Error error;
  error.code = code;
  error.what = what;
  return error;
}

// A failure at a byte of the file (or of the disk, for tag guest_data).
[[nodiscard]] inline Error failure_at(ErrorCode code, IoTag tag, std::uint64_t offset,
                                      const char* what) noexcept {
  Error error = failure(code, what);
  error.tag = tag;
  error.offset = offset;
  return error;
}

// A rule of the format is broken in `tag` at `offset`; `value` is the offending field's, `limit`
// what it broke.
[[nodiscard]] inline Error corrupt_at(Corruption reason, IoTag tag, std::uint64_t offset,
                                      const char* what, std::uint64_t value = Error::kNoOffset,
                                      std::uint64_t limit = Error::kNoOffset) noexcept {
  Error error = failure_at(ErrorCode::corrupt, tag, offset, what);
  error.corruption = reason;
  error.value = value;
  error.limit = limit;
  return error;
}

// Maps a positive errno to the kind callers branch on, and keeps the number.
[[nodiscard]] inline Error system_failure(int os_errno, IoTag tag, std::uint64_t offset,
                                          const char* what) noexcept {
  ErrorCode code = ErrorCode::io;
  switch (os_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      code = ErrorCode::no_space;
      break;
    case ENOMEM:
      code = ErrorCode::no_memory;
      break;
    case ENOENT:
      code = ErrorCode::not_found;
      break;
    case EROFS:
      code = ErrorCode::read_only;
      break;
    case EEXIST:
      code = ErrorCode::exists;
      break;
    case ENOTSUP:
      code = ErrorCode::unsupported;
      break;
    case ECANCELED:
      code = ErrorCode::cancelled;
      break;
    case ETIMEDOUT:
      code = ErrorCode::timed_out;
      break;
    default:
      break;
  }
  Error error = failure_at(code, tag, offset, what);
  error.os_errno = os_errno;
  return error;
}

}  // namespace varve
