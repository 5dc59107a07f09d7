// Loads that bench/compare measures, one per run of varve_load: what they are told and what they
// report. Threads: the engine's thread only.
#pragma once

#include <cstdint>
#include <string>

#include <varve/engine.h>
#include <varve/image.h>
#include <varve/storage.h>

namespace varve::bench {

struct LoadOptions {
  std::string path;
  std::string name;      // Of the snapshot.
  bool is_image = true;  // false: the file itself, through the same engine: the raw loop.
  bool direct = false;   // O_DIRECT.
  bool write = false;
  bool random_order = false;  // Otherwise every request is one step further, around the disk.
  std::uint64_t count = 10'000;
  std::uint64_t depth = 32;
  std::uint64_t bytes = 4096;
  std::uint64_t step = 4096;
  std::uint64_t seed = 1;
  std::uint64_t guest_depth = 0;  // Requests in flight beside a snapshot operation.
  bool keep_tables = true;        // See run_cut.
};

// What a guest saw in a stretch of time.
struct GuestReport {
  double seconds = 0;
  std::uint64_t requests = 0;
  double longest_gap_seconds = 0;  // Between two completions.
};

struct LoadReport {
  std::uint64_t requests = 0;
  double seconds = 0;         // Of the requests, or of the snapshot operation.
  double flush_seconds = 0;   // Of the flush that follows writes.
  double pause_seconds = 0;   // Create: inside freeze; apply: while requests were held.
  double usable_seconds = 0;  // Until frozen, serving the new disk, or no longer listed.
  GuestReport beside;         // The guest during a snapshot operation ...
  GuestReport undisturbed;    // ... and after it.
};

class Stopwatch {
 public:
  Stopwatch() noexcept;
  [[nodiscard]] double seconds() const noexcept;

 private:
  std::int64_t started_nanoseconds_;
};

// Where the next request goes.
class Places {
 public:
  // REQUIRES: options.bytes <= disk_bytes.
  Places(const LoadOptions& options, std::uint64_t disk_bytes) noexcept;
  [[nodiscard]] std::uint64_t next() noexcept;

 private:
  std::uint64_t places_;  // Requests that fit.
  std::uint64_t bytes_;
  std::uint64_t step_;
  std::uint64_t disk_bytes_;
  std::uint64_t offset_ = 0;
  std::uint64_t random_;
  bool random_order_;
};

// The image behind options.path, open for what the load does with it.
[[nodiscard]] Result<std::unique_ptr<Image>> open_image(Engine& engine, const LoadOptions& options,
                                                        bool writable) noexcept;
[[nodiscard]] Result<std::unique_ptr<Storage>> open_storage(Engine& engine,
                                                            const LoadOptions& options,
                                                            bool writable);

// Requests of one kind, `depth` in flight, on an image or on the file itself.
Result<LoadReport> run_requests(Engine& engine, const LoadOptions& options);

// Writes every byte of the disk once, so that every cluster and page exists.
Result<LoadReport> run_fill(Engine& engine, const LoadOptions& options);

// What copy on write costs at least: reads 64 KiB in the first half of a file, writes it in the
// second half.
Result<LoadReport> run_copy(Engine& engine, const LoadOptions& options);

enum class SnapshotWork : std::uint8_t { create, apply, remove };
Result<LoadReport> run_snapshot(Engine& engine, const LoadOptions& options, SnapshotWork work);

// Creates a snapshot and ends the process just before the header would name it, as a crash would.
// With `keep_tables` off the L2 tables written meanwhile are lost, as a power cut may lose them:
// then every count is one too high and every COPIED flag contradicts it. Returns on failure only.
Result<LoadReport> run_cut(Engine& engine, const LoadOptions& options);

}  // namespace varve::bench
