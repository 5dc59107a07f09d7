#include "meta/write_guard.h"

#include <varve/engine.h>
#include <varve/uuid.h>

#include "base/bytes.h"
#include "base/endian.h"
#include "base/failure.h"
#include "base/try.h"

namespace varve {
namespace {

using Kind = TablePlaces::Kind;

std::uint64_t random_key() noexcept {
  const Uuid random = Uuid::make_random();
  std::uint64_t key = 0;
  for (std::size_t i = 0; i < sizeof(key); ++i) {
    key = key << 8 | random.bytes[i];
  }
  return key;
}

}  // namespace

WriteGuard::WriteGuard(Storage& file, const Geometry& geometry, Watcher& watcher) noexcept
    : ForwardingStorage(file),
      watcher_(&watcher),
      cluster_bits_(geometry.cluster_bits),
      places_(random_key()) {}

std::optional<HostCluster> WriteGuard::find_foreign(ClusterRun run, Kind own) const noexcept {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const Kind kind = places_.find(run.first + i);
    if (kind != Kind::none && kind != own) {
      return run.first + i;
    }
  }
  return std::nullopt;
}

Result<void> WriteGuard::admit(ClusterRun run, IoTag tag, HostOffset where) noexcept {
  const std::optional<HostCluster> foreign = find_foreign(run, TablePlaces::kind_of(tag));
  if (!foreign) {
    return {};
  }
  const Error error = corrupt_at(
      Corruption::cluster_overlaps_metadata, tag, where.value(),
      "the image is damaged: this would overwrite one of its tables; it is marked corrupt, run "
      "check; the table's offset",
      foreign->value() << cluster_bits_);
  if (!has_tripped_) {
    has_tripped_ = true;
    watcher_->overlap_found(error);
  }
  return error;
}

// From now on the clusters are the table's.
Result<void> WriteGuard::settle_on(ClusterRun run, Kind kind) noexcept {
  std::uint64_t unknown = 0;
  for (std::uint64_t i = 0; i < run.count; ++i) {
    unknown += places_.find(run.first + i) == Kind::none ? 1 : 0;
  }
  if (unknown != 0) {
    VARVE_TRY(places_.reserve(unknown));
    for (std::uint64_t i = 0; i < run.count; ++i) {
      places_.add(run.first + i, kind);
    }
  }
  return {};
}

ClusterRun WriteGuard::run_of(const StorageRequest& request) const noexcept {
  const std::uint64_t size = request.size_bytes();
  const std::uint64_t first = request.offset >> cluster_bits_;
  const std::uint64_t end = (request.offset + size + (cluster_bytes() - 1)) >> cluster_bits_;
  return {HostCluster(first), size == 0 ? 0 : end - first};
}

Result<void> WriteGuard::examine(const StorageRequest& request) noexcept {
  const Kind kind = TablePlaces::kind_of(request.tag);
  if (has_tripped_ && kind != Kind::header) {
    return failure(ErrorCode::poisoned, "the image is damaged and is not written any more");
  }
  const ClusterRun run = run_of(request);
  VARVE_TRY(admit(run, request.tag, HostOffset(request.offset)));
  return settle_on(run, kind);  // Guest data that meets no table is not examined.
}

void WriteGuard::submit(StorageRequest& request) noexcept {
  const bool changes_bytes = request.operation == StorageOperation::write ||
                             request.operation == StorageOperation::write_zeroes ||
                             request.operation == StorageOperation::discard;
  const bool is_guest_data = TablePlaces::kind_of(request.tag) == Kind::none;
  const bool is_plain =
      is_guest_data && !has_tripped_ && !find_foreign(run_of(request), Kind::none);
  if (changes_bytes && !is_plain) {
    if (const Result<void> allowed = examine(request); !allowed) {
      engine().post(request, allowed);
      return;
    }
  }
  file().submit(request);
}

}  // namespace varve
