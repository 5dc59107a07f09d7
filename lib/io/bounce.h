// One request that a direct file cannot take as it is: carried out in pieces through an aligned
// buffer. A write reads the device blocks it covers in part first; where it ends past the end of
// the file and in the middle of a block, the file is cut to its exact size afterwards.
//
// Threads: the engine's. A Bounce owns itself from make() until its request is finished.
#pragma once

#include <cstdint>

#include <varve/storage.h>

#include "base/buffer.h"

namespace varve {

class FileStorage;

class Bounce {
 public:
  // For make().
  Bounce(FileStorage& storage, StorageRequest& request, Buffer buffer) noexcept;

  // Null when there is no memory.
  [[nodiscard]] static Bounce* make(FileStorage& storage, StorageRequest& request) noexcept;

  // Nothing else changes the blocks from here until the request is finished.
  void begin() noexcept;

  // The aligned request issued last has ended.
  void inner_finished(const Result<void>& result) noexcept;

  [[nodiscard]] StorageRequest& request() const noexcept { return request_; }

 private:
  enum class Step : std::uint8_t { read, read_head, read_tail, write, trim };

  void begin_piece() noexcept;
  void after_head() noexcept;
  void write_piece() noexcept;
  void end_piece() noexcept;
  void finish(const Result<void>& result) noexcept;
  void issue(Step step, StorageOperation operation, std::uint64_t offset, std::uint64_t length,
             std::uint64_t buffer_offset) noexcept;

  FileStorage& storage_;
  StorageRequest& request_;
  Buffer buffer_;
  StorageRequest inner_;
  IoVector vector_;
  Step step_ = Step::read;
  const std::uint64_t total_;
  std::uint64_t position_ = 0;     // Bytes of the request done.
  std::uint64_t piece_begin_ = 0;  // The piece in the file, whole blocks.
  std::uint64_t piece_end_ = 0;
  std::uint64_t piece_bytes_ = 0;  // Of the request, in this piece.
  std::uint64_t final_size_ = 0;   // Of the file, once a write has ended.
};

}  // namespace varve
