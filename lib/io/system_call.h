// One call to the operating system on an open file, as a value: planned by the file storage on the
// engine's thread, carried out by io_uring or by a thread of the pool.
#pragma once

#include <cstdint>

#include <varve/storage.h>

struct iovec;

namespace varve {

struct SystemCall {
  enum class Kind : std::uint8_t {
    read,
    write,
    sync_data,       // fdatasync
    allocate,        // fallocate with `mode`
    truncate,        // ftruncate to `offset`
    discard_device,  // The block device's discard ioctl.
  };
  Kind kind = Kind::read;
  int mode = 0;                       // fallocate's.
  std::uint64_t offset = 0;           // Bytes.
  std::uint64_t length = 0;           // Bytes, for the kinds without memory.
  IoVector single;                    // Read and write: the memory when `vector_count` is 0.
  const IoVector* vectors = nullptr;  // Read and write: else these.
  std::uint32_t vector_count = 0;
};

// The file as the queues see it.
class SystemFile {
 public:
  // What the request needs next. Called on any thread; reads only what does not change meanwhile.
  [[nodiscard]] virtual SystemCall next_call(const StorageRequest& request) const noexcept = 0;

  // That call's result, or -errno. Called on the engine's thread; starts the next call or posts the
  // request.
  virtual void call_finished(StorageRequest& request, std::int64_t result) noexcept = 0;

  int descriptor = -1;
  int registered_slot = -1;  // In the ring's table of files; -1: none.

 protected:
  ~SystemFile() = default;
};

// Carries out the call and waits for it. The call's result, or -errno.
[[nodiscard]] std::int64_t run_system_call(int descriptor, const SystemCall& call) noexcept;

// The vectors as the system's own type: the layouts are the same.
[[nodiscard]] const iovec* system_vectors(const IoVector* vectors) noexcept;

}  // namespace varve
