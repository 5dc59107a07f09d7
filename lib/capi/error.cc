#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>

#include <varve/error.h>
#include <varve/version.h>

#include "capi/call.h"
#include "capi/structs.h"

namespace varve::capi {
namespace {

// In the order of ErrorCode.
constexpr std::array kCodes = {
    VARVE_IO,        VARVE_CORRUPT,   VARVE_UNSUPPORTED, VARVE_INVALID_ARGUMENT, VARVE_OUT_OF_RANGE,
    VARVE_NOT_FOUND, VARVE_READ_ONLY, VARVE_NO_SPACE,    VARVE_NO_MEMORY,        VARVE_TIMED_OUT,
    VARVE_BUSY,      VARVE_CANCELLED, VARVE_POISONED,    VARVE_EXISTS,           VARVE_OVER_BUDGET};
static_assert(kCodes.size() == static_cast<std::size_t>(ErrorCode::over_budget) + 1);

static_assert(VARVE_TAG_BACKING == static_cast<int>(IoTag::backing));
static_assert(VARVE_TAG_GUEST_DATA == static_cast<int>(IoTag::guest_data));
static_assert(VARVE_TAG_SNAPSHOT_TABLE == static_cast<int>(IoTag::snapshot_table));
static_assert(VARVE_TAG_BACKING + 1 == kIoTagCount);

// Without memory for the whole line the bare words have to do.
void describe_into(const Error& failed, std::span<char> target) noexcept {
  std::size_t length = 0;
  try {
    const std::string line = describe(failed);
    length = std::min(line.size(), target.size() - 1);
    std::copy_n(line.data(), length, target.data());
  } catch (...) {
    length = std::min(std::strlen(failed.what), target.size() - 1);
    std::copy_n(failed.what, length, target.data());
  }
  target[length] = '\0';
}

}  // namespace

varve_code code_of(ErrorCode code) noexcept {
  return kCodes[static_cast<std::size_t>(code)];
}

Error error_of(varve_code code, int os_errno, const char* what) noexcept {
  const auto* found = std::ranges::find(kCodes, code);
  Error error = failure(
      found != kCodes.end() ? static_cast<ErrorCode>(found - kCodes.begin()) : ErrorCode::io, what);
  error.os_errno = os_errno;
  return error;
}

varve_code report(const Error& failed, varve_error* error) noexcept {
  if (error != nullptr && check_size(error->size, "")) {
    varve_error filled = {};
    filled.code = code_of(failed.code);
    filled.os_errno = failed.os_errno;
    filled.tag = static_cast<std::uint32_t>(failed.tag);
    filled.offset = failed.offset;
    filled.value = failed.value;
    filled.limit = failed.limit;
    filled.what = failed.what;
    filled.rule = failed.corruption == Corruption::none ? "" : corruption_name(failed.corruption);
    describe_into(failed, filled.message);
    write_struct(error, filled);
  }
  return code_of(failed.code);
}

Result<void> admit(const varve_engine* engine, Call call) noexcept {
  if (engine == nullptr) {
    return failure(ErrorCode::invalid_argument, "a handle is NULL");
  }
  if (engine->mark.is_child()) {
    return failure(ErrorCode::invalid_argument, "the handle is the process's that has forked");
  }
  if (call == Call::blocking && engine->callbacks != 0) {
    return failure(ErrorCode::busy, "the call may block and is made inside a callback");
  }
  return {};
}

}  // namespace varve::capi

using namespace varve;

const char* varve_version(void) {
  return version();
}

const char* varve_tag_name(uint32_t tag) {
  return tag < kIoTagCount ? io_tag_name(static_cast<IoTag>(tag)) : "unknown";
}

const char* varve_code_name(varve_code code) {
  if (code == VARVE_OK) {
    return "ok";
  }
  const auto* found = std::ranges::find(capi::kCodes, code);
  return found == capi::kCodes.end()
             ? "unknown"
             : error_code_name(static_cast<ErrorCode>(found - capi::kCodes.begin()));
}
