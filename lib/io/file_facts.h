// What is known about an open file: found out once, when it is opened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <sys/types.h>
#include <varve/result.h>
#include <varve/storage.h>

namespace varve {

// A file descriptor, owned.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int value) noexcept : value_(value) {}
  FileDescriptor(FileDescriptor&& other) noexcept : value_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~FileDescriptor();

  [[nodiscard]] int get() const noexcept { return value_; }
  int release() noexcept { return std::exchange(value_, -1); }

 private:
  int value_ = -1;
};

struct FileFacts {
  FileDescriptor descriptor;
  std::string name;
  std::uint64_t size = 0;
  StorageCapabilities capabilities;
  bool block_device = false;
  bool direct = false;  // O_DIRECT.
  bool sync = true;     // FileOptions::fsync.
  // What is discarded and zeroed in multiples of: a device's sectors, a direct file's blocks.
  std::uint32_t sector_bytes = 1;
  dev_t device = 0;  // With `inode` names the file; for a block device its number.
  ino_t inode = 0;
};

// As open_file. Blocking.
[[nodiscard]] Result<FileFacts> open_with_facts(const std::string& path,
                                                const FileOptions& options);

// As adopt_file, on a duplicate of the descriptor.
[[nodiscard]] Result<FileFacts> adopt_with_facts(int descriptor, const FileOptions& options);

// What a regular file takes on its device; nothing when the system does not tell.
[[nodiscard]] std::optional<std::uint64_t> bytes_on_device(int descriptor) noexcept;

// The size of a regular file now; nothing when the system does not tell.
[[nodiscard]] std::optional<std::uint64_t> current_size(int descriptor) noexcept;

}  // namespace varve
