// Aligned memory for I/O, owned. Aligned for O_DIRECT on every device we know (4 KiB).
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <utility>

#include <varve/result.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/failure.h"

namespace varve {

inline constexpr std::size_t kIoAlignment = 4096;

class Buffer {
 public:
  Buffer() = default;

  // Content is undefined. no_memory when the system has none.
  static Result<Buffer> allocate(std::size_t size) noexcept {
    const std::size_t rounded =
        static_cast<std::size_t>(round_up(size == 0 ? 1 : size, kIoAlignment));
    void* memory = std::aligned_alloc(kIoAlignment, rounded);
    if (memory == nullptr) {
      return failure(ErrorCode::no_memory, "cannot allocate a buffer");
    }
    return Buffer(static_cast<std::byte*>(memory), size);
  }
  static Result<Buffer> allocate_zeroed(std::size_t size) noexcept {
    Result<Buffer> buffer = allocate(size);
    if (buffer) {
      zero_bytes(buffer->bytes());
    }
    return buffer;
  }

  [[nodiscard]] Bytes bytes() noexcept { return {memory_.get(), size_}; }
  [[nodiscard]] ConstBytes bytes() const noexcept { return {memory_.get(), size_}; }
  [[nodiscard]] std::byte* data() noexcept { return memory_.get(); }
  [[nodiscard]] const std::byte* data() const noexcept { return memory_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  Buffer(std::byte* memory, std::size_t size) noexcept : memory_(memory), size_(size) {}

  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_ = 0;
};

}  // namespace varve
