// Small vocabulary shared by every public header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace varve {

// What an I/O is for. Every request carries one: faults, traces, counters and tests speak in these
// words.
enum class IoTag : std::uint8_t {
  none,
  header,
  extension,
  l1,
  l2,
  refcount_table,
  refcount_block,
  snapshot_table,
  bitmap,
  guest_data,
  compressed_data,
  state,
  backing,
};
inline constexpr std::size_t kIoTagCount = 13;

// Stable word for a tag, as used in messages and statistics: "refcount_block". Static lifetime.
[[nodiscard]] const char* io_tag_name(IoTag tag) noexcept;

// One piece of caller memory. Same layout as POSIX `struct iovec`.
struct IoVector {
  std::byte* data = nullptr;
  std::size_t size = 0;
};

// The image formats the library reads and writes. It never guesses one: see probe.h for a report.
enum class Format : std::uint8_t { raw, qcow2 };

}  // namespace varve
