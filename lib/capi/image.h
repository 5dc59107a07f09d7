// Options of opening between the two interfaces.
#pragma once

#include <varve/image.h>
#include <varve/varve.h>

namespace varve::capi {

// All but the opener and the folder.
[[nodiscard]] Result<OpenOptions> open_options(const varve_open_options& from);

}  // namespace varve::capi
