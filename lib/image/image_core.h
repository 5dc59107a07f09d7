// What an open image is behind the public Image: one class per format.
// Threads: the engine's thread only.
#pragma once

#include <cstdint>
#include <memory>

#include <varve/image.h>

#include "image/intake.h"
#include "image/latency_meter.h"

namespace varve {

class ImageCore {
 public:
  virtual ~ImageCore() = default;

  virtual void submit(BlockRequest& request) noexcept = 0;
  virtual Result<void> close() noexcept = 0;
  virtual Result<void> grow(std::uint64_t new_size, Preallocation preallocation) noexcept = 0;
  // What this layer alone says; depth and the chain are added above.
  [[nodiscard]] virtual Result<BlockStatus> layer_status(std::uint64_t offset,
                                                         std::uint64_t length) noexcept = 0;

  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  [[nodiscard]] virtual ImageFacts facts() const = 0;
  [[nodiscard]] virtual Storage& storage() const noexcept = 0;
  [[nodiscard]] virtual const Image::Counters& counters() const noexcept = 0;

  // Whether requests are in flight or wait for those that are.
  [[nodiscard]] virtual bool has_requests() const noexcept = 0;
  // Adds what the format knows to the counters and latencies.
  virtual void add_statistics(ImageStatistics& statistics) const noexcept { (void)statistics; }

  // Whether release() may be called. Errors: busy, unsupported.
  [[nodiscard]] virtual Result<void> check_release() const noexcept;
  // Makes everything durable and drops the locks; nothing is read or written until reacquire().
  // REQUIRES: no requests. Errors: those of flush; nothing is dropped then.
  virtual Result<void> release() noexcept;
  // Takes the locks and reads everything anew. Errors: see Image::reacquire; still released then.
  virtual Result<void> reacquire() noexcept;

  // How the file was locked when it was opened.
  struct LockMode {
    bool is_wanted = false;
    bool for_writing = false;
    bool share_everything = false;
  };
  LockMode lock_mode;
  Intake intake;
  LatencyMeter latency;

  // What unallocated parts show: the next layer, or null.
  [[nodiscard]] virtual Image* below() const noexcept { return backing.get(); }

  // The next layer where it is owned here.
  std::unique_ptr<Image> backing;
};

// Refuses what no format can do: a range beyond the disk, vectors that do not add up. Nothing
// otherwise.
[[nodiscard]] Result<void> validate_request(const BlockRequest& request, std::uint64_t disk_size,
                                            bool is_writable) noexcept;

}  // namespace varve
