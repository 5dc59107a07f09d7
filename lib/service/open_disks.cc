#include "service/open_disks.h"

#include "base/failure.h"
#include "base/try.h"

namespace varve {

Result<void> OpenDisks::add_path(System& system, std::size_t index, Engine* engine,
                                 const OpenOptions& options) {
  if (engine == nullptr) {
    return failure(ErrorCode::invalid_argument, "a disk given by path takes an engine");
  }
  std::unique_ptr<Image> image =
      VARVE_TRY(Image::open(*engine, system.disks[index].definition.path, options));
  disks_.push_back({&system, index, image.get()});
  owned_.push_back(std::move(image));
  return {};
}

Result<void> OpenDisks::open(System& system, Engine* engine, const Patience& patience) {
  for (std::size_t i = 0; i < system.disks.size(); ++i) {
    const Disk& disk = system.disks[i];
    if (!disk.is_snapshottable) {
      continue;
    }
    if (disk.definition.image != nullptr) {
      disks_.push_back({&system, i, disk.definition.image});
      continue;
    }
    Result<void> opened = add_path(system, i, engine, disk.definition.options);
    while (!opened && opened.error().code == ErrorCode::busy) {
      if (!patience()) {
        Error error = opened.error();
        error.code = ErrorCode::timed_out;
        return error;
      }
      opened = add_path(system, i, engine, disk.definition.options);
    }
    if (!opened) {
      return opened.error();
    }
  }
  return {};
}

Result<void> OpenDisks::open_to_look(System& system, Engine* engine) {
  for (std::size_t i = 0; i < system.disks.size(); ++i) {
    const DiskDefinition& definition = system.disks[i].definition;
    if (definition.image != nullptr) {
      disks_.push_back({&system, i, definition.image});
      continue;
    }
    OpenOptions options = definition.options;
    options.writable = false;
    options.force_share = true;
    options.open_backing = false;
    options.open_data_file = false;
    VARVE_TRY(add_path(system, i, engine, options));
  }
  return {};
}

Result<void> OpenDisks::close() noexcept {
  Result<void> first;
  for (const std::unique_ptr<Image>& image : owned_) {
    const Result<void> closed = image->close();
    if (!closed && first) {
      first = closed;
    }
  }
  disks_.clear();
  owned_.clear();
  return first;
}

std::vector<OpenDisk> OpenDisks::of(const System& system) const {
  std::vector<OpenDisk> found;
  for (const OpenDisk& disk : disks_) {
    if (disk.system == &system) {
      found.push_back(disk);
    }
  }
  return found;
}

std::vector<Image*> OpenDisks::images() const {
  std::vector<Image*> found;
  for (const OpenDisk& disk : disks_) {
    found.push_back(disk.image);
  }
  return found;
}

std::vector<Image*> OpenDisks::images_of(const System& system) const {
  std::vector<Image*> found;
  for (const OpenDisk& disk : of(system)) {
    found.push_back(disk.image);
  }
  return found;
}

}  // namespace varve
