// Copying out all that can be read of a qcow2 image which cannot be opened, or repaired, as it
// should be. Nothing but the header, the L1 and the L2 tables is looked at, and of these nothing is
// believed further than it must be: refcounts, snapshots, flags and stray bits play no part, and
// header fields that are lost may be given. What cannot be read becomes zeros and is told.
//
// Threads: both images belong to the calling thread's engine; the calls block and run it. The
// source is only read. Cost: the mapping tables once, each in memory for as long as it is copied
// from.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <varve/corruption.h>
#include <varve/image.h>
#include <varve/result.h>
#include <varve/storage.h>

namespace varve {

// What is believed instead of the header's own words.
struct RescueOptions {
  std::optional<std::uint32_t> cluster_bytes;  // A power of two from 512 to 2 MiB.
  std::optional<std::uint64_t> size_bytes;     // Of the disk.
  std::optional<std::uint64_t> l1_offset;      // Of a snapshot's L1 table, to rescue the snapshot.
  std::optional<std::uint32_t> l1_entries;
  std::optional<bool> extended_l2;
  std::optional<Compression> compression;
  std::size_t ranges_max = 100'000;  // Further ones are counted, not kept.
  // Set from a signal handler or another thread: the call ends soon and answers `cancelled`.
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;
};

// A range of the disk that is zeros in the copy because its content is lost.
struct LostRange {
  std::uint64_t offset = 0;  // Bytes, on the disk.
  std::uint64_t length = 0;
  Corruption reason = Corruption::none;  // none: it could not be read.
  std::uint64_t source_offset = 0;       // Where it, or its table, stands (or should) in the file.
};

struct RescueReport {
  std::vector<LostRange> lost;  // In the disk's order; neighbours with one reason are one range.
  std::uint64_t lost_ranges = 0;
  std::uint64_t lost_bytes = 0;
  std::uint64_t copied_bytes = 0;       // Data found; zeros are not counted.
  std::uint64_t unallocated_bytes = 0;  // Of the backing file, where there is one.
};

class Rescue {
 public:
  // Looks at the header. Errors: invalid_argument where a field is needed that neither the header
  // nor an option tells (`what` names the option), unsupported (encrypted; data in an external
  // file), no_memory, io (no sector of the header can be read and options do not replace it).
  [[nodiscard]] static Result<Rescue> open(std::unique_ptr<Storage> source,
                                           const RescueOptions& options) noexcept;
  Rescue(Rescue&&) noexcept;
  Rescue& operator=(Rescue&&) noexcept;
  ~Rescue();

  [[nodiscard]] std::uint64_t size() const noexcept;
  [[nodiscard]] std::uint32_t cluster_bytes() const noexcept;
  // As the header has it; empty: none. Not opened, and not part of the copy.
  [[nodiscard]] const std::string& backing_name() const noexcept;
  // Header fields that were not believed, one sentence each.
  [[nodiscard]] const std::vector<std::string>& notes() const noexcept;

  // Copies to a disk of at least size() bytes that reads as zeros. Errors: of writing to the target
  // (what is on it is then a part of the copy), cancelled, no_memory.
  [[nodiscard]] Result<RescueReport> copy_to(Image& target) noexcept;

 private:
  class Impl;
  explicit Rescue(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace varve
