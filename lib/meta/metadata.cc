#include "meta/metadata.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/mutation.h"
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
    : guard(*config.file, loaded.header.geometry, *this),
      file(config.writable ? &guard : config.file),
      data_file(config.data_file),
      is_writable(config.writable),
      meter(config.meter),
      header(std::move(loaded.header)),
      geometry(header.geometry),
      snapshots(std::move(loaded.snapshots)),
      snapshot_table_bytes(loaded.snapshot_table_bytes),
      snapshot_losses(std::move(loaded.snapshot_losses)),
      are_losses_at_end(loaded.are_losses_at_end),
      file_end_at_load(loaded.file_end),
      header_writer(*file, counters),
      refcounts(geometry, *file, counters),
      store(refcounts, eras),
      compressed_space(geometry, store),
      l1(std::move(loaded.l1), header.l1_offset),
      l2(*file, counters, IoTag::l2, geometry.cluster_bytes()),
      map({geometry, header.version, header.has_data_file(), file, &l1, &l2, &store,
           config.writable ? &guard : nullptr}),
      commit({file, data_file, &l1, &l2, &refcounts, &store, &counters, this}),
      refcount_growth({file, &refcounts, &store, &header_writer, &commit, &counters}),
      file_growth(geometry, *file, store, commit, counters),
      first_write({&header, file, &header_writer, &commit, &counters,
                   config.writable ? &snapshots : nullptr, &guard.places()}),
      reclaimer(*this, counters,
                config.discard == DiscardMode::unmap && file->capabilities().can_discard),
      plain_file_(config.file) {
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
  if (is_writable) {
    VARVE_TRY(place_tables());
  }
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

// The tables that the header, the L1 and the refcount table name; those of snapshots come with the
// first write. A cluster of a table that has gone leaves before it becomes free.
Result<void> Metadata::place_tables() noexcept {
  using Kind = TablePlaces::Kind;
  TablePlaces& places = guard.places();
  std::uint64_t wanted = 0;
  const auto for_each_table = [&](auto&& take) noexcept {
    take(HostOffset(), geometry.cluster_bytes(), Kind::header);
    take(l1.offset(), l1.size() * 8, Kind::l1);
    take(refcounts.table_offset(), refcounts.table().size() * 8, Kind::refcounts);
    if (!snapshots.entries.empty()) {
      take(header.snapshot_table_offset, snapshot_table_bytes, Kind::snapshot_table);
    }
    for (const std::uint64_t block : refcounts.table()) {
      if (block != 0) {
        take(HostOffset(block), 1, Kind::refcounts);
      }
    }
    for (std::uint64_t i = 0; i < l1.size(); ++i) {
      if (l1.entry(i).is_allocated()) {
        take(l1.entry(i).offset(), 1, Kind::l2);
      }
    }
  };
  for_each_table([&](HostOffset, std::uint64_t bytes, Kind) noexcept {
    wanted += geometry.clusters_for(bytes);
  });
  VARVE_TRY(places.reserve(wanted));
  for_each_table([&](HostOffset offset, std::uint64_t bytes, Kind kind) noexcept {
    const std::uint64_t clusters = geometry.clusters_for(bytes);
    for (std::uint64_t i = 0; i < clusters; ++i) {
      places.add(geometry.cluster_of(offset) + i, kind);
    }
  });
  return {};
}

std::optional<HostCluster> Metadata::find_resident(ClusterRun run) const noexcept {
  return guard.find_foreign(run, TablePlaces::Kind::none);
}

// The mark keeps every program from writing before somebody has looked; the session ends here.
void Metadata::overlap_found(const Error& error) noexcept {
  commit.poison();
  file->engine().log(LogLevel::error,
                     "a write would have landed on a table: the image is marked corrupt",
                     file->name(), &error);
  if (header.version >= 3 && !header.is_corrupt()) {
    header.incompatible |= kIncompatibleCorrupt;
    corrupt_mark_.update.patch = HeaderPatch();
    corrupt_mark_.update.patch.set<std::uint64_t>(offsetof(RawHeader, incompatible_features),
                                                  header.incompatible);
    corrupt_mark_.update.waiter = &corrupt_mark_;
    header_writer.submit(corrupt_mark_.update);
  }
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
      if (file_growth.is_running() && !is_broken(Rule::h3_growth)) {
        file_growth.wait(waiter);
      } else {
        refcount_growth.grow(need, waiter);
      }
      return;
    case Need::Kind::file_growth:
      if (refcount_growth.is_running() && !is_broken(Rule::h3_growth)) {
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
  if (dirty_holders_++ != 0 || header.version < 3 || header.is_dirty() || is_broken(Rule::o6)) {
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
