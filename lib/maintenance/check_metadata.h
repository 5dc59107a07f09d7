// The check itself, for those who have the image to themselves.
#pragma once

#include <varve/check.h>

#include "maintenance/check_observer.h"
#include "meta/metadata.h"

namespace varve {

// Errors: no_memory, cancelled, over_budget, and the observer's.
[[nodiscard]] Result<CheckReport> check_metadata(Metadata& metadata, const CheckOptions& options,
                                                 CheckObserver* observer = nullptr) noexcept;

}  // namespace varve
