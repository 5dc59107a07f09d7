// Reaches out of the public headers, and needs an include it does not make.
#pragma once

#include "base/bytes.h"
#include <zlib.h>

namespace varve {
inline std::string name();
}  // namespace varve
