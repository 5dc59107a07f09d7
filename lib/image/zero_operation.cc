#include "image/zero_operation.h"

#include <algorithm>

#include "base/failure.h"
#include "image/qcow2_image.h"

namespace varve {
namespace {

constexpr std::uint64_t kChunkClusters = 256;

}  // namespace

void ZeroOperation::advance(const Result<void>& result) noexcept {
  if (!result) {
    end(result);
    return;
  }
  switch (step_) {
    case Step::preparing: {
      if (!image().metadata().first_write.is_done()) {
        image().metadata().first_write.prepare(*this);
        return;
      }
      const Geometry& geometry = image().metadata().geometry;
      position_ = request().offset;
      end_ = request().offset + request().length;
      if (is_discard()) {
        // A hint: only whole clusters, and the disk's last one up to its end.
        position_ = round_up(position_, geometry.cluster_bytes());
        end_ = end_ == image().size() ? end_ : round_down(end_, geometry.cluster_bytes());
      }
      step_ = Step::choosing;
      break;
    }
    case Step::writing:
      position_ = chunk_end_;
      step_ = Step::choosing;
      break;
    case Step::zeroing_data_file:
      image().metadata().commit.note_unsynced(true);
      step_ = Step::linking;
      break;
    case Step::waiting_hold:
      step_ = keeps_raw_data() ? Step::zeroing_data_file : Step::linking;
      break;
    case Step::choosing:
    case Step::linking:
      break;
  }
  run();
}

void ZeroOperation::run() noexcept {
  bool go_on = true;
  while (go_on) {
    switch (step_) {
      case Step::choosing:
        go_on = choose();
        break;
      case Step::waiting_hold:
        go_on = take_hold();
        break;
      case Step::zeroing_data_file:
        go_on = zero_data_file();
        break;
      case Step::linking:
        go_on = link();
        break;
      case Step::preparing:
      case Step::writing:
        VARVE_ASSERT(false);
    }
  }
}

bool ZeroOperation::must_write_data(std::uint64_t offset) const noexcept {
  const Image* backing = image().read_source().backing;
  return image().metadata().header.version < 3 && backing != nullptr && offset < backing->size();
}

// What to do with the next stretch: from the position to chunk_end_.
bool ZeroOperation::choose() noexcept {
  const Geometry& geometry = image().metadata().geometry;
  if (position_ >= end_) {
    end({});
    return false;
  }
  const std::uint64_t cluster_bytes = geometry.cluster_bytes();
  const std::uint64_t cluster = round_down(position_, cluster_bytes);
  const std::uint64_t cluster_end = std::min(cluster + cluster_bytes, image().size());
  if (must_write_data(cluster)) {
    chunk_end_ = std::min(end_, cluster_end);
    if (is_discard()) {
      position_ = chunk_end_;  // Left alone: dropping it would show the backing file.
      return true;
    }
    return start_writing(chunk_end_);
  }
  // Parts of subclusters (of clusters without extended entries) are written as data.
  const std::uint64_t grain = geometry.subcluster_bytes();
  const std::uint64_t grain_end = std::min(round_down(position_, grain) + grain, image().size());
  const bool is_compressed_part = is_part_of_compressed_;
  if (!is_aligned(position_, grain) || std::min(end_, cluster_end) < grain_end ||
      is_compressed_part) {
    return start_writing(std::min(end_, is_compressed_part ? cluster_end : grain_end));
  }
  if (position_ != cluster || end_ < cluster_end) {
    // Whole subclusters of one cluster.
    const std::uint64_t stop = std::min(end_, cluster_end);
    chunk_end_ = stop == cluster_end ? stop : round_down(stop, grain);
  } else {
    const std::uint64_t table_end =
        round_down(position_, geometry.l2_coverage()) + geometry.l2_coverage();
    chunk_end_ = std::min({end_ == image().size() ? end_ : round_down(end_, cluster_bytes),
                           table_end, position_ + kChunkClusters * cluster_bytes});
  }
  step_ = Step::waiting_hold;
  return true;
}

// A raw data file must hold by itself what the guest reads.
bool ZeroOperation::keeps_raw_data() const noexcept {
  const Metadata& metadata = image().metadata();
  return metadata.data_file != nullptr && (metadata.header.autoclear & kAutoclearDataFileRaw) != 0;
}

bool ZeroOperation::start_writing(std::uint64_t stop) noexcept {
  const Answer<bool> is_zero =
      reads_as_zeros(image().read_source(), GuestOffset(position_), GuestOffset(stop));
  if (const Need* need = is_zero.need()) {
    image().metadata().satisfy(*need, *this);
    return false;
  }
  chunk_end_ = stop;
  is_part_of_compressed_ = false;
  step_ = Step::writing;
  if (*is_zero) {
    position_ = chunk_end_;
    step_ = Step::choosing;
    return true;
  }
  if (!writer_.start_zeros(image().write_target(), GuestOffset(position_), stop - position_,
                           *this)) {
    end(writer_.result());
  }
  return false;
}

bool ZeroOperation::zero_data_file() noexcept {
  request_ = StorageRequest();
  request_.operation = StorageOperation::write_zeroes;
  request_.tag = IoTag::guest_data;
  request_.offset = position_;
  request_.length = chunk_end_ - position_;
  request_.owner = this;
  request_.complete = [](StorageRequest& done, const Result<void>& result) {
    static_cast<ZeroOperation*>(done.owner)->advance(result);
  };
  count_request(image().metadata().counters, request_);
  image().metadata().data_file->submit(request_);
  return false;
}

bool ZeroOperation::take_hold() noexcept {
  const std::uint32_t bits = image().metadata().geometry.cluster_bits;
  if (!image().holds().take(hold_, Hold::Mode::exclusive, position_ >> bits,
                            ((chunk_end_ - 1) >> bits) + 1, *this)) {
    return false;
  }
  step_ = keeps_raw_data() ? Step::zeroing_data_file : Step::linking;
  return true;
}

bool ZeroOperation::link() noexcept {
  Metadata& metadata = image().metadata();
  const std::uint64_t cluster_bytes = metadata.geometry.cluster_bytes();
  while (position_ < chunk_end_) {
    const GuestOffset cluster(round_down(position_, cluster_bytes));
    const Answer<Nothing> answer = change(cluster);
    if (const Need* need = answer.need()) {
      metadata.satisfy(*need, *this);
      return false;
    }
    if (const Error* error = answer.error()) {
      end(*error);
      return false;
    }
    if (is_part_of_compressed_) {
      break;
    }
    position_ = std::min(chunk_end_, cluster.value() + cluster_bytes);
  }
  step_ = Step::choosing;
  image().holds().give_back(hold_);
  // Others get a turn before the next chunk.
  metadata.defer(*this, {});
  return false;
}

// Zeroes (a part of) one cluster by its entry.
Answer<Nothing> ZeroOperation::change(GuestOffset cluster) noexcept {
  Metadata& metadata = image().metadata();
  const Geometry& geometry = metadata.geometry;
  const MapCluster now = VARVE_ASK(metadata.map.cluster_at(cluster));
  const std::uint64_t stop = std::min(chunk_end_, cluster.value() + geometry.cluster_bytes());
  const bool is_whole =
      position_ == cluster.value() &&
      (stop == cluster.value() + geometry.cluster_bytes() || stop == image().size());
  L2Entry next;
  if (is_whole) {
    next = zeroed(now);
  } else if (now.entry.is_compressed()) {
    is_part_of_compressed_ = true;  // Only data can replace a part of it.
    return Nothing();
  } else {
    next = with_zero_subclusters(now.entry, position_ - cluster.value(), stop - cluster.value());
  }
  if (next == now.entry) {
    return Nothing();
  }
  VARVE_ASK(metadata.store.has_room_for_drops(2));
  VARVE_ASK(metadata.map.prepare(cluster));
  // The table may have been copied: COPIED is whatever the entry says now. Of a damaged image the
  // copy may stand where the entry leads.
  Answer<MapCluster> current = metadata.map.cluster_at(cluster);
  if (const Error* error = current.error()) {
    return *error;
  }
  if (next.has_host(metadata.header.has_data_file())) {
    next = next.with_copied(current->entry.is_copied());
  }
  static_cast<void>(metadata.map.exchange(cluster, next));
  if (!next.has_host(metadata.header.has_data_file())) {
    metadata.map.release(current->entry);
  }
  return Nothing();
}

// The entry of a cluster that reads as zeros, or the same entry where it does already.
L2Entry ZeroOperation::zeroed(const MapCluster& cluster) const noexcept {
  const Metadata& metadata = image().metadata();
  const Geometry& geometry = metadata.geometry;
  const bool in_data_file = metadata.header.has_data_file();
  const L2Entry entry = cluster.entry;
  const bool has_host = entry.has_host(in_data_file);
  const bool is_nothing = !has_host && !entry.is_compressed() && entry.bitmap() == 0 &&
                          entry.kind(geometry, in_data_file) == ClusterKind::unallocated;
  if (is_nothing && is_discard() && image().read_source().backing == nullptr) {
    return entry;
  }
  if (metadata.header.version < 3) {
    return L2Entry::unallocated();
  }
  const bool keeps_host =
      has_host && cluster.is_exclusive && (in_data_file || !(is_discard() || request().may_unmap));
  if (!keeps_host) {
    return L2Entry::zero(geometry);
  }
  return geometry.extended_l2
             ? L2Entry::extended(entry.host(), entry.is_copied(), L2Entry::kAllSubclusters << 32)
             : L2Entry(entry.raw() | L2Entry::kZero);
}

L2Entry ZeroOperation::with_zero_subclusters(L2Entry entry, std::uint64_t begin,
                                             std::uint64_t end) const noexcept {
  const Geometry& geometry = image().metadata().geometry;
  const std::uint64_t low = begin / geometry.subcluster_bytes();
  const std::uint64_t high = divide_up(end, geometry.subcluster_bytes());
  const std::uint64_t zeros = (L2Entry::kAllSubclusters >> (32 - (high - low))) << low;
  return L2Entry(entry.raw(), (entry.bitmap() & ~zeros) | (zeros << 32));
}

void ZeroOperation::end(const Result<void>& result) noexcept {
  step_ = Step::preparing;
  is_part_of_compressed_ = false;
  if (hold_.is_held()) {
    image().holds().give_back(hold_);
  }
  finish(result);
}

void ZeroOperation::recycle() noexcept {
  image().pools().zeroes.give_back(*this);
}

}  // namespace varve
