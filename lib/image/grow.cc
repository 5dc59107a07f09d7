// Making a disk larger: straight-line code behind the closed gate.
//
// It is a guest's request, not a control operation: a creation or a deletion goes on beside it,
// except that its flush rounds wait until the L1 is in its place again. A creation that freezes
// meanwhile takes the size and the slots there were before.

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/try.h"
#include "image/preallocate.h"
#include "image/qcow2_image.h"
#include "meta/ask.h"
#include "meta/batch.h"
#include "meta/straight_line.h"

namespace varve {
namespace {

class Growth {
 public:
  Growth(Qcow2Image& image, std::uint64_t new_size)
      : image_(&image),
        metadata_(&image.metadata()),
        old_size_(image.size()),
        new_size_(new_size),
        old_l1_entries_(metadata_->l1.size()),
        old_l1_offset_(metadata_->l1.offset()) {}

  Result<void> run(Preallocation preallocation) {
    VARVE_TRY(make_ready_to_change(*metadata_));
    VARVE_TRY(drop_beyond_end());
    VARVE_TRY(flush_and_wait(*metadata_));
    const Result<void> grown = grow(preallocation);
    if (!grown) {
      take_back();
    }
    return grown;
  }

 private:
  // The end of the old disk's last cluster.
  [[nodiscard]] std::uint64_t cluster_end() const {
    return round_up(old_size_, metadata_->geometry.cluster_bytes());
  }

  // What is mapped past the old end (saved machine state, in images of other programs) would show
  // as disk content.
  Result<void> drop_beyond_end() {
    const Geometry& geometry = metadata_->geometry;
    GuestOffset position(cluster_end());
    while (geometry.l1_index(position) < metadata_->l1.size()) {
      const std::uint64_t left = metadata_->l1.size() * geometry.l2_coverage() - position.value();
      const MapExtent extent =
          VARVE_TRY(ask_until(*metadata_, [&] { return metadata_->map.find(position, left); }));
      const bool is_nothing = extent.kind == MapExtent::Kind::unallocated && !extent.has_host;
      if (!is_nothing) {
        VARVE_TRY(ask_until(*metadata_, [&] { return drop_cluster(position); }));
      }
      position = GuestOffset(
          round_down(position.value() + (is_nothing ? extent.length : geometry.cluster_bytes()),
                     geometry.cluster_bytes()));
    }
    return {};
  }

  Answer<Nothing> drop_cluster(GuestOffset position) {
    VARVE_ASK(metadata_->store.has_room_for_drops(2));
    VARVE_ASK(metadata_->map.prepare(position));
    metadata_->map.release(metadata_->map.exchange(position, L2Entry::unallocated()));
    return Nothing();
  }

  Result<void> grow(Preallocation preallocation) {
    const std::uint64_t entries = metadata_->geometry.l1_entries_for(new_size_);
    if (entries > metadata_->l1.size()) {
      VARVE_TRY(make_l1(entries));
    }
    metadata_->header.virtual_size = new_size_;
    VARVE_TRY(zero_new_range());
    if (preallocation != Preallocation::off) {
      VARVE_TRY(preallocate_range(*metadata_, GuestOffset(cluster_end()), GuestOffset(new_size_),
                                  preallocation));
    }
    if (metadata_->data_file != nullptr && metadata_->data_file->size() < new_size_) {
      Batch batch(metadata_->counters);
      VARVE_TRY(batch.run(batch.resize(*metadata_->data_file, new_size_)));
      metadata_->commit.note_unsynced(true);
    }
    VARVE_TRY(flush_and_wait(*metadata_));
    return switch_root();
  }

  // The larger L1 lives in memory until the header switches; rounds do not write it meanwhile (O5).
  Result<void> make_l1(std::uint64_t entries) {
    const std::uint64_t clusters = metadata_->geometry.clusters_for(entries * 8);
    const HostCluster first =
        VARVE_TRY(ask_until(*metadata_, [&] { return metadata_->store.reserve_run(clusters); }));
    new_l1_ = {first, 0};
    const Result<void> claimed = claim_l1(clusters);
    metadata_->store.end_reservation();
    VARVE_TRY(claimed);
    metadata_->l1.relocate(entries, metadata_->geometry.offset_of(first));
    // What is dropped from here on is durable only when the new L1 is: rounds alone do not make it
    // so (O3).
    metadata_->store.hold_drops();
    metadata_->commit.hold_l1(true);
    return {};
  }

  Result<void> claim_l1(std::uint64_t clusters) {
    while (new_l1_.count < clusters) {
      const ClusterRun rest{HostCluster(new_l1_.first.value() + new_l1_.count),
                            clusters - new_l1_.count};
      new_l1_.count +=
          VARVE_TRY(ask_until(*metadata_, [&] { return metadata_->store.claim_reserved(rest); }));
    }
    return {};
  }

  // The rest of the old last cluster, and what a longer backing file would show, must read as
  // zeros.
  Result<void> zero_new_range() {
    const std::uint64_t backing_end = image_->backing != nullptr ? image_->backing->size() : 0;
    const std::uint64_t end = std::min(new_size_, std::max(cluster_end(), backing_end));
    if (end <= old_size_) {
      return {};
    }
    struct Done {
      bool is_done = false;
      Result<void> result;
    } done;
    BlockRequest request;
    request.operation = BlockOperation::write_zeroes;
    request.may_unmap = true;
    request.offset = old_size_;
    request.length = end - old_size_;
    request.owner = &done;
    request.complete = [](BlockRequest& finished, const Result<void>& result) {
      *static_cast<Done*>(finished.owner) = {true, result};
    };
    image_->submit_behind_gate(request);
    while (!done.is_done) {
      metadata_->file->engine().wait();
    }
    return done.result;
  }

  Result<void> switch_root() {
    HeaderPatch patch;
    if (new_l1_.count != 0) {
      VARVE_TRY(write_l1());
      patch.set<std::uint32_t>(offsetof(RawHeader, l1_entries),
                               static_cast<std::uint32_t>(metadata_->l1.size()));
      patch.set<std::uint64_t>(offsetof(RawHeader, l1_offset), metadata_->l1.offset().value());
    }
    patch.set<std::uint64_t>(offsetof(RawHeader, virtual_size), new_size_);
    VARVE_TRY(write_header(*metadata_, patch));
    if (new_l1_.count != 0) {
      metadata_->header.l1_entries = static_cast<std::uint32_t>(metadata_->l1.size());
      metadata_->header.l1_offset = metadata_->l1.offset();
      metadata_->commit.hold_l1(false);
      metadata_->store.let_drops_go();
      metadata_->reclaimer.kick();
      if (old_l1_entries_ != 0) {
        metadata_->store.release({metadata_->geometry.cluster_of(old_l1_offset_),
                                  metadata_->geometry.clusters_for(old_l1_entries_ * 8)});
      }
    }
    return {};
  }

  Result<void> write_l1() {
    const std::uint64_t bytes = new_l1_.count * metadata_->geometry.cluster_bytes();
    Buffer copy = VARVE_TRY(Buffer::allocate_zeroed(bytes));
    metadata_->l1.serialise(0, bytes / kSectorBytes, copy.bytes());
    Batch batch(metadata_->counters);
    VARVE_TRY(
        batch.run(batch.write(*metadata_->file, IoTag::l1, metadata_->l1.offset(), copy.bytes())));
    return barrier(*metadata_);
  }

  // The disk is as large as before. Tables made for the new range are dropped with the slots that
  // held them: leaks.
  void take_back() {
    metadata_->header.virtual_size = old_size_;
    metadata_->store.release(new_l1_);
    if (metadata_->l1.offset() != old_l1_offset_) {
      metadata_->l1.restore(old_l1_entries_, old_l1_offset_);
      metadata_->commit.hold_l1(false);
      // Only when the old table is on disk again may what was dropped from it be used anew.
      if (flush_and_wait(*metadata_)) {
        metadata_->store.let_drops_go();
        metadata_->reclaimer.kick();
      }
    }
  }

  Qcow2Image* image_;
  Metadata* metadata_;
  std::uint64_t old_size_;
  std::uint64_t new_size_;
  std::uint64_t old_l1_entries_;
  HostOffset old_l1_offset_;
  ClusterRun new_l1_;
};

}  // namespace

// An apply between closing the gate and the header's switch has the disk to itself: growing waits
// for it like any request.
void Qcow2Image::begin_growth() noexcept {
  while (is_gate_closed_ || metadata_->are_flushes_held()) {
    file_->engine().wait();
  }
  is_growing_ = true;
  size_before_growth_ = size();
  close_gate_and_wait();
}

void Qcow2Image::end_growth() noexcept {
  is_growing_ = false;
  open_gate();
  if (growth_waiter_ != nullptr) {
    metadata_->defer(*std::exchange(growth_waiter_, nullptr), {});
  }
}

namespace {

Result<void> validate_growth(const Qcow2Image& image, std::uint64_t new_size) noexcept {
  const Metadata& metadata = image.metadata();
  if (new_size < image.size()) {
    return failure(ErrorCode::unsupported, "disks are not made smaller");
  }
  const std::uint64_t size_max = (kL1BytesMax / 8) * metadata.geometry.l2_coverage();
  if (new_size > size_max) {
    Error error = failure(ErrorCode::out_of_range, "size is too large for this cluster_size");
    error.value = new_size;
    error.limit = size_max;
    return error;
  }
  if (metadata.commit.is_poisoned()) {
    return failure(ErrorCode::poisoned, "an earlier flush failed; reopen the image");
  }
  if (const Storage* data = metadata.data_file; data != nullptr &&
                                                data->capabilities().fixed_size &&
                                                new_size > std::max(data->size(), image.size())) {
    Error error =
        failure(ErrorCode::no_space, "the data file's device is smaller than the larger disk");
    error.value = new_size;
    error.limit = data->size();
    return error;
  }
  for (const SnapshotEntry& entry : metadata.snapshots.entries) {
    if (!entry.has_disk_size && new_size != image.size()) {
      return failure(ErrorCode::unsupported,
                     "a snapshot does not record its disk's size: it would change with this one");
    }
  }
  return {};
}

}  // namespace

Result<void> Qcow2Image::grow(std::uint64_t new_size, Preallocation preallocation) noexcept {
  new_size = round_up(std::min(new_size, kHostOffsetEnd), kSectorBytes);
  if (is_closed_ || is_growing_) {
    return failure(is_closed_ ? ErrorCode::invalid_argument : ErrorCode::busy,
                   is_closed_ ? "the image is closed" : "the disk is growing already");
  }
  if (!metadata_->is_writable) {
    return failure(ErrorCode::read_only, "the image is open read-only");
  }
  begin_growth();
  Result<void> result = validate_growth(*this, new_size);
  if (result && new_size != size()) {
    try {
      result = Growth(*this, new_size).run(preallocation);
    } catch (const std::bad_alloc&) {
      result = failure(ErrorCode::no_memory, "cannot grow the disk");
    }
  }
  end_growth();
  return result;
}

}  // namespace varve
