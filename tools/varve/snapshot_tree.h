// The snapshots of an image as a tree: who is whose parent, where the disk stands, what each holds
// alone and in common.
#pragma once

#include "image_argument.h"

namespace varve::tool {

// False after a message.
[[nodiscard]] bool print_snapshot_tree(const Context& context, const OpenedImage& opened,
                                       bool json);

}  // namespace varve::tool
