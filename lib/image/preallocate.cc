#include "image/preallocate.h"

#include <algorithm>

#include "base/try.h"
#include "image/layer.h"
#include "meta/ask.h"
#include "meta/batch.h"
#include "meta/shutdown.h"
#include "meta/straight_line.h"

namespace varve {
namespace {

// Space for up to `wanted` clusters.
Answer<Claim> claim_space(Metadata& metadata, GuestOffset guest, std::uint64_t wanted) noexcept {
  if (!metadata.header.has_data_file()) {
    return metadata.store.claim(wanted);
  }
  Claim claim;
  claim.run = {HostCluster(guest.value() >> metadata.geometry.cluster_bits), wanted};
  return claim;
}

Result<void> make_zero(Metadata& metadata, const Claim& claim, Preallocation mode) noexcept {
  const Geometry& geometry = metadata.geometry;
  const HostOffset offset = geometry.offset_of(claim.run.first);
  const std::uint64_t bytes = claim.run.count * geometry.cluster_bytes();
  Storage& storage = metadata.guest_storage();
  if (mode == Preallocation::full) {
    return write_zero_data(storage, metadata.counters, offset, bytes);
  }
  Batch batch(metadata.counters);
  if (mode == Preallocation::falloc) {
    VARVE_TRY(batch.run(batch.allocate(storage, offset, bytes)));
  }
  return claim.known_zero
             ? Result<void>()
             : batch.run(batch.write_zeroes(storage, IoTag::guest_data, offset, bytes));
}

Answer<Nothing> link_run(Metadata& metadata, GuestOffset guest, ClusterRun run) noexcept {
  VARVE_ASK(metadata.map.prepare(guest));
  const Geometry& geometry = metadata.geometry;
  const std::uint64_t bitmap = geometry.extended_l2 ? 0xffff'ffff : 0;
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const HostOffset host = geometry.offset_of(HostCluster(run.first.value() + i));
    static_cast<void>(metadata.map.exchange(guest + i * geometry.cluster_bytes(),
                                            L2Entry::extended(host, true, bitmap)));
  }
  return Nothing();
}

Result<void> map_zeros(Metadata& metadata, GuestOffset guest, const Claim& claim,
                       Preallocation mode) noexcept {
  const Result<void> zeroed = make_zero(metadata, claim, mode);
  metadata.commit.note_unsynced(metadata.data_file != nullptr);
  VARVE_TRY(zeroed);
  VARVE_TRY(ask_until(metadata, [&] { return link_run(metadata, guest, claim.run); }));
  return {};
}

}  // namespace

Result<void> preallocate_range(Metadata& metadata, GuestOffset begin, GuestOffset end,
                               Preallocation mode) noexcept {
  const Geometry& geometry = metadata.geometry;
  GuestOffset position(round_down(begin.value(), geometry.cluster_bytes()));
  while (position < end) {
    const MapExtent extent =
        VARVE_TRY(ask_until(metadata, [&] { return metadata.map.find(position, end - position); }));
    const std::uint64_t table_left =
        geometry.l2_coverage() - position.value() % geometry.l2_coverage();
    const std::uint64_t length = std::min(extent.length, table_left);
    if (extent.kind != MapExtent::Kind::unallocated) {
      position = GuestOffset(round_up(position.value() + length, geometry.cluster_bytes()));
      continue;
    }
    // A new range: what its entries led to before has been dropped.
    VARVE_ASSERT(!extent.has_host);
    const Claim claim = VARVE_TRY(ask_until(
        metadata, [&] { return claim_space(metadata, position, geometry.clusters_for(length)); }));
    const Result<void> mapped = map_zeros(metadata, position, claim, mode);
    if (!mapped) {
      metadata.store.release(metadata.header.has_data_file() ? ClusterRun() : claim.run);
      return mapped;
    }
    position += claim.run.count * geometry.cluster_bytes();
  }
  return {};
}

Result<void> preallocate_new(Storage& storage, Storage* data_storage, Preallocation mode) noexcept {
  Metadata::Loaded loaded = VARVE_TRY(load_tables(storage));
  Metadata::Config config;
  config.file = &storage;
  config.data_file = data_storage;
  config.writable = true;
  config.l2_cache_bytes = OpenOptions().l2_cache_bytes;
  config.refcount_cache_bytes = OpenOptions().refcount_cache_bytes;
  config.operations_max = 1;
  auto metadata = VARVE_TRY(Metadata::make(config, std::move(loaded)));
  const std::uint64_t size = metadata->header.virtual_size;
  Result<void> result = preallocate_range(*metadata, GuestOffset(0), GuestOffset(size), mode);
  const Result<void> ended = shut_down(*metadata);
  wait_until_idle(*metadata);
  return result ? ended : result;
}

}  // namespace varve
