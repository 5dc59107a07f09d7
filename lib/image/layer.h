// Opening one file as one layer of a chain: straight-line code that runs the engine.
#pragma once

#include <memory>
#include <string>

#include <varve/image.h>

#include "image/image_core.h"
#include "meta/metadata.h"

namespace varve {

// How the files an image names are found: the caller's opener, or paths.
struct FileAccess {
  FileOpener* opener = nullptr;
  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& options) const noexcept;
};

// `name` as the image in `directory` means it: relative names start there. An empty directory
// (unknown) refuses them.
[[nodiscard]] Result<std::string> resolve_name(const std::string& directory,
                                               const std::string& name) noexcept;

// The folder part of a path, "." where there is none.
[[nodiscard]] std::string directory_of(const std::string& path);

struct LoadOptions {
  // The image is loaded without a refcount table that cannot be read, and with what is left of the
  // snapshot table.
  bool to_be_repaired = false;
  bool untrusted = false;
  Meter* meter = nullptr;
  // Where the file ended when repairing it began; 0: now. A snapshot whose L1 table lies behind it
  // is lost, and is not found again in what repairing has put there.
  std::uint64_t file_end = 0;
};
// Reads header, L1, refcount table and snapshot table, and checks what the format says of each.
[[nodiscard]] Result<Metadata::Loaded> load_tables(Storage& file,
                                                   const LoadOptions& options = {}) noexcept;

// Brings tables that were read to life. A dirty image that becomes writable is settled; one that is
// marked corrupt does not become writable unless allowed.
[[nodiscard]] Result<std::unique_ptr<Metadata>> make_metadata(const Metadata::Config& config,
                                                              Metadata::Loaded loaded,
                                                              bool allow_corrupt) noexcept;

// A file opened as an image, without its backing chain.
struct Layer {
  std::unique_ptr<ImageCore> core;
  // What it stands on; an empty name: nothing.
  std::string backing_name;
  std::string backing_format;
};
// Takes the locks, reads and checks the tables, settles a dirty image that becomes writable.
[[nodiscard]] Result<Layer> open_layer(std::unique_ptr<Storage> storage,
                                       const std::string& directory,
                                       const OpenOptions& options) noexcept;

}  // namespace varve
