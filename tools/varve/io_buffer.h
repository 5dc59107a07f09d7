// Memory for one request: aligned for O_DIRECT unless misalignment is asked for, filled with a
// pattern or a file's bytes.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace varve::tool {

class IoBuffer {
 public:
  // Memory of undefined content; throws std::bad_alloc.
  IoBuffer(std::size_t size, bool misaligned);
  IoBuffer() = default;

  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }
  void fill(unsigned char pattern) const;

  // Repeats the first size() bytes of the file `name`. A message on failure, as qemu-io's.
  [[nodiscard]] std::optional<std::string> fill_from_file(const std::string& name) const;

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  std::unique_ptr<std::byte[], Free> memory_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Whether all of `data` is `pattern`.
[[nodiscard]] bool matches_pattern(std::span<const std::byte> data, unsigned char pattern);

}  // namespace varve::tool
