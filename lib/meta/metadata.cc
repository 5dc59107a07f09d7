#include "meta/metadata.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/try.h"

namespace varve {
namespace {

// Freed space beyond this makes a round start by itself.
constexpr std::uint64_t kQuarantineBytes = 256 * kMiB;

std::size_t cache_tables(std::size_t cache_bytes, std::uint64_t table_bytes, std::uint64_t useful) {
  return static_cast<std::size_t>(std::min<std::uint64_t>(cache_bytes / table_bytes, useful));
}

}  // namespace

Result<std::unique_ptr<Metadata>> Metadata::make(const Config& config, Loaded loaded) noexcept {
  try {
    const Buffer sector = std::move(loaded.header_sector);
    auto metadata = std::make_unique<Metadata>(config, std::move(loaded));
    VARVE_TRY(metadata->reserve(config, sector.bytes()));
    return metadata;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the image's tables");
  }
}

Metadata::Metadata(const Config& config, Loaded loaded)
    : file(config.file),
      data_file(config.data_file),
      is_writable(config.writable),
      header(std::move(loaded.header)),
      geometry(header.geometry),
      snapshots(std::move(loaded.snapshots)),
      snapshot_table_bytes(loaded.snapshot_table_bytes),
      header_writer(*file, counters),
      refcounts(geometry, *file, counters),
      store(refcounts, eras),
      compressed_space(geometry, store),
      l1(std::move(loaded.l1), header.l1_offset),
      l2(*file, counters, IoTag::l2, geometry.cluster_bytes()),
      map({geometry, header.version, header.has_data_file(), file, &l1, &l2, &store}),
      commit({file, data_file, &l1, &l2, &refcounts, &store, &counters, this}),
      refcount_growth({file, &refcounts, &store, &header_writer, &commit, &counters}),
      file_growth(geometry, *file, store, commit, counters),
      first_write(header, *file, header_writer, commit, counters),
      reclaimer(*this, counters,
                config.discard == DiscardMode::unmap && file->capabilities().can_discard) {
  refcount_table_ = std::move(loaded.refcount_table);
}

Metadata::~Metadata() = default;

Result<void> Metadata::reserve(const Config& config, ConstBytes header_sector) noexcept {
  const std::uint64_t cluster_bytes = geometry.cluster_bytes();
  VARVE_TRY(header_writer.reserve(header_sector));
  VARVE_TRY(eras.reserve(config.operations_max));
  // Tables of the whole disk and as many again for copies; more could never be used.
  const std::uint64_t useful_tables = 2 * l1.size() + 16;
  VARVE_TRY(l2.reserve(cache_tables(config.l2_cache_bytes, cluster_bytes, useful_tables)));
  const std::size_t blocks =
      cache_tables(config.refcount_cache_bytes, cluster_bytes, refcount_table_.size() + 16);
  VARVE_TRY(refcounts.reserve(std::move(refcount_table_), header.refcount_table_offset, blocks));
  const StorageCapabilities& storage = file->capabilities();
  ClusterStore::Limits limits;
  limits.fixed_size = storage.fixed_size;
  limits.file_clusters =
      storage.fixed_size ? file->size() / cluster_bytes : geometry.clusters_for(file->size());
  limits.first_fresh = limits.file_clusters;
  limits.growth_is_zero = storage.growth_is_zero;
  limits.quarantine_max = kQuarantineBytes / cluster_bytes;
  limits.residents = this;
  return store.reserve(limits);
}

// The tables whose places are in memory anyway, and what the caches hold. A cached table leaves the
// cache before its cluster becomes free.
std::optional<HostCluster> Metadata::find_resident(ClusterRun run) const noexcept {
  const auto part_of = [&](HostOffset offset,
                           std::uint64_t bytes) noexcept -> std::optional<HostCluster> {
    const std::uint64_t first = geometry.cluster_of(offset).value();
    const std::uint64_t begin = std::max(first, run.first.value());
    const std::uint64_t end =
        std::min(first + geometry.clusters_for(bytes), run.first.value() + run.count);
    return begin < end ? std::optional(HostCluster(begin)) : std::nullopt;
  };
  if (const auto part = part_of(l1.offset(), l1.size() * 8)) {
    return part;
  }
  if (const auto part = part_of(refcounts.table_offset(), refcounts.table().size() * 8)) {
    return part;
  }
  if (!snapshots.entries.empty()) {
    if (const auto part = part_of(header.snapshot_table_offset, snapshot_table_bytes)) {
      return part;
    }
  }
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const HostCluster cluster = run.first + i;
    const HostOffset offset = geometry.offset_of(cluster);
    if (l2.holds(offset) || refcounts.blocks().holds(offset)) {
      return cluster;
    }
  }
  return std::nullopt;
}

void Metadata::satisfy(const Need& need, Waiter& waiter) noexcept {
  TableCache* cache = nullptr;
  switch (need.kind) {
    case Need::Kind::l2_table:
      cache = &l2;
      break;
    case Need::Kind::refcount_block:
      cache = &refcounts.blocks();
      break;
    case Need::Kind::l2_room:
    case Need::Kind::refcount_room:
    case Need::Kind::round:
      commit.flush(waiter);
      return;
    case Need::Kind::early_write:
      commit.write_early(waiter);
      return;
    case Need::Kind::reclaim:
      reclaimer.wait_idle(waiter);
      return;
    case Need::Kind::turn:
      defer(waiter, {});
      return;
    case Need::Kind::refcount_growth:
      // The two never run at once: a resize would cut off what the other writes behind the end.
      if (file_growth.is_running()) {
        file_growth.wait(waiter);
      } else {
        refcount_growth.grow(need, waiter);
      }
      return;
    case Need::Kind::file_growth:
      if (refcount_growth.is_running()) {
        refcount_growth.wait(waiter);
      } else {
        file_growth.grow(need.offset, waiter);
      }
      return;
  }
  switch (cache->load(need.offset, waiter)) {
    case TableCache::LoadOutcome::started:
      return;
    case TableCache::LoadOutcome::no_room:
      commit.flush(waiter);
      return;
    case TableCache::LoadOutcome::no_memory:
      defer(waiter, failure(ErrorCode::no_memory, "cannot allocate a table"));
      return;
  }
}

void Metadata::defer(Waiter& waiter, const Result<void>& result) noexcept {
  Deferred& deferred = result ? deferred_success_ : deferred_failure_;
  deferred.waiters.add(waiter);
  deferred.result = result;
  post(deferred);
}

void Metadata::post(Deferred& deferred) noexcept {
  if (deferred.is_posted) {
    return;
  }
  deferred.is_posted = true;
  deferred.request = StorageRequest();
  deferred.request.owner = &deferred;
  deferred.request.complete = [](StorageRequest& request, const Result<void>&) {
    Deferred& posted = *static_cast<Deferred*>(request.owner);
    posted.is_posted = false;
    posted.waiters.wake_all(posted.result);
  };
  file->engine().post(deferred.request, {});
}

bool Metadata::is_idle() const noexcept {
  return !commit.is_running() && !reclaimer.is_running() && !refcount_growth.is_running() &&
         !file_growth.is_running() && !first_write.is_running() && !header_writer.is_running() &&
         !l2.is_loading() && !refcounts.blocks().is_loading() && !deferred_success_.is_posted &&
         !deferred_failure_.is_posted;
}

void Metadata::give_back_control() noexcept {
  if (Waiter* next = control.pass_on()) {
    defer(*next, {});
  }
}

void Metadata::let_flushes_go() noexcept {
  are_flushes_held_ = false;
  WaitList waiters;
  waiters.splice_back(held_flushes_);
  waiters.wake_all({});
}

void Metadata::wait_for_requests(Waiter& waiter) noexcept {
  VARVE_ASSERT(requests_waiter_ == nullptr);
  requests_stamp_ = eras.seal();
  if (eras.is_drained(requests_stamp_)) {
    defer(waiter, {});
  } else {
    requests_waiter_ = &waiter;
  }
}

void Metadata::leave_era(std::uint64_t era) noexcept {
  eras.leave(era);
  if (requests_waiter_ != nullptr && eras.is_drained(requests_stamp_)) {
    defer(*std::exchange(requests_waiter_, nullptr), {});
  }
  if (store.wants_round()) {
    commit.nudge();
  }
  if (store.has_drops()) {
    reclaimer.kick();
  }
}

void Metadata::resume(const Result<void>& result) noexcept {
  if (result) {
    reclaimer.kick();
  }
}

void Metadata::take_dirty(Waiter& waiter, HeaderWriter::Update& update) noexcept {
  if (dirty_holders_++ != 0 || header.version < 3 || header.is_dirty()) {
    defer(waiter, {});
    return;
  }
  header.incompatible |= kIncompatibleDirty;
  update.patch = HeaderPatch();
  update.patch.set<std::uint64_t>(offsetof(RawHeader, incompatible_features), header.incompatible);
  update.waiter = &waiter;
  header_writer.submit(update);
}

void Metadata::patch_with_dirty(HeaderPatch& patch) noexcept {
  ++dirty_holders_;
  if (header.version >= 3) {
    header.incompatible |= kIncompatibleDirty;
    patch.set<std::uint64_t>(offsetof(RawHeader, incompatible_features), header.incompatible);
  }
}

void Metadata::patch_without_dirty(HeaderPatch& patch) noexcept {
  VARVE_ASSERT(dirty_holders_ != 0);
  if (header.version >= 3) {
    const std::uint64_t kept =
        dirty_holders_ == 1 ? header.incompatible & ~kIncompatibleDirty : header.incompatible;
    patch.set<std::uint64_t>(offsetof(RawHeader, incompatible_features), kept);
  }
}

void Metadata::released_dirty() noexcept {
  VARVE_ASSERT(dirty_holders_ != 0);
  if (--dirty_holders_ == 0) {
    header.incompatible &= ~kIncompatibleDirty;
  }
}

}  // namespace varve
