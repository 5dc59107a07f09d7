// Image: an open disk image, qcow2 or raw, with its backing chain.
//
// Threads: an image belongs to the thread of its engine. Blocking calls run that engine until they
// are done and must not be made from a completion. Durability: a completed write is visible to
// later reads; it is durable once a flush submitted after its completion has completed. A failed
// flush poisons the image: every later write and flush answers `poisoned`. Memory: requests own
// nothing; buffers belong to the caller until completion. Limits are set in OpenOptions and nothing
// grows with the size of the disk except eight bytes per L1 and refcount-table entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <varve/budget.h>
#include <varve/engine.h>
#include <varve/result.h>
#include <varve/storage.h>
#include <varve/types.h>

namespace varve {

class ImageCore;
struct ImageStatistics;

enum class Compression : std::uint8_t { zlib = 0, zstd = 1 };

enum class DiscardMode : std::uint8_t {
  ignore,  // Freed clusters are reused; the file system is not told.
  unmap,   // Freed clusters are punched out of the file before they are reused.
};

// Opens the files an image names, so that the library opens no path on its own. `name` is the
// literal name from the image or the command line, already resolved against the folder of
// `referrer` where it is relative.
class FileOpener {
 public:
  virtual ~FileOpener() = default;
  virtual Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                                const FileOptions& options) = 0;
};

struct OpenOptions {
  Format format = Format::qcow2;
  bool writable = false;
  bool lock = true;          // Take QEMU's byte-range locks.
  bool force_share = false;  // Read beside a writer (-U); read-only only.
  FileOptions file;          // `direct` and `fsync`; the rest is set by the library.
  DiscardMode discard = DiscardMode::ignore;
  bool open_backing = true;    // false: unallocated clusters read as zeros, no file is opened.
  bool open_data_file = true;  // false: metadata only; guest I/O answers unsupported.
  bool allow_corrupt = false;  // Open for writing although the corrupt bit is set (repair only).
  std::optional<std::string> backing_override;  // Use this name instead of the header's ...
  std::optional<Format> backing_format;  // ... or supply the format the header does not name.
  FileOpener* opener = nullptr;          // null: open paths directly.
  unsigned chain_depth_max = 200;
  // The image comes from somebody who is not trusted: it is only read, no other file is opened, and
  // one that names another file, or whose header other programs may read differently, is refused.
  // Unless allow_corrupt (for check), every table is looked at first: all of them, and what they
  // refer to, must lie inside the file and apart from each other. Costs no more than `budget`, or
  // Budget::standard().
  bool untrusted = false;
  std::optional<Budget> budget;  // Of reading, for each file of the chain; none: unlimited.
  std::size_t l2_cache_bytes = 32u << 20;       // At least two tables are kept whatever this says.
  std::size_t refcount_cache_bytes = 8u << 20;  // At least two blocks.
  unsigned operations_max = 128;  // Operations in flight; further requests wait in a queue.
  bool measure_latency = false;   // Two looks at the clock per request (statistics.h).
};

enum class BlockOperation : std::uint8_t {
  read,
  write,
  write_zeroes,      // `may_unmap`: clusters may be given back.
  write_compressed,  // Whole clusters (the disk's last may be shorter); qcow2 without data file
                     // only.
  discard,  // A hint: whole clusters inside the range are dropped and read as zeros (v3) or as
            // before (v2 with a backing file); the rest is left alone.
  flush,
};

// One guest request, owned by the caller until `complete` runs. Offsets and lengths are bytes, any
// alignment. Completion runs from the engine's poll or wait, never inside submit. Errors:
// out_of_range (beyond the disk), read_only, no_space, no_memory, corrupt, io, poisoned,
// unsupported, invalid_argument. After a failed write every sector of the range is old or new.
struct BlockRequest {
  BlockOperation operation = BlockOperation::read;
  bool may_unmap = false;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;           // Bytes; for read and write the sum of the vectors.
  const IoVector* vectors = nullptr;  // The array and the memory stay valid until completion.
  std::uint32_t vector_count = 0;
  void (*complete)(BlockRequest& request, const Result<void>& result) = nullptr;
  void* owner = nullptr;  // Free for the caller's use.

  // The library's, from submit until completion.
  struct Private {
    BlockRequest* next = nullptr;
    std::uint64_t done_bytes = 0;
    std::uint32_t pending = 0;
    std::uint64_t started_nanoseconds = 0;
    IoVector packed;  // write_compressed: the one cluster's stream, made already; or empty.
    Result<void> result;
  } internal;
};

// What a range of the disk is made of.
struct BlockStatus {
  std::uint64_t length = 0;  // Bytes from the queried offset for which this holds.
  bool data = false;         // Reading needs I/O somewhere in the chain.
  bool zero = false;         // Reads as zeros.
  bool compressed = false;
  bool allocated = false;  // This layer (at `depth`) decides the content.
  bool has_host_offset = false;
  std::uint64_t host_offset = 0;  // In the file of that layer (its data file where it has one).
  unsigned depth = 0;             // 0: the active layer; n: the n-th backing file.
};

enum class Preallocation : std::uint8_t { off, metadata, falloc, full };

// Facts of an open image; see qcow2's header for the meaning of each.
struct ImageFacts {
  Format format = Format::raw;
  std::uint64_t virtual_size = 0;
  std::uint64_t file_size = 0;
  std::uint32_t version = 0;
  std::uint32_t cluster_bytes = 0;
  std::uint32_t refcount_bits = 0;
  Compression compression = Compression::zlib;
  bool lazy_refcounts = false;
  bool extended_l2 = false;
  bool data_file_raw = false;
  bool dirty = false;
  bool corrupt = false;
  std::string backing_name;    // As the header spells it; empty: none.
  std::string backing_format;  // As the header spells it; empty: not named.
  std::string data_file_name;  // As the header spells it; empty: none.
  std::uint32_t snapshot_count = 0;
};

class Image {
 public:
  // Opens the image in `path`, its data file and its backing chain. Blocking.
  // A dirty qcow2 image opened for writing is settled first (refcounts recounted), one opened for
  // reading is read as it is: only its counts may be wrong. A corrupt one is refused for writing.
  // Errors: not_found, busy (locked by another program), corrupt, unsupported (a feature, named in
  // `what`), read_only, io, no_memory, invalid_argument (a backing file without a format),
  // over_budget.
  [[nodiscard]] static Result<std::unique_ptr<Image>> open(Engine& engine, const std::string& path,
                                                           const OpenOptions& options);
  // The same over a storage the caller made; it is owned by the image from here on, also on
  // failure. `directory` resolves relative names found in the image; empty: such names are refused.
  [[nodiscard]] static Result<std::unique_ptr<Image>> open(std::unique_ptr<Storage> storage,
                                                           const std::string& directory,
                                                           const OpenOptions& options);
  // REQUIRES: nothing in flight. An image not closed is closed as by a crash: flushed data is safe,
  // and the errors close() would have told are lost. Call close().
  ~Image();
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  // Drains, flushes, gives back what was freed, drops the locks. Every error is told; the image is
  // closed whatever the result. Blocking.
  Result<void> close() noexcept;

  [[nodiscard]] std::uint64_t size() const noexcept;  // Virtual disk size in bytes.
  [[nodiscard]] ImageFacts facts() const;
  [[nodiscard]] Engine& engine() const noexcept;
  [[nodiscard]] const char* name() const noexcept;
  // The next image of the chain, or null.
  [[nodiscard]] Image* backing() const noexcept;

  // --- Pause, drain, release. Blocking calls (read, write, grow ...) answer `busy` on an image
  // that is paused or released; requests wait.

  // Requests submitted from now on wait until resume(); those in flight go on. Snapshot operations
  // do not mind.
  void pause() noexcept;
  // What waits goes on, once the image is not released either.
  void resume() noexcept;
  [[nodiscard]] bool is_paused() const noexcept;
  // Runs the engine until no request is in flight; those that wait for resume() do not count.
  // Blocking. Must not be made from a completion.
  void drain() noexcept;

  // Hands the image over to somebody else (the target of a migration): requests wait, what is in
  // flight is drained, everything is flushed and given back as by close(), and the locks of the
  // whole chain are dropped. Until reacquire() nothing touches the files; they stay open. Blocking.
  // Durable. Errors: busy (operations, state writers, or snapshots that are open; is released
  // already), and those of flush: the image is then not released.
  Result<void> release() noexcept;
  // Takes the image back, whatever was done to it meanwhile, and lets requests go on: locks, reads
  // and checks everything anew, settles a dirty image. Blocking. Errors: busy (somebody has it),
  // invalid_argument (not released), unsupported (it is another image now: cluster size,
  // compression or data file differ), and those of open(); the image is then still released.
  Result<void> reacquire() noexcept;
  [[nodiscard]] bool is_released() const noexcept;

  // Starts a guest request. No heap allocation for reads and in-place writes of allocated clusters.
  void submit(BlockRequest& request) noexcept;

  // Blocking forms: submit, then run the engine until done.
  Result<void> read(std::uint64_t offset, std::span<std::byte> target) noexcept;
  Result<void> write(std::uint64_t offset, std::span<const std::byte> source) noexcept;
  Result<void> write_zeroes(std::uint64_t offset, std::uint64_t length,
                            bool may_unmap = false) noexcept;
  Result<void> write_compressed(std::uint64_t offset, std::span<const std::byte> source) noexcept;
  Result<void> discard(std::uint64_t offset, std::uint64_t length) noexcept;
  Result<void> flush() noexcept;

  // Makes the disk larger. Blocking; durable on return. Snapshot operations go on beside it: a
  // snapshot that is frozen has the size its disk had then; only while an apply switches does this
  // wait. Errors: unsupported (shrinking), out_of_range (beyond the format's limit), no_space, and
  // those of write.
  Result<void> grow(std::uint64_t new_size,
                    Preallocation preallocation = Preallocation::off) noexcept;

  // What the range starting at `offset` is made of; `length` bounds the answer. With `whole_chain`
  // unallocated ranges are looked up in the backing images. Blocking (may load tables). REQUIRES:
  // offset < size().
  [[nodiscard]] Result<BlockStatus> status(std::uint64_t offset, std::uint64_t length,
                                           bool whole_chain = true) noexcept;

  // Numbers that tests and monitoring read.
  struct Counters {
    std::uint64_t reads[kIoTagCount] = {};
    std::uint64_t writes[kIoTagCount] = {};
    std::uint64_t flushes = 0;                  // Of the storage, whoever asked for them.
    std::uint64_t refcount_growth_flushes = 0;  // Those of them by refcount growth.
  };
  [[nodiscard]] const Counters& counters() const noexcept;
  // The same and more, as of now: see statistics.h.
  [[nodiscard]] ImageStatistics statistics() const noexcept;

  // For the floors above (snapshot, maintenance).
  [[nodiscard]] ImageCore& core() const noexcept { return *core_; }
  explicit Image(std::unique_ptr<ImageCore> core) noexcept;

 private:
  std::unique_ptr<ImageCore> core_;
};

// What a file holds, judged by its first bytes. A report for people: nothing in the library opens
// by it.
struct ProbeReport {
  std::string format;  // "qcow2", or another format's name that QEMU would detect, or "raw".
  bool magic_found = false;
};
[[nodiscard]] Result<ProbeReport> probe(Storage& storage) noexcept;

}  // namespace varve
