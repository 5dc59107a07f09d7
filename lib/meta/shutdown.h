// The orderly end of a session: straight-line code that runs the engine.
#pragma once

#include <varve/result.h>

namespace varve {

class Metadata;

// Makes everything durable, gives back what was dropped, and cuts the file to what is used.
// REQUIRES: no request in flight.
[[nodiscard]] Result<void> shut_down(Metadata& metadata) noexcept;

}  // namespace varve
