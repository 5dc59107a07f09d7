#include "format/l1_entry.h"

#include "base/failure.h"

namespace varve {

Result<void> L1Entry::validate(const Geometry& geometry, HostOffset where) const noexcept {
  if ((raw_ & kReserved) != 0) {
    return corrupt_at(Corruption::l1_entry_reserved_bits, IoTag::l1, where.value(),
                      "L1 entry has reserved bits set", raw_);
  }
  if (geometry.in_cluster(offset().value()) != 0) {
    return corrupt_at(Corruption::l2_table_unaligned, IoTag::l1, where.value(),
                      "L1 entry: L2 table is not on a cluster boundary", offset().value(),
                      geometry.cluster_bytes());
  }
  return {};
}

}  // namespace varve
