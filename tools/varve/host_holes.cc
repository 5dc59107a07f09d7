#include "host_holes.h"

#include <algorithm>

#include <sys/stat.h>

#include "image_argument.h"

namespace varve::tool {

namespace {

// Whether clearly less of the file is allocated than the image has clusters in it.
bool looks_preallocated(const Image& image, const ImageFacts& facts) {
  struct stat status {};
  if (facts.format != Format::qcow2 || ::stat(image.name(), &status) != 0) {
    return false;
  }
  const std::uint64_t clusters = (facts.file_size + facts.cluster_bytes - 1) / facts.cluster_bytes;
  const std::uint64_t allocated =
      static_cast<std::uint64_t>(status.st_blocks) * 512 / facts.cluster_bytes;
  return clusters > std::max(allocated * 10 / 9, allocated + 2);
}

}  // namespace

HostHoles::HostHoles(Context& context, Image& image) {
  for (Image* layer = &image; layer != nullptr; layer = layer->backing()) {
    const ImageFacts facts = layer->facts();
    std::unique_ptr<Storage> file;
    if (looks_preallocated(*layer, facts)) {
      const std::string name = facts.data_file_name.empty()
                                   ? layer->name()
                                   : resolve_name(layer->name(), facts.data_file_name);
      Result<std::unique_ptr<Storage>> opened = open_file(*context.engine(), name, FileOptions{});
      if (opened) {
        file = std::move(*opened);
      }
    }
    files_.push_back(std::move(file));
  }
}

void HostHoles::refine(BlockStatus& status) const {
  const bool has_place = status.data && !status.zero && status.has_host_offset &&
                         !status.compressed && status.depth < files_.size();
  if (!has_place || files_[status.depth] == nullptr) {
    return;
  }
  const Storage& file = *files_[status.depth];
  if (status.host_offset >= file.size()) {
    status.zero = true;
    return;
  }
  const StorageExtent extent =
      file.extent_at(status.host_offset, std::min(status.length, file.size() - status.host_offset));
  status.length = std::min(status.length, extent.length);
  status.zero = !extent.is_data;
}

}  // namespace varve::tool
