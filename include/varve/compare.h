// Comparing the content of two images, whatever their formats.
//
// Threads: both images belong to the calling thread's engine; the call blocks and runs it. Neither
// image is written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

#include <varve/convert.h>
#include <varve/image.h>
#include <varve/result.h>

namespace varve {

struct CompareOptions {
  bool strict = false;  // Sizes and allocation must agree too.
  unsigned parallel = 8;
  std::size_t chunk_bytes = 1 << 20;  // A multiple of 512.
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress = {};
};

enum class Comparison : std::uint8_t {
  identical,        // Also where one disk is larger and the rest reads as zeros, unless strict.
  content_differs,  // `offset` is the first 512-byte sector that differs.
  size_differs,     // Strict only.
  status_differs,   // Strict only: `offset` is allocated, or known to be zero, in one of them only.
};

struct CompareReport {
  Comparison result = Comparison::identical;
  std::uint64_t offset = 0;
  unsigned failed_image = 0;  // On failure: 1 or 2, the image that could not be read.
  std::uint64_t failed_offset = 0;
};

// Errors: those of reading; no_memory; invalid_argument; cancelled. `report` is filled also on
// failure.
Result<void> compare(Image& first, Image& second, const CompareOptions& options,
                     CompareReport& report) noexcept;

}  // namespace varve
