#include "meta/file_growth.h"

#include <algorithm>

#include "base/buffer.h"
#include "meta/batch.h"
#include "meta/commit.h"

namespace varve {
namespace {

// A step is a quarter of the file, within these bounds: few steps, and little to cut off at close.
constexpr std::uint64_t kStepClustersMin = 16;
constexpr std::uint64_t kStepBytesMax = 64 * kMiB;

}  // namespace

void FileGrowth::grow(HostOffset end, Waiter& waiter) noexcept {
  waiters_.add(waiter);
  if (is_running_) {
    return;
  }
  is_running_ = true;
  const std::uint64_t size = file_->size();
  const std::uint64_t step =
      std::max(kStepClustersMin * geometry_.cluster_bytes(), std::min(size / 4, kStepBytesMax));
  request_ = StorageRequest();
  request_.operation = StorageOperation::resize;
  // Whole file system blocks: the kernel zeroes the rest of a cut block behind direct writes' back.
  const std::uint64_t grain = std::max<std::uint64_t>(geometry_.cluster_bytes(), kIoAlignment);
  needed_ = round_up(end.value(), grain);
  request_.offset = std::max(needed_, round_up(size + step, grain));
  request_.owner = this;
  request_.complete = &FileGrowth::completed;
  count_request(*counters_, request_);
  file_->submit(request_);
}

void FileGrowth::completed(StorageRequest& request, const Result<void>& result) noexcept {
  FileGrowth& growth = *static_cast<FileGrowth*>(request.owner);
  if (!result && request.offset > growth.needed_) {
    // Where a large step does not fit, what is needed may.
    request.offset = std::max(growth.needed_, growth.file_->size());
    growth.file_->submit(request);
    return;
  }
  growth.is_running_ = false;
  if (result) {
    growth.commit_->note_unsynced(false);
    growth.store_->set_file_clusters(growth.file_->size() / growth.geometry_.cluster_bytes());
  }
  WaitList waiters;
  waiters.splice_back(growth.waiters_);
  waiters.wake_all(result);
}

}  // namespace varve
