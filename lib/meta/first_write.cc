#include "meta/first_write.h"

#include <algorithm>
#include <cstddef>

#include "base/try.h"
#include "meta/commit.h"

namespace varve {

FirstWrite::FirstWrite(Header& header, Storage& file, HeaderWriter& writer, Commit& commit,
                       Image::Counters& counters) noexcept
    : header_(&header), file_(&file), writer_(&writer), commit_(&commit), batch_(counters) {
  const bool has_bitmaps =
      header.bitmaps().has_value() && (header.autoclear & kAutoclearBitmaps) != 0;
  if (!has_bitmaps && (header.autoclear & ~kAutoclearKnown) == 0) {
    step_ = Step::done;
  }
}

void FirstWrite::prepare(Waiter& waiter) noexcept {
  waiters_.add(waiter);
  if (step_ != Step::idle) {
    return;
  }
  const bool has_bitmaps =
      header_->bitmaps().has_value() && (header_->autoclear & kAutoclearBitmaps) != 0;
  if (has_bitmaps && load_directory()) {
    step_ = Step::loading_directory;
    batch_.start(*this);
    return;
  }
  // Without bitmaps, or without the memory to mark them: then their consistency bit is cleared
  // instead.
  step_ = Step::clearing_bits;
  if (has_bitmaps) {
    header_->autoclear &= ~kAutoclearBitmaps;
  }
  clear_bits();
}

Result<void> FirstWrite::load_directory() noexcept {
  const BitmapsExtension bitmaps = *header_->bitmaps();
  directory_ = VARVE_TRY(Buffer::allocate(bitmaps.directory_bytes));
  return batch_.read(*file_, IoTag::bitmap, bitmaps.directory_offset, directory_.bytes());
}

void FirstWrite::resume(const Result<void>& result) noexcept {
  if (!result && (step_ == Step::bitmaps_barrier || step_ == Step::clearing_bits)) {
    commit_->poison();
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
      VARVE_TRY(batch_.flush(*file_));
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
  const BitmapsExtension extension = *header_->bitmaps();
  const auto entries =
      VARVE_TRY(parse_bitmap_directory(directory_.bytes(), extension, header_->geometry));
  for (const BitmapEntry& entry : entries) {
    if ((entry.flags & BitmapEntry::kAuto) == 0 || (entry.flags & BitmapEntry::kInUse) != 0) {
      continue;
    }
    store_be<std::uint32_t>(directory_.bytes(), entry.flags_offset,
                            entry.flags | BitmapEntry::kInUse);
    VARVE_TRY(batch_.write(*file_, IoTag::bitmap, extension.directory_offset + entry.flags_offset,
                           directory_.bytes().subspan(entry.flags_offset, sizeof(std::uint32_t))));
  }
  if (batch_.empty()) {
    return false;
  }
  batch_.start(*this);
  return true;
}

void FirstWrite::clear_bits() noexcept {
  const std::uint64_t kept = header_->autoclear & kAutoclearKnown;
  update_.patch = HeaderPatch();
  update_.patch.set<std::uint64_t>(offsetof(RawHeader, autoclear_features), kept);
  update_.waiter = this;
  header_->autoclear = kept;
  writer_->submit(update_);
}

void FirstWrite::finish(const Result<void>& result) noexcept {
  step_ = result ? Step::done : Step::idle;
  batch_.clear();
  directory_ = Buffer();
  WaitList waiters;
  waiters.splice_back(waiters_);
  waiters.wake_all(result);
}

}  // namespace varve
