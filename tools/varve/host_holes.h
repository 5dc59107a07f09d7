// Where an image's files have holes: guest data that lies in one reads as zeros, although the image
// says nothing of it. qemu-img's map tells such runs apart when an image looks preallocated.
#pragma once

#include <memory>
#include <vector>

#include <varve/image.h>

#include "context.h"

namespace varve::tool {

class HostHoles {
 public:
  // Looks at every layer of `image`'s chain; REQUIRES: the image outlives this.
  HostHoles(Context& context, Image& image);

  // Shortens `status` to what is uniform in the file too, and marks it as zeros where the file has
  // a hole.
  void refine(BlockStatus& status) const;

 private:
  // By depth; null where the file is not sparse enough to be worth a look.
  std::vector<std::unique_ptr<Storage>> files_;
};

}  // namespace varve::tool
