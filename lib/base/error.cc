#include <cstring>

#include <varve/error.h>

namespace varve {

const char* error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::io:
      return "io";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::out_of_range:
      return "out_of_range";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::read_only:
      return "read_only";
    case ErrorCode::no_space:
      return "no_space";
    case ErrorCode::no_memory:
      return "no_memory";
    case ErrorCode::timed_out:
      return "timed_out";
    case ErrorCode::busy:
      return "busy";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::poisoned:
      return "poisoned";
    case ErrorCode::exists:
      return "exists";
    case ErrorCode::over_budget:
      return "over_budget";
  }
  return "unknown";
}

const char* io_tag_name(IoTag tag) noexcept {
  static constexpr const char* kNames[kIoTagCount] = {
      "none",   "header",         "extension",       "l1",
      "l2",     "refcount_table", "refcount_block",  "snapshot_table",
      "bitmap", "guest_data",     "compressed_data", "state",
      "backing"};
  const auto index = static_cast<std::size_t>(tag);
  return index < kIoTagCount ? kNames[index] : "unknown";
}

std::string describe(const Error& error) {
  std::string text = error.what;
  if (error.detail[0] != '\0') {
    text += " (";
    text += error.detail;
    text += ')';
  }
  if (error.value != Error::kNoOffset) {
    text += ": ";
    text += std::to_string(error.value);
    if (error.limit != Error::kNoOffset) {
      text += " (limit ";
      text += std::to_string(error.limit);
      text += ')';
    }
  }
  if (error.tag != IoTag::none || error.offset != Error::kNoOffset) {
    text += " [";
    text += io_tag_name(error.tag);
    if (error.offset != Error::kNoOffset) {
      text += " at offset ";
      text += std::to_string(error.offset);
    }
    text += ']';
  }
  if (error.os_errno != 0) {
    text += ": ";
    text += std::strerror(error.os_errno);
  }
  return text;
}

}  // namespace varve
