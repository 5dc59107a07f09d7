// Diff: which bytes of a disk may differ between two snapshots, or a snapshot and now, and carrying
// them elsewhere as a stream.
//
// Tables are compared by pointer: where both disks show the same L2 table, or the same cluster,
// they are the same without a look at the data. So the cost follows the change: the L1 tables, and
// two L2 tables for each slot that differs.
//
// Threads: the image's. Blocking; guest I/O submitted from elsewhere in the loop goes on. Nothing
// is changed, except by import_stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <varve/image.h>
#include <varve/result.h>
#include <varve/uuid.h>

namespace varve {

struct DiffRange {
  std::uint64_t start = 0;  // Bytes of the disk.
  std::uint64_t length = 0;
  friend constexpr bool operator==(const DiffRange&, const DiffRange&) noexcept = default;
};

// One side of a diff: a snapshot, or the disk as it is now. A disk in use may change under the
// comparison: take a snapshot for a state that holds still.
struct DiffSide {
  static constexpr std::size_t kNow = ~std::size_t{0};
  std::size_t index = kNow;  // Into list_snapshots.
};

// Visits, in order, the ranges of `to`'s disk that may differ from `from`'s; neighbours are joined.
// Bytes beyond the end of `from`'s disk count as zeros. An error of the visitor ends the walk and
// is the result. A snapshot cannot be deleted meanwhile. Errors: not_found, busy (it is being
// deleted), unsupported (raw image, external data file), corrupt, io, no_memory.
Result<void> for_each_difference(
    Image& image, DiffSide from, DiffSide to,
    const std::function<Result<void>(const DiffRange&)>& visit) noexcept;
[[nodiscard]] Result<std::vector<DiffRange>> diff_snapshots(Image& image, DiffSide from,
                                                            DiffSide to) noexcept;

// Where an exported stream goes to and comes from.
class StreamSink {
 public:
  virtual ~StreamSink() = default;
  virtual Result<void> write(std::span<const std::byte> bytes) = 0;
};
class StreamSource {
 public:
  virtual ~StreamSource() = default;
  // Up to as many bytes as `target` has room for; 0 at the end only.
  virtual Result<std::size_t> read(std::span<std::byte> target) = 0;
};

// What a stream carries; the format is in docs/FORMAT.md.
struct StreamInfo {
  bool is_diff = false;         // Else a whole disk: it needs nothing below it.
  std::uint64_t disk_size = 0;  // Of the disk the stream leads to ...
  std::uint64_t base_size = 0;  // ... and, of a diff, of the disk it starts from.
  Uuid uuid;                    // Of the snapshots at both ends; null: the disk, or not known.
  Uuid base;
  std::uint64_t data_bytes = 0;  // Guest bytes carried as data ...
  std::uint64_t zero_bytes = 0;  // ... and as zeros.
};

// A whole disk: what its backing chain shows through it is part of it.
Result<StreamInfo> export_disk(Image& image, DiffSide side, StreamSink& sink) noexcept;
// What turns `from`'s disk into `to`'s.
Result<StreamInfo> export_diff(Image& image, DiffSide from, DiffSide to, StreamSink& sink) noexcept;

// Writes a stream into an image, which grows where it is too small; every chunk is verified before
// it is written. A diff is right only on a disk that equals its base: `accept`, where given, sees
// what the stream says of itself before anything is written, and refuses by an error. Flushed at
// the end. Errors: corrupt (stream_invalid: not a stream, or cut off; stream_sum_mismatch; `offset`
// counts bytes of the stream), out_of_range (the image is larger than the disk a whole stream
// carries), and those of write. After an error the image holds the chunks before the bad one.
Result<StreamInfo> import_stream(
    Image& image, StreamSource& source,
    const std::function<Result<void>(const StreamInfo&)>& accept = nullptr) noexcept;

}  // namespace varve
