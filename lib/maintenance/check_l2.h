// Cutting an L2 table into runs of neighbouring clusters, in loops that look at each entry once.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/units.h"
#include "format/geometry.h"
#include "format/header.h"
#include "format/l2_entry.h"
#include "meta/cluster_store.h"

namespace varve {

class L2Scan {
 public:
  explicit L2Scan(const Header& header) noexcept
      : geometry_(header.geometry),
        // Flags and bits that no entry of an ordinary run has.
        unusual_(L2Entry::kCompressed | L2Entry::kReserved |
                 (header.version < 3 || geometry_.extended_l2 ? L2Entry::kZero : 0) |
                 (L2Entry::kOffsetMask & (geometry_.cluster_bytes() - 1))),
        has_data_file_(header.has_data_file()) {}

  // Calls sink.run(index, run, raw) for entries [index, index + run.count) that obey every rule,
  // have a host cluster in the image file and carry the same flags, `raw` being the first of them;
  // and sink.single(index, entry) for every other entry that is not plainly unallocated or zero.
  template <class Sink>
  void scan(ConstBytes table, Sink& sink) const {
    if (is_all_zero(table)) {
      return;
    }
    for (std::uint64_t index = 0; index < geometry_.l2_entries();) {
      const L2Entry entry = L2Entry::load(geometry_, table, index);
      if (is_nothing(entry)) {
        ++index;
      } else if (is_usual(entry)) {
        const std::uint64_t count = run_length(table, index, entry);
        sink.run(index, ClusterRun{geometry_.cluster_of(entry.host()), count}, entry.raw());
        index += count;
      } else {
        sink.single(index, entry);
        ++index;
      }
    }
  }

 private:
  [[nodiscard]] bool is_nothing(L2Entry entry) const noexcept {
    return (entry.raw() & ~(L2Entry::kZero & ~unusual_)) == 0 &&
           (entry.bitmap() & kAllocatedBits) == 0;
  }
  [[nodiscard]] bool is_usual(L2Entry entry) const noexcept {
    return (entry.raw() & unusual_) == 0 && (entry.raw() & L2Entry::kOffsetMask) != 0 &&
           !has_data_file_ && (entry.bitmap() & (entry.bitmap() >> 32)) == 0;
  }
  // How many entries from `index` on continue it, itself included.
  [[nodiscard]] std::uint64_t run_length(ConstBytes table, std::uint64_t index,
                                         L2Entry entry) const noexcept {
    const std::uint64_t limit = geometry_.l2_entries() - index;
    std::uint64_t raw = entry.raw();
    std::uint64_t count = 1;
    for (; count < limit; ++count) {
      const L2Entry next = L2Entry::load(geometry_, table, index + count);
      raw += geometry_.cluster_bytes();
      if (next.raw() != raw || (raw & unusual_) != 0 ||
          (next.bitmap() & (next.bitmap() >> 32)) != 0) {
        break;
      }
    }
    return count;
  }

  static constexpr std::uint64_t kAllocatedBits = 0xffff'ffff;

  Geometry geometry_;
  std::uint64_t unusual_;
  bool has_data_file_;
};

}  // namespace varve
