// The persistent dirty bitmaps that other programs keep in an image: what there is, not their
// content. Varve keeps them honest (they are marked as in use before the disk changes under them)
// and preserves them; it does not maintain them.
//
// Threads: the image's. Nothing is written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <varve/image.h>
#include <varve/result.h>

namespace varve {

struct BitmapInfo {
  std::string name;
  std::uint64_t granularity_bytes = 0;  // Guest bytes each bit stands for.
  bool in_use = false;     // Its content is not what the disk's history says: not to be trusted.
  bool automatic = false;  // Recording: QEMU goes on with it when it opens the image for writing.
};

// The bitmaps in the order of the image's directory; none for raw images, and where the image says
// that a program without bitmaps has changed it. Blocking: reads the directory (64 MiB at most).
// Errors: corrupt (a rule of the format, by name), io, no_memory.
[[nodiscard]] Result<std::vector<BitmapInfo>> list_bitmaps(Image& image) noexcept;

}  // namespace varve
