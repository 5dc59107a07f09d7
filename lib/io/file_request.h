// What file storages keep in a request's private words.
#pragma once

#include <cstdint>

#include <varve/storage.h>

#include "io/system_call.h"

namespace varve {

// How an operation is carried out; an operation may begin with one and fall back to another.
enum class FileStep : std::uint8_t {
  transfer,        // Reads and writes, and zeros written as data.
  sync,            // fdatasync.
  zero_range,      // The file system zeroes the range.
  punch_hole,      // The file system gives the range back.
  discard_device,  // The device is told, which may leave the range undefined.
  allocate,        // Space is reserved.
  truncate,        // The size is set.
};

class FileRequest {
 public:
  explicit FileRequest(StorageRequest& request) noexcept : internal_(request.internal) {}

  // Where the request's system calls come from and go to.
  [[nodiscard]] SystemFile& file() const noexcept {
    return *static_cast<SystemFile*>(internal_.implementation);
  }
  void set_file(SystemFile* file) noexcept { internal_.implementation = file; }

  // The range other writes must not meet; see WriteTracker.
  [[nodiscard]] std::uint64_t range_begin() const noexcept { return internal_.words[0]; }
  [[nodiscard]] std::uint64_t range_end() const noexcept { return internal_.words[1]; }
  void set_range(std::uint64_t begin, std::uint64_t end) noexcept {
    internal_.words[0] = begin;
    internal_.words[1] = end;
  }

  [[nodiscard]] std::int64_t system_result() const noexcept {
    return static_cast<std::int64_t>(internal_.words[2]);
  }
  void set_system_result(std::int64_t result) noexcept {
    internal_.words[2] = static_cast<std::uint64_t>(result);
  }

  [[nodiscard]] FileStep step() const noexcept {
    return static_cast<FileStep>(internal_.words[3] & kStepMask);
  }
  void set_step(FileStep step) noexcept {
    internal_.words[3] = (internal_.words[3] & ~kStepMask) | static_cast<std::uint64_t>(step);
  }

  enum Flag : std::uint64_t {
    tracked = 1U << 8,    // In the write tracker's lists.
    exclusive = 1U << 9,  // Reads, changes and writes back device blocks.
    bounced = 1U << 10,   // Carried out by a Bounce; the implementation pointer is that.
    inner = 1U << 11,     // Issued by a Bounce; `owner` is that.
  };
  [[nodiscard]] bool is(Flag flag) const noexcept { return (internal_.words[3] & flag) != 0; }
  void set(Flag flag) noexcept { internal_.words[3] |= flag; }
  void clear(Flag flag) noexcept { internal_.words[3] &= ~static_cast<std::uint64_t>(flag); }

  void reset(SystemFile* file, FileStep step) noexcept {
    internal_.done_bytes = 0;
    internal_.words[3] = static_cast<std::uint64_t>(step);
    set_file(file);
  }

 private:
  static constexpr std::uint64_t kStepMask = 0xff;
  StorageRequest::Private& internal_;
};

}  // namespace varve
