// Who wants to know which clusters of the file a check has met no reference to, and which it has
// met where the disk has ended.
#pragma once

#include <cstdint>

#include <varve/result.h>

namespace varve {

enum class ClusterUse : std::uint8_t {
  referenced,
  counted,  // Nobody refers to it, but its count says so: a leak.
  free,     // As far as its count is known.
};

class CheckObserver {
 public:
  class Window {
   public:
    virtual ~Window() = default;
    // REQUIRES: the cluster lies in the window.
    [[nodiscard]] virtual ClusterUse use(std::uint64_t cluster) const noexcept = 0;
  };

  virtual ~CheckObserver() = default;
  // A check begins, or begins anew with larger counts.
  virtual void begin() noexcept = 0;
  // `clusters` entries of the disk's own tables refer to something although they lie behind its
  // end; `where` is the first of them.
  virtual void beyond_disk(std::uint64_t clusters, std::uint64_t where) noexcept = 0;
  // Clusters [first, end) have been counted; windows come in order. `end_in_use` is one past the
  // last cluster met so far that is referred to or counted. Errors end the check.
  [[nodiscard]] virtual Result<void> counted(std::uint64_t first, std::uint64_t end,
                                             std::uint64_t end_in_use, const Window& window) = 0;
};

}  // namespace varve
