// The one writer of the header sector (O6). Callers hand in small patches; each is one write inside
// the first 512 bytes followed by a barrier, in the order they came. Threads: the engine's thread
// only.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include <varve/image.h>
#include <varve/storage.h>

#include "base/buffer.h"
#include "base/units.h"
#include "format/header.h"
#include "meta/waiter.h"

namespace varve {

// Bytes [begin, end) of the header that change together. Build with the header's own field offsets.
class HeaderPatch {
 public:
  template <class Integer>
  void set(std::uint64_t field_offset, Integer value) noexcept {
    store_be(Bytes(bytes_), field_offset, value);
    begin_ = std::min<std::uint64_t>(begin_, field_offset);
    end_ = std::max<std::uint64_t>(end_, field_offset + sizeof(Integer));
    for (std::uint64_t i = field_offset; i < field_offset + sizeof(Integer); ++i) {
      is_set_[i] = true;
    }
  }
  // Puts the patch over a header's bytes.
  void apply(Bytes header) const noexcept {
    for (std::uint64_t i = begin_; i < end_; ++i) {
      if (is_set_[i]) {
        header[i] = bytes_[i];
      }
    }
  }
  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return end_; }

 private:
  static constexpr std::uint64_t kFieldsEnd = sizeof(RawHeader);
  std::array<std::byte, kFieldsEnd> bytes_{};
  std::array<bool, kFieldsEnd> is_set_{};
  std::uint64_t begin_ = kFieldsEnd;
  std::uint64_t end_ = 0;
};

class HeaderWriter {
 public:
  HeaderWriter(Storage& file, Image::Counters& counters) noexcept
      : file_(&file), counters_(&counters) {}
  HeaderWriter(const HeaderWriter&) = delete;
  HeaderWriter& operator=(const HeaderWriter&) = delete;

  // `header` is the image's first 512 bytes. Errors: no_memory.
  Result<void> reserve(ConstBytes header) noexcept;

  // One change of the header; owned by the caller until `waiter` is resumed. On success it is
  // durable. On failure what the sector holds is unknown: the caller must poison the image.
  struct Update : ListNode<Update> {
    HeaderPatch patch;
    Waiter* waiter = nullptr;
  };
  void submit(Update& update) noexcept;
  [[nodiscard]] bool is_running() const noexcept { return is_running_; }

  [[nodiscard]] ConstBytes sector() const noexcept { return sector_.bytes(); }

 private:
  void start_next() noexcept;
  static void completed(StorageRequest& request, const Result<void>& result) noexcept;
  void finish(const Result<void>& result) noexcept;

  Storage* file_;
  Image::Counters* counters_;
  Buffer sector_;
  List<Update> queue_;
  bool is_running_ = false;
  StorageRequest request_;
  IoVector vector_;
};

}  // namespace varve
