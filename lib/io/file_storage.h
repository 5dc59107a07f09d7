// A regular file or block device, on io_uring or on the pool of threads: the engine decides, the
// storage plans system calls and accounts for their results.
//
// Threads: the engine's; next_call() also on the pool's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <varve/engine.h>
#include <varve/storage.h>

#include "io/engine_implementation.h"
#include "io/file_facts.h"
#include "io/file_request.h"
#include "io/image_lock.h"
#include "io/system_call.h"
#include "io/write_tracker.h"

namespace varve {

class Bounce;

class FileStorage final : public Storage, private SystemFile, private WriteTracker::Owner {
 public:
  // REQUIRES: attach() next; only if that succeeds is the storage used.
  FileStorage(Engine& engine, FileFacts facts) noexcept;
  [[nodiscard]] Result<void> attach() noexcept;
  ~FileStorage() override;

  const StorageCapabilities& capabilities() const noexcept override { return facts_.capabilities; }
  std::uint64_t size() const noexcept override { return size_; }
  std::uint64_t allocated_bytes() const noexcept override;
  void submit(StorageRequest& request) noexcept override;
  Engine& engine() const noexcept override { return engine_; }
  const char* name() const noexcept override { return facts_.name.c_str(); }
  bool is_same_file(const Storage& other) const noexcept override;
  Result<void> lock(bool for_writing, bool share_everything) noexcept override;
  void unlock() noexcept override;
  [[nodiscard]] Result<void> refresh() noexcept override;
  StorageExtent extent_at(std::uint64_t offset, std::uint64_t length) const noexcept override;

  // --- For Bounce ---

  [[nodiscard]] std::uint64_t block_bytes() const noexcept {
    return facts_.capabilities.request_alignment;
  }
  [[nodiscard]] bool grows() const noexcept { return !facts_.block_device; }
  // Starts an aligned request on a bounce's behalf.
  void start_inner(StorageRequest& inner, Bounce& bounce) noexcept;
  void finish(StorageRequest& request, const Result<void>& result) noexcept;

 private:
  // SystemFile
  SystemCall next_call(const StorageRequest& request) const noexcept override;
  void call_finished(StorageRequest& request, std::int64_t result) noexcept override;
  // WriteTracker::Owner
  WriteTracker::Range range_of(const StorageRequest& request) const noexcept override;
  void admitted(StorageRequest& request) noexcept override;

  [[nodiscard]] Result<void> check(const StorageRequest& request,
                                   std::uint64_t size_bytes) const noexcept;
  [[nodiscard]] bool is_nothing_to_do(const StorageRequest& request,
                                      std::uint64_t size_bytes) const noexcept;
  [[nodiscard]] FileStep first_step(const StorageRequest& request) const noexcept;
  [[nodiscard]] bool is_direct_fit(const StorageRequest& request) const noexcept;
  void route(StorageRequest& request) noexcept;
  void start(StorageRequest& request) noexcept { loop_.start(request); }
  [[nodiscard]] bool fall_back(StorageRequest& request, std::int64_t result) noexcept;
  void account(StorageRequest& request, const Result<void>& result) noexcept;

  Engine& engine_;
  Engine::Implementation& loop_;
  FileFacts facts_;
  std::uint64_t size_ = 0;
  ImageLocks held_locks_;
  WriteTracker tracker_;
  std::uint32_t in_flight_ = 0;
  bool zero_range_works_ = true;  // Until the file system says otherwise.
  bool punch_hole_works_ = true;
  bool flush_failed_ = false;
};

// As open_file, with device blocks of at least `block_bytes`: a stand-in for 4 KiB devices in
// tests.
[[nodiscard]] Result<std::unique_ptr<Storage>> open_file_with_blocks(Engine& engine,
                                                                     const std::string& path,
                                                                     const FileOptions& options,
                                                                     std::uint32_t block_bytes);

}  // namespace varve
