#include "meta/first_write.h"

#include <algorithm>
#include <cstddef>
#include <new>

#include "base/endian.h"
#include "base/failure.h"
#include "base/mutation.h"
#include "base/try.h"
#include "format/l1_entry.h"
#include "meta/commit.h"

namespace varve {
namespace {

// L1 tables of snapshots read together: so many at most, of so many bytes.
constexpr std::size_t kTablesAtOnce = 32;
constexpr std::uint64_t kTablesAtOnceBytes = 256 * kKiB;

}  // namespace

FirstWrite::FirstWrite(const Parts& parts) noexcept : parts_(parts), batch_(*parts.counters) {
  const bool has_snapshots = parts.snapshots != nullptr && !parts.snapshots->entries.empty();
  const bool has_unknown_bits = (parts.header->autoclear & ~kAutoclearKnown) != 0;
  if (!has_snapshots && !has_bitmaps() && !has_unknown_bits) {
    step_ = Step::done;
  }
}

bool FirstWrite::has_bitmaps() const noexcept {
  return parts_.header->bitmaps().has_value() && !is_broken(Rule::o12);
}

void FirstWrite::prepare(Waiter& waiter) noexcept {
  waiters_.add(waiter);
  if (step_ != Step::idle) {
    return;
  }
  step_ = Step::loading_tables;
  // From the engine's loop, so that no waiter is resumed inside this call.
  start_ = StorageRequest();
  start_.owner = this;
  start_.complete = [](StorageRequest& request, const Result<void>&) {
    FirstWrite& first_write = *static_cast<FirstWrite*>(request.owner);
    const Result<void> found = first_write.find_snapshot_tables();
    first_write.resume(found);
  };
  parts_.file->engine().post(start_, {});
}

// Where the snapshots' L1 tables stand, each byte of the file once: damaged entries may all name
// the same. The first in the file comes last.
Result<void> FirstWrite::find_snapshot_tables() noexcept {
  is_one_by_one_ = false;
  stretches_.clear();
  try {
    const std::uint64_t file_end = parts_.file->size();
    for (const SnapshotEntry& snapshot : parts_.snapshots->entries) {
      const std::uint64_t begin = snapshot.l1_offset.value();
      const std::uint64_t bytes = std::uint64_t{snapshot.l1_entries} * sizeof(std::uint64_t);
      if (begin < file_end && bytes != 0) {
        stretches_.push_back({begin, begin + std::min(bytes, file_end - begin)});
      }
    }
    // What cannot be read is put back, one of them cut in two.
    stretches_.reserve(stretches_.size() + 1);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot remember where the tables are");
  }
  std::sort(stretches_.begin(), stretches_.end(),
            [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
  std::size_t kept = 0;
  for (const Stretch& stretch : stretches_) {
    if (kept != 0 && stretch.begin <= stretches_[kept - 1].end) {
      stretches_[kept - 1].end = std::max(stretches_[kept - 1].end, stretch.end);
    } else {
      stretches_[kept++] = stretch;
    }
  }
  stretches_.resize(kept);
  std::reverse(stretches_.begin(), stretches_.end());
  return {};
}

Result<bool> FirstWrite::load_tables() noexcept {
  loading_.clear();
  if (stretches_.empty()) {
    tables_ = Buffer();
    return false;
  }
  if (tables_.empty()) {
    tables_ = VARVE_TRY(Buffer::allocate(kTablesAtOnceBytes));
  }
  const std::size_t pieces_max = is_one_by_one_ ? 1 : kTablesAtOnce;
  std::uint64_t used = 0;
  while (!stretches_.empty() && used < tables_.size() && loading_.size() < pieces_max) {
    Stretch& next = stretches_.back();
    const std::uint64_t length = std::min(next.end - next.begin, tables_.size() - used);
    VARVE_TRY(batch_.read(*parts_.file, IoTag::l1, HostOffset(next.begin),
                          tables_.bytes().subspan(used, length)));
    try {
      loading_.push_back({next.begin, next.begin + length});
    } catch (const std::bad_alloc&) {
      return failure(ErrorCode::no_memory, "cannot read the tables of snapshots");
    }
    used += length;
    next.begin += length;
    if (next.begin == next.end) {
      stretches_.pop_back();
    }
  }
  batch_.start(*this);
  return true;
}

Result<void> FirstWrite::place_tables() noexcept {
  const Geometry& geometry = parts_.header->geometry;
  TablePlaces& places = *parts_.places;
  std::uint64_t at = 0;
  for (const Stretch& piece : loading_) {
    VARVE_TRY(places.reserve((piece.end - piece.begin) / sizeof(std::uint64_t) + kTablesAtOnce));
    const HostCluster first = geometry.cluster_of(HostOffset(piece.begin));
    const HostCluster last = geometry.cluster_of(HostOffset(piece.end - 1));
    for (std::uint64_t i = 0; i <= last - first; ++i) {
      places.add(first + i, TablePlaces::Kind::l1);
    }
    for (std::uint64_t i = piece.begin; i + 8 <= piece.end; i += 8, at += 8) {
      const L1Entry entry(load_be<std::uint64_t>(tables_.bytes(), at));
      if (entry.is_allocated()) {
        places.add(geometry.cluster_of(entry.offset()), TablePlaces::Kind::l2);
      }
    }
  }
  return {};
}

// Guests must not stand still for a sector of an old snapshot that nobody can read.
void FirstWrite::tables_unreadable(const Error& error) noexcept {
  if (loading_.size() == 1) {
    parts_.file->engine().log(LogLevel::warning,
                              "a snapshot's table cannot be read and is not guarded",
                              parts_.file->name(), &error);
  } else {
    stretches_.insert(stretches_.end(), loading_.rbegin(), loading_.rend());
    is_one_by_one_ = true;
  }
  loading_.clear();
}

// Bitmaps first, then what stands in the header.
void FirstWrite::mark_header() noexcept {
  if (has_bitmaps() && load_directory()) {
    step_ = Step::loading_directory;
    batch_.start(*this);
    return;
  }
  if (!has_bitmaps() && (parts_.header->autoclear & ~kAutoclearKnown) == 0) {
    finish({});
    return;
  }
  // Without bitmaps, or without the memory to mark them: then their consistency bit is cleared
  // instead.
  step_ = Step::clearing_bits;
  parts_.header->autoclear &= ~kAutoclearBitmaps;
  clear_bits();
}

Result<void> FirstWrite::load_directory() noexcept {
  const BitmapsExtension bitmaps = *parts_.header->bitmaps();
  directory_ = VARVE_TRY(Buffer::allocate(bitmaps.directory_bytes));
  return batch_.read(*parts_.file, IoTag::bitmap, bitmaps.directory_offset, directory_.bytes());
}

void FirstWrite::resume(const Result<void>& result) noexcept {
  if (!result && step_ == Step::loading_tables && !loading_.empty()) {
    tables_unreadable(result.error());
    resume({});
    return;
  }
  if (!result && (step_ == Step::bitmaps_barrier || step_ == Step::clearing_bits)) {
    parts_.commit->poison();
  }
  const Result<void> next = result ? advance() : result;
  if (!next) {
    finish(next);
  }
}

Result<void> FirstWrite::advance() noexcept {
  switch (step_) {
    case Step::idle:
    case Step::done:
      VARVE_ASSERT(false);
      break;
    case Step::loading_tables:
      VARVE_TRY(place_tables());
      if (!VARVE_TRY(load_tables())) {
        mark_header();
      }
      return {};
    case Step::loading_directory: {
      if (VARVE_TRY(mark_bitmaps())) {
        step_ = Step::marking_bitmaps;
        return {};
      }
      step_ = Step::clearing_bits;
      clear_bits();
      return {};
    }
    case Step::marking_bitmaps:
      step_ = Step::bitmaps_barrier;
      VARVE_TRY(batch_.flush(*parts_.file));
      batch_.start(*this);
      return {};
    case Step::bitmaps_barrier:
      step_ = Step::clearing_bits;
      clear_bits();
      return {};
    case Step::clearing_bits:
      finish({});
      return {};
  }
  return {};
}

// Sets IN_USE in place, one sector-sized write per enabled bitmap that lacks it. False: nothing to
// write.
Result<bool> FirstWrite::mark_bitmaps() noexcept {
  const BitmapsExtension extension = *parts_.header->bitmaps();
  const auto entries =
      VARVE_TRY(parse_bitmap_directory(directory_.bytes(), extension, parts_.header->geometry));
  for (const BitmapEntry& entry : entries) {
    if ((entry.flags & BitmapEntry::kAuto) == 0 || (entry.flags & BitmapEntry::kInUse) != 0) {
      continue;
    }
    store_be<std::uint32_t>(directory_.bytes(), entry.flags_offset,
                            entry.flags | BitmapEntry::kInUse);
    VARVE_TRY(batch_.write(*parts_.file, IoTag::bitmap,
                           extension.directory_offset + entry.flags_offset,
                           directory_.bytes().subspan(entry.flags_offset, sizeof(std::uint32_t))));
  }
  if (batch_.empty()) {
    return false;
  }
  batch_.start(*this);
  return true;
}

void FirstWrite::clear_bits() noexcept {
  const std::uint64_t kept = parts_.header->autoclear & kAutoclearKnown;
  update_.patch = HeaderPatch();
  update_.patch.set<std::uint64_t>(offsetof(RawHeader, autoclear_features), kept);
  update_.waiter = this;
  parts_.header->autoclear = kept;
  parts_.writer->submit(update_);
}

void FirstWrite::finish(const Result<void>& result) noexcept {
  step_ = result ? Step::done : Step::idle;
  batch_.clear();
  stretches_.clear();
  loading_.clear();
  tables_ = Buffer();
  directory_ = Buffer();
  WaitList waiters;
  waiters.splice_back(waiters_);
  waiters.wake_all(result);
}

}  // namespace varve
