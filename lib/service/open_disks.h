// The images of the systems one piece of work uses: those the embedder holds open, and those opened
// from their paths for the time of the work.
//
// Threads: the work thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "service/registry.h"

namespace varve {

struct OpenDisk {
  System* system = nullptr;
  std::size_t index = 0;  // Of the system's disks.
  Image* image = nullptr;
  [[nodiscard]] Disk& disk() const noexcept { return system->disks[index]; }
};

class OpenDisks {
 public:
  // Asked while a lock is held by others: waits a little; false: the time is over.
  using Patience = std::function<bool()>;

  // Opens every disk of the system that can have snapshots; in the order of the disks. Errors:
  // timed_out (a lock was not obtained), unsupported (a path and no engine), those of Image::open.
  Result<void> open(System& system, Engine* engine, const Patience& patience);
  // For looking only: read-only disks too, beside a writer where there is one.
  Result<void> open_to_look(System& system, Engine* engine);
  // Closes what was opened here; the first error.
  Result<void> close() noexcept;

  [[nodiscard]] const std::vector<OpenDisk>& all() const noexcept { return disks_; }
  [[nodiscard]] std::vector<OpenDisk> of(const System& system) const;
  [[nodiscard]] std::vector<Image*> images() const;
  [[nodiscard]] std::vector<Image*> images_of(const System& system) const;

 private:
  Result<void> add_path(System& system, std::size_t index, Engine* engine,
                        const OpenOptions& options);

  std::vector<OpenDisk> disks_;
  std::vector<std::unique_ptr<Image>> owned_;
};

}  // namespace varve
