// From what a caller says to the image and the entry it means.
#pragma once

#include <cstddef>

#include <varve/image.h>
#include <varve/result.h>

#include "image/qcow2_image.h"

namespace varve {

// Errors: unsupported.
[[nodiscard]] Result<Qcow2Image*> qcow2_of(const Image& image) noexcept;

// The entry at a place of the snapshot table; whoever waits works on a copy. Errors: not_found.
[[nodiscard]] Result<const SnapshotEntry*> entry_at(const Qcow2Image& image,
                                                    std::size_t index) noexcept;

// One that may be read: not of a snapshot that is being deleted. Errors: not_found, busy.
[[nodiscard]] Result<const SnapshotEntry*> readable_entry_at(const Qcow2Image& image,
                                                             std::size_t index) noexcept;

}  // namespace varve
