// What went wrong, in qemu-img's words where it has any.
#pragma once

#include <string>

#include <varve/error.h>

namespace varve::tool {

// Linux AIO works past the page cache only. Varve has no use for it, but the command line is bad.
inline constexpr const char* kNativeNeedsDirect =
    "aio=native was specified, but it requires cache.direct=on, which was not specified.";

// The system's words for `os_errno`: "No such file or directory".
[[nodiscard]] std::string system_words(int os_errno);

// Why a request on an open image failed, as short as qemu-img says it: the system's words for the
// error where there are any, else the library's.
[[nodiscard]] std::string short_words(const Error& error);

// Why the file `filename` could not be opened.
[[nodiscard]] std::string open_words(const Error& error, const std::string& filename,
                                     bool writable);

}  // namespace varve::tool
