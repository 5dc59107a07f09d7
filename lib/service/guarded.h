// The public boundary: running out of memory becomes an error.
#pragma once

#include <new>
#include <utility>

#include <varve/result.h>

#include "base/failure.h"

namespace varve {

template <class Body>
auto guarded(Body&& body) noexcept -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate what the service needs");
  }
}

}  // namespace varve
