// Holding an image still while its tables are read past the caches: behind its closed gate where it
// is open for writing, with everything memory knows in the file.
// Threads: the engine's thread, which it runs.
#pragma once

#include <varve/result.h>

#include "image/qcow2_image.h"

namespace varve {

class StillImage {
 public:
  explicit StillImage(Qcow2Image& image) noexcept : image_(image) {}
  StillImage(const StillImage&) = delete;
  StillImage& operator=(const StillImage&) = delete;
  // Lets the waiting requests go on.
  ~StillImage();

  // Errors: busy (a control operation runs), those of flush.
  [[nodiscard]] Result<void> begin() noexcept;

 private:
  Qcow2Image& image_;
  bool is_held_ = false;
};

}  // namespace varve
