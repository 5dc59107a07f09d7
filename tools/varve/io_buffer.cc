#include "io_buffer.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <new>
#include <system_error>

namespace varve::tool {

namespace {

constexpr std::size_t kAlignment = 4096;   // Enough for O_DIRECT on every device.
constexpr std::size_t kMisalignment = 16;  // What -m adds.

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { (void)std::fclose(file); }
};

std::string file_words(const std::string& name, int os_errno) {
  return name + ": " + std::generic_category().message(os_errno);
}

}  // namespace

IoBuffer::IoBuffer(std::size_t size, bool misaligned) : size_(size) {
  const std::size_t shift = misaligned ? kMisalignment : 0;
  const std::size_t rounded = (size + shift + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, std::max(rounded, kAlignment));
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  memory_.reset(static_cast<std::byte*>(memory));
  data_ = memory_.get() + shift;
}

void IoBuffer::fill(unsigned char pattern) const {
  std::fill_n(data_, size_, static_cast<std::byte>(pattern));
}

std::optional<std::string> IoBuffer::fill_from_file(const std::string& name) const {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(name.c_str(), "r"));
  if (file == nullptr) {
    return file_words(name, errno);
  }
  const std::size_t found = std::fread(data_, 1, size_, file.get());
  if (std::ferror(file.get()) != 0) {
    return file_words(name, errno);
  }
  if (found == 0) {
    return name + ": file is empty";
  }
  for (std::size_t position = found; position < size_;) {
    const std::size_t part = std::min(found, size_ - position);
    std::copy_n(data_, part, data_ + position);
    position += part;
  }
  return std::nullopt;
}

bool matches_pattern(std::span<const std::byte> data, unsigned char pattern) {
  return std::all_of(data.begin(), data.end(),
                     [pattern](std::byte b) { return b == static_cast<std::byte>(pattern); });
}

}  // namespace varve::tool
