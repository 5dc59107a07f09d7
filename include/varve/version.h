// The version of Varve: of the headers as macros, of the library in use as a function.
//
// Any thread. The build reads the numbers from here; they stand nowhere else.
#pragma once

#define VARVE_VERSION_MAJOR 0
#define VARVE_VERSION_MINOR 1
#define VARVE_VERSION_PATCH 0
#define VARVE_VERSION "0.1.0"

namespace varve {

// The version the library was built as, "MAJOR.MINOR.PATCH"; it differs from VARVE_VERSION when a
// program runs with another shared library than it was compiled for. Static lifetime.
[[nodiscard]] const char* version() noexcept;

}  // namespace varve
