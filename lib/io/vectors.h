// Scattered memory seen as one run of bytes.
#pragma once

#include <cstdint>

#include <varve/storage.h>

#include "base/bytes.h"

namespace varve {

// Copies target.size() bytes that start `position` bytes into the request's vectors.
// REQUIRES: the vectors hold that many.
void gather(Bytes target, const StorageRequest& request, std::uint64_t position) noexcept;

// Copies `source` into the vectors, `position` bytes from their start.
// REQUIRES: the vectors have room.
void scatter(const StorageRequest& request, std::uint64_t position, ConstBytes source) noexcept;

// Zeroes the vectors from `position` to their end.
void zero_from(const StorageRequest& request, std::uint64_t position) noexcept;

}  // namespace varve
