#include "meta/table_places.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "base/assert.h"
#include "base/failure.h"

namespace varve {
namespace {

constexpr std::uint64_t kSlotsMin = 64;
constexpr std::uint64_t kKindMask = 7;

}  // namespace

TablePlaces::Kind TablePlaces::kind_of(IoTag tag) noexcept {
  switch (tag) {
    case IoTag::header:
    case IoTag::extension:
      return Kind::header;
    case IoTag::l1:
      return Kind::l1;
    case IoTag::l2:
      return Kind::l2;
    case IoTag::refcount_table:
    case IoTag::refcount_block:
      return Kind::refcounts;
    case IoTag::snapshot_table:
      return Kind::snapshot_table;
    case IoTag::bitmap:
      return Kind::bitmap;
    default:
      return Kind::none;
  }
}

Result<void> TablePlaces::reserve(std::uint64_t more) noexcept {
  // At most half of the slots are taken, so that an empty one is near everywhere.
  const std::uint64_t needed = std::max(kSlotsMin, std::bit_ceil(2 * (used_ + more)));
  if (needed <= slots_.size()) {
    return {};
  }
  try {
    std::vector<std::uint64_t> old(needed, 0);
    std::swap(old, slots_);
    shift_ = 64 - static_cast<unsigned>(std::bit_width(needed - 1));
    for (const std::uint64_t slot : old) {
      if (slot != 0) {
        slots_[position(slot >> kKindBits)] = slot;
      }
    }
    return {};
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot remember where the tables are");
  }
}

std::uint64_t TablePlaces::position(std::uint64_t cluster) const noexcept {
  std::uint64_t at = home(cluster);
  while (slots_[at] != 0 && slots_[at] >> kKindBits != cluster) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return at;
}

TablePlaces::Kind TablePlaces::look_up(std::uint64_t cluster) const noexcept {
  return static_cast<Kind>(slots_[position(cluster)] & kKindMask);
}

void TablePlaces::add(HostCluster cluster, Kind kind) noexcept {
  VARVE_ASSERT(kind != Kind::none && 2 * (used_ + 1) <= slots_.size());
  std::uint64_t& slot = slots_[position(cluster.value())];
  if (slot == 0) {
    slot = cluster.value() << kKindBits | static_cast<std::uint64_t>(kind);
    ++used_;
  } else if ((slot & kKindMask) != static_cast<std::uint64_t>(kind)) {
    slot |= kTwo;
    has_twos_ = true;
  }
}

void TablePlaces::forget(ClusterRun run) noexcept {
  for (std::uint64_t i = 0; i < run.count && used_ != 0; ++i) {
    const std::uint64_t at = position(run.first.value() + i);
    if (slots_[at] != 0) {
      remove(at);
    }
  }
}

// Closes the gap, so that no search ends before what it looks for.
void TablePlaces::remove(std::uint64_t position) noexcept {
  const std::uint64_t mask = slots_.size() - 1;
  std::uint64_t gap = position;
  for (std::uint64_t at = (gap + 1) & mask; slots_[at] != 0; at = (at + 1) & mask) {
    const std::uint64_t wanted = home(slots_[at] >> kKindBits);
    if (((at - wanted) & mask) >= ((at - gap) & mask)) {
      slots_[gap] = slots_[at];
      gap = at;
    }
  }
  slots_[gap] = 0;
  --used_;
}

}  // namespace varve
