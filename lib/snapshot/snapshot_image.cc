#include "snapshot/snapshot_image.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "base/try.h"
#include "meta/blocking_waiter.h"
#include "snapshot/control_operation.h"

namespace varve {
namespace {

constexpr std::size_t kReadsInFlight = 32;

}  // namespace

// One read under way.
class SnapshotImage::Read final : private Waiter {
 public:
  explicit Read(SnapshotImage& image) noexcept : image_(&image) {}

  void begin(BlockRequest& request, const Result<void>& valid) noexcept {
    request_ = &request;
    answer_ = valid;
    const bool has_bytes = request.operation == BlockOperation::read && request.length != 0;
    if (valid && has_bytes &&
        reader_.start(image_->source(true), GuestOffset(request.offset), request.length,
                      VectorCursor(request.vectors, request.vector_count), *this)) {
      return;
    }
    if (valid && has_bytes) {
      answer_ = reader_.result();
    }
    is_deferred_ = true;
    image_->owner_->metadata().defer(*this, {});
  }

 private:
  void resume(const Result<void>& result) noexcept override {
    const Result<void> outcome = std::exchange(is_deferred_, false) ? answer_ : result;
    BlockRequest& request = *std::exchange(request_, nullptr);
    SnapshotImage& image = *image_;
    if (BlockRequest* next = image.queue_first_) {
      image.queue_first_ = next->internal.next;
      image.queue_last_ = image.queue_first_ == nullptr ? nullptr : image.queue_last_;
      image.start(*this, *next);
    } else {
      image.free_.push_back(this);
    }
    request.complete(request, outcome);
  }

  SnapshotImage* image_;
  BlockRequest* request_ = nullptr;
  Result<void> answer_;
  bool is_deferred_ = false;
  RangeReader reader_;
};

SnapshotInUse::~SnapshotInUse() {
  std::vector<HostOffset>& open = image_->open_snapshots;
  open.erase(std::find(open.begin(), open.end(), l1_offset_));
}

SnapshotImage::SnapshotImage(Qcow2Image& owner, const SnapshotEntry& entry)
    : owner_(&owner),
      in_use_(owner, entry),
      size_(entry.disk_size),
      state_begin_(owner.metadata().geometry.l1_entries_for(entry.disk_size) *
                   owner.metadata().geometry.l2_coverage()),
      map_({owner.metadata().geometry, owner.metadata().header.version,
            owner.metadata().header.has_data_file(), owner.metadata().file, &l1_,
            &owner.metadata().l2, nullptr}) {
  free_.reserve(kReadsInFlight);
  for (std::size_t i = 0; i < kReadsInFlight; ++i) {
    reads_.push_back(std::make_unique<Read>(*this));
    free_.push_back(reads_.back().get());
  }
}

// The table is read into memory of its own before it is taken apart.
Result<void> SnapshotImage::load(const SnapshotEntry& entry) {
  Metadata& metadata = owner_->metadata();
  const std::uint64_t reach = metadata.geometry.l1_entries_for(entry.disk_size);
  const std::uint64_t entries = std::max<std::uint64_t>(entry.l1_entries, reach);
  MeteredMemory loading;
  VARVE_TRY(loading.take(metadata.meter, 2 * 8 * std::uint64_t{entry.l1_entries}));
  VARVE_TRY(memory_.take(metadata.meter, 8 * entries));
  std::vector<std::uint64_t> l1 = VARVE_TRY(load_snapshot_l1(metadata, entry));
  // It may be shorter than the disk: what it does not reach is unallocated.
  l1.resize(entries, 0);
  l1_ = L1Table(std::move(l1), entry.l1_offset);
  return {};
}

SnapshotImage::~SnapshotImage() {
  VARVE_ASSERT(free_.size() == reads_.size());
}

ReadSource SnapshotImage::source(bool with_backing) noexcept {
  ReadSource source = owner_->read_source();
  source.map = &map_;
  source.backing = with_backing ? source.backing : nullptr;
  return source;
}

void SnapshotImage::submit(BlockRequest& request) noexcept {
  request.internal = BlockRequest::Private();
  if (free_.empty()) {
    (queue_last_ != nullptr ? queue_last_->internal.next : queue_first_) = &request;
    queue_last_ = &request;
    return;
  }
  Read& read = *free_.back();
  free_.pop_back();
  start(read, request);
}

void SnapshotImage::start(Read& read, BlockRequest& request) noexcept {
  read.begin(request, validate_request(request, size_, false));
}

Result<void> SnapshotImage::close() noexcept {
  while (free_.size() != reads_.size()) {
    storage().engine().wait();
  }
  return {};
}

Result<void> SnapshotImage::grow(std::uint64_t, Preallocation) noexcept {
  return failure(ErrorCode::read_only, "snapshots never change");
}

ImageFacts SnapshotImage::facts() const {
  ImageFacts facts = owner_->facts();
  facts.virtual_size = size_;
  return facts;
}

Result<BlockStatus> SnapshotImage::layer_status(std::uint64_t offset,
                                                std::uint64_t length) noexcept {
  return map_status(owner_->metadata(), map_, offset, length);
}

Result<void> SnapshotImage::read_state(std::uint64_t offset, std::span<std::byte> target) noexcept {
  const std::uint64_t begin = state_begin_ + offset;
  const std::uint64_t reach = l1_.size() * map_.geometry().l2_coverage();
  if (!range_fits(begin, target.size(), reach)) {
    return corrupt_at(Corruption::snapshot_l1_invalid, IoTag::l1, l1_.offset().value(),
                      "the snapshot's L1 table does not reach its machine state");
  }
  if (target.empty()) {
    return {};
  }
  BlockingWaiter waiter(storage().engine());
  RangeReader reader;
  const IoVector vector{target.data(), target.size()};
  const bool is_waiting = reader.start(source(false), GuestOffset(begin), target.size(),
                                       VectorCursor(&vector, 1), waiter);
  return is_waiting ? waiter.wait() : reader.result();
}

}  // namespace varve
