// Making new images. The result is durable when the call returns, the folder's entry included.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <varve/engine.h>
#include <varve/image.h>
#include <varve/result.h>

namespace varve {

struct CreateOptions {
  Format format = Format::qcow2;
  std::uint64_t size_bytes = 0;  // Rounded up to 512.
  std::uint32_t version = 3;     // 2 (compat 0.10) or 3 (compat 1.1).
  std::uint32_t cluster_bytes =
      65536;  // 512 .. 2 MiB, a power of two; at least 16 KiB with extended_l2.
  std::uint32_t refcount_bits = 16;  // 1, 2, 4 .. 64; v2: 16.
  bool lazy_refcounts = false;
  bool extended_l2 = false;
  Compression compression = Compression::zlib;
  Preallocation preallocation = Preallocation::off;
  std::string backing_name;    // Stored as given; empty: none. Not opened.
  std::string backing_format;  // Required with backing_name: "qcow2" or "raw".
  std::string data_file_name;  // External data file, stored as given; empty: none. Created beside
                               // the image unless `data_storage` is given to create_image_in.
  bool data_file_raw = false;
  bool direct = false;  // O_DIRECT while writing.
};

// What is wrong with the combination, before any file is touched: invalid_argument or unsupported
// with the option's name in `what`, its value and its limit.
[[nodiscard]] Result<void> validate(const CreateOptions& options) noexcept;

// Creates (or overwrites) `path`. Blocking. Errors: those of validate, no_space, io, busy (the file
// is in use).
Result<void> create_image(Engine& engine, const std::string& path,
                          const CreateOptions& options) noexcept;

// The same in a storage the caller made (its content is overwritten); `data_storage` where the
// options name a data file.
Result<void> create_image_in(Storage& storage, Storage* data_storage,
                             const CreateOptions& options) noexcept;

}  // namespace varve
