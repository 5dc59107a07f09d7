#include "maintenance/separation.h"

#include <algorithm>
#include <array>

#include "base/buffer.h"
#include "base/endian.h"
#include "base/try.h"
#include "meta/ask.h"
#include "meta/batch.h"
#include "meta/reference_walk.h"
#include "meta/straight_line.h"

namespace varve {

Result<void> Separation::survey() {
  VARVE_TRY(make_ready_to_change(*metadata_));
  // What breaks another rule is told by whoever counts.
  ReferenceWalk walk(*metadata_, [](const Error&) {});
  VARVE_TRY(walk.collect());
  std::vector<std::uint64_t> shared;
  for (const ReferenceWalk::TableReference& table : walk.tables()) {
    if (table.active_references > 1) {
      shared.push_back(table.offset.value());
    }
  }
  std::vector<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < metadata_->l1.size() && !shared.empty(); ++i) {
    const HostOffset table = metadata_->l1.entry(i).offset();
    if (!std::binary_search(shared.begin(), shared.end(), table.value())) {
      continue;
    }
    if (std::find(seen.begin(), seen.end(), table.value()) == seen.end()) {
      seen.push_back(table.value());
    } else {
      shared_slots_.push_back({metadata_->l1.offset_of(i), table, 0});
    }
  }
  return walk.for_each_table([this](const ReferenceWalk::TableReference& table, ConstBytes bytes) {
    return survey_table(table.offset, bytes);
  });
}

Result<void> Separation::survey_table(HostOffset table, ConstBytes bytes) {
  const Geometry& geometry = metadata_->geometry;
  const bool is_table =
      metadata_->guard.places().find(geometry.cluster_of(table)) == TablePlaces::Kind::l2;
  if (!is_table || metadata_->header.has_data_file()) {
    return {};
  }
  for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
    const L2Entry entry = L2Entry::load(geometry, bytes, i);
    const HostOffset where = table + (i << geometry.l2_entry_bits());
    const bool is_plain = entry.has_host() &&
                          entry.validate(geometry, metadata_->header.version, false, where) &&
                          entry.host().value() < metadata_->file->size();
    if (is_plain && metadata_->guard.find_foreign({geometry.cluster_of(entry.host()), 1},
                                                  TablePlaces::Kind::none)) {
      clusters_.push_back(
          {where, entry.host(), entry.raw() & ~(L2Entry::kOffsetMask | L2Entry::kCopied)});
    }
  }
  return {};
}

Result<HostOffset> Separation::claim() {
  const Claim claim =
      VARVE_TRY(ask_until(*metadata_, [this] { return metadata_->store.claim(1); }));
  return metadata_->geometry.offset_of(claim.run.first);
}

Result<void> Separation::move(const Place& place, IoTag entry_tag, IoTag content_tag) {
  const Geometry& geometry = metadata_->geometry;
  const HostOffset fresh = VARVE_TRY(claim());
  Buffer bytes = VARVE_TRY(Buffer::allocate(geometry.cluster_bytes()));
  Batch batch(metadata_->counters);
  VARVE_TRY(batch.read(*metadata_->file, content_tag, place.target, bytes.bytes()));
  VARVE_TRY(batch.run());
  if (content_tag == IoTag::l2) {
    // What both tables map is shared from now on.
    for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
      const L2Entry entry = L2Entry::load(geometry, bytes.bytes(), i);
      if (!entry.is_compressed()) {
        entry.with_copied(false).store(geometry, bytes.bytes(), i);
      }
    }
  }
  VARVE_TRY(batch.write(*metadata_->file, content_tag, fresh, bytes.bytes()));
  VARVE_TRY(batch.run());
  metadata_->commit.note_unsynced(false);
  // The count, and what it counts.
  VARVE_TRY(flush_and_wait(*metadata_));
  std::array<std::byte, 8> entry{};
  store_be(Bytes(entry), 0, fresh.value() | place.flags);
  VARVE_TRY(batch.write(*metadata_->file, entry_tag, place.where, ConstBytes(entry)));
  return write_in_place(*metadata_, batch);
}

Result<void> Separation::run() {
  for (const Place& place : clusters_) {
    VARVE_TRY(move(place, IoTag::l2, IoTag::guest_data));
  }
  for (const Place& place : shared_slots_) {
    VARVE_TRY(move(place, IoTag::l1, IoTag::l2));
  }
  return barrier(*metadata_);
}

}  // namespace varve
