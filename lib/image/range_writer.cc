#include "image/range_writer.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"

namespace varve {
namespace {

// One chunk's new clusters: large enough for long sequential writes, small enough to plan at once.
constexpr std::uint64_t kChunkBytesMax = 8 * kMiB;
constexpr std::uint64_t kChunkClustersMax = 512;

// What zeros are written from.
alignas(kIoAlignment) constexpr std::array<std::byte, 64 * kKiB> kZeros{};

}  // namespace

bool RangeWriter::start(const WriteTarget& target, GuestOffset offset, std::uint64_t length,
                        VectorCursor data, Waiter& done) noexcept {
  VARVE_ASSERT(step_ == Step::done);
  target_ = target;
  position_ = offset;
  end_ = offset + length;
  data_ = data;
  is_zeros_ = false;
  done_ = &done;
  return begin();
}

bool RangeWriter::start_zeros(const WriteTarget& target, GuestOffset offset, std::uint64_t length,
                              Waiter& done) noexcept {
  VARVE_ASSERT(step_ == Step::done);
  target_ = target;
  position_ = offset;
  end_ = offset + length;
  is_zeros_ = true;
  done_ = &done;
  return begin();
}

bool RangeWriter::begin() noexcept {
  result_ = Result<void>();
  step_ = Step::looking;
  const bool is_over = run();
  // What is written is waited for.
  VARVE_ASSERT(!is_over || !result_);
  return !is_over;
}

void RangeWriter::resume(const Result<void>& result) noexcept {
  if (!result) {
    static_cast<void>(fail(result.error()));
  }
  if (run()) {
    done_->resume(result_);
  }
}

bool RangeWriter::run() noexcept {
  while (step_ != Step::done) {
    if (step() == Progress::wait) {
      return false;
    }
  }
  return true;
}

RangeWriter::Progress RangeWriter::step() noexcept {
  switch (step_) {
    case Step::looking:
      return look();
    case Step::waiting_shared:
      return begin_in_place();
    case Step::waiting_exclusive:
      step_ = Step::planning;
      return Progress::go_on;
    case Step::planning:
      return plan();
    case Step::claiming:
      return claim();
    case Step::filling_head:
      return fill(true);
    case Step::filling_tail:
      return fill(false);
    case Step::linking:
      return link();
    case Step::writing_in_place:
    case Step::writing:
    case Step::done:
      break;
  }
  VARVE_ASSERT(false);
}

RangeWriter::Progress RangeWriter::ask(const Need& need) noexcept {
  target_.source.metadata->satisfy(need, *this);
  return Progress::wait;
}

RangeWriter::Progress RangeWriter::fail(const Error& error) noexcept {
  result_ = error;
  step_ = Step::done;
  drop_resources();
  return Progress::go_on;
}

// Gives back what the chunk holds. Others may run inside, so this object is consistent before.
void RangeWriter::drop_resources() noexcept {
  is_filling_ = false;
  if (claimed_.count != 0) {
    target_.source.metadata->store.release(claimed_);
    claimed_ = ClusterRun();
  }
  if (Buffer* scratch = std::exchange(scratch_, nullptr)) {
    target_.fill->give_back(*scratch);
  }
  if (hold_.is_held()) {
    target_.holds->give_back(hold_);
  }
}

void RangeWriter::chunk_done() noexcept {
  data_.advance(length_);
  position_ += length_;
  step_ = position_ == end_ ? Step::done : Step::looking;
  drop_resources();
}

std::uint32_t RangeWriter::describe_data(IoVector* vectors, std::uint64_t& length) const noexcept {
  if (!is_zeros_) {
    return data_.describe(vectors, kDataVectors, length);
  }
  std::uint32_t count = 0;
  std::uint64_t covered = 0;
  while (covered < length && count < kDataVectors) {
    const std::uint64_t piece = std::min<std::uint64_t>(kZeros.size(), length - covered);
    // Only read by the write that uses it.
    vectors[count++] = {const_cast<std::byte*>(kZeros.data()), static_cast<std::size_t>(piece)};
    covered += piece;
  }
  length = covered;
  return count;
}

// Overwrite in place, or change the mapping? The answer decides which hold to take.
RangeWriter::Progress RangeWriter::look() noexcept {
  Metadata& metadata = *target_.source.metadata;
  const Geometry& geometry = metadata.geometry;
  Answer<MapExtent> answer = metadata.map.find(position_, end_ - position_);
  if (const Need* need = answer.need()) {
    return ask(*need);
  }
  if (const Error* error = answer.error()) {
    return fail(*error);
  }
  const std::uint64_t first = position_.value() >> geometry.cluster_bits;
  if (answer->kind == MapExtent::Kind::data && answer->is_exclusive) {
    length_ = answer->length;
    describe_data(vectors_.data(), length_);
    const std::uint64_t last = (position_.value() + length_ - 1) >> geometry.cluster_bits;
    step_ = Step::waiting_shared;
    return target_.holds->take(hold_, Hold::Mode::shared, first, last + 1, *this) ? begin_in_place()
                                                                                  : Progress::wait;
  }
  const std::uint64_t table_end =
      round_down(position_.value(), geometry.l2_coverage()) + geometry.l2_coverage();
  const std::uint64_t chunk_clusters =
      std::clamp<std::uint64_t>(kChunkBytesMax >> geometry.cluster_bits, 1, kChunkClustersMax);
  const std::uint64_t chunk_end = (first + chunk_clusters) << geometry.cluster_bits;
  const std::uint64_t end = std::min({end_.value(), table_end, chunk_end});
  length_ = end - position_.value();
  step_ = Step::waiting_exclusive;
  const std::uint64_t last = (end - 1) >> geometry.cluster_bits;
  return target_.holds->take(hold_, Hold::Mode::exclusive, first, last + 1, *this) ? Progress::go_on
                                                                                   : Progress::wait;
}

// The shared hold is ours. The mapping may have changed while we waited for it (H1).
RangeWriter::Progress RangeWriter::begin_in_place() noexcept {
  Answer<MapExtent> answer = target_.source.metadata->map.find_in_place(position_, length_);
  if (const Need* need = answer.need()) {
    return ask(*need);
  }
  if (const Error* error = answer.error()) {
    return fail(*error);
  }
  if (answer->kind != MapExtent::Kind::data || !answer->is_exclusive) {
    step_ = Step::looking;
    target_.holds->give_back(hold_);
    return Progress::go_on;
  }
  length_ = answer->length;
  step_ = Step::writing_in_place;
  return write(answer->host, 0, 0);
}

// The exclusive hold is ours: nobody else changes these clusters, though a snapshot may make them
// shared.
RangeWriter::Progress RangeWriter::plan() noexcept {
  Metadata& metadata = *target_.source.metadata;
  const Geometry& geometry = metadata.geometry;
  Answer<MapCluster> first = metadata.map.cluster_at(position_);
  if (const Need* need = first.need()) {
    return ask(*need);
  }
  if (const Error* error = first.error()) {
    return fail(*error);
  }
  // The table is in memory, and this entry of it is valid.
  Answer<MapExtent> extent = metadata.map.find(position_, length_);
  VARVE_ASSERT(extent.has_value());
  if (extent->kind == MapExtent::Kind::data && extent->is_exclusive) {
    step_ = Step::looking;  // Somebody allocated it while we waited.
    target_.holds->give_back(hold_);
    return Progress::go_on;
  }
  describe_data(vectors_.data(), length_);
  const std::uint64_t in_cluster = geometry.in_cluster(position_.value());
  is_reuse_ = first->is_exclusive;
  if (is_reuse_) {
    length_ = std::min(length_, geometry.cluster_bytes() - in_cluster);
    reused_ = first->entry;
    host_ = reused_.host();
    is_first_whole_ = false;
    is_last_whole_ = false;
    is_known_zero_ = false;
    measure_fill();
    step_ = Step::filling_head;
    return Progress::go_on;
  }
  const Result<std::uint64_t> fresh = count_fresh(geometry.clusters_for(in_cluster + length_));
  if (!fresh) {
    return fail(fresh.error());
  }
  length_ = std::min(length_, *fresh * geometry.cluster_bytes() - in_cluster);
  step_ = Step::claiming;
  return Progress::go_on;
}

// How many clusters from the position on need new host clusters. REQUIRES: the table is in memory.
Result<std::uint64_t> RangeWriter::count_fresh(std::uint64_t clusters_max) noexcept {
  Metadata& metadata = *target_.source.metadata;
  const Geometry& geometry = metadata.geometry;
  const GuestOffset begin(round_down(position_.value(), geometry.cluster_bytes()));
  std::uint64_t count = 0;
  while (count < clusters_max) {
    Answer<MapCluster> cluster = metadata.map.cluster_at(begin + count * geometry.cluster_bytes());
    if (const Error* error = cluster.error()) {
      return *error;
    }
    if (cluster->is_exclusive) {
      break;
    }
    // Extended entries that share their host or are compressed are copied wholly.
    const bool is_whole =
        cluster->entry.has_host(metadata.header.has_data_file()) || cluster->entry.is_compressed();
    is_first_whole_ = count == 0 ? is_whole : is_first_whole_;
    is_last_whole_ = is_whole;
    ++count;
  }
  return count;
}

RangeWriter::Progress RangeWriter::claim() noexcept {
  Metadata& metadata = *target_.source.metadata;
  const Geometry& geometry = metadata.geometry;
  const std::uint64_t in_cluster = geometry.in_cluster(position_.value());
  if (metadata.header.has_data_file()) {
    // Guest and host offsets are the same in a data file.
    host_ = HostOffset(position_.value() - in_cluster);
    is_known_zero_ = false;
  } else {
    Answer<Claim> answer = metadata.store.claim(geometry.clusters_for(in_cluster + length_));
    if (answer.error() != nullptr) {
      return fail(*answer.error());
    }
    if (answer.need() != nullptr) {
      step_ = Step::planning;
      return ask(*answer.need());
    }
    claimed_ = answer->run;
    host_ = geometry.offset_of(claimed_.first);
    is_known_zero_ = answer->known_zero;
    length_ = std::min(length_, claimed_.count * geometry.cluster_bytes() - in_cluster);
  }
  measure_fill();
  step_ = Step::filling_head;
  return Progress::go_on;
}

// How far around the data the write must reach so that every subcluster it makes visible is whole.
void RangeWriter::measure_fill() noexcept {
  Metadata& metadata = *target_.source.metadata;
  const Geometry& geometry = metadata.geometry;
  const std::uint64_t end = position_.value() + length_;
  const std::uint64_t head_grain =
      is_first_whole_ ? geometry.cluster_bytes() : geometry.subcluster_bytes();
  const std::uint64_t tail_grain =
      is_last_whole_ ? geometry.cluster_bytes() : geometry.subcluster_bytes();
  head_ = position_.value() & (head_grain - 1);
  tail_ = round_up(end, tail_grain) - end;
  if (is_reuse_ && geometry.extended_l2) {
    // Subclusters that hold data already need no bytes around the write. The first holds none: it
    // would be written in place.
    const auto last =
        static_cast<std::uint32_t>(geometry.in_cluster(end - 1) / geometry.subcluster_bytes());
    const bool is_data =
        reused_.subcluster(geometry, last, metadata.header.has_data_file()) == SubclusterKind::data;
    tail_ = is_data ? 0 : tail_;
  }
}

// Brings the bytes before (after) the data into the scratch buffer, unless the new clusters hold
// them already.
RangeWriter::Progress RangeWriter::fill(bool is_head) noexcept {
  const Step next = is_head ? Step::filling_tail : Step::writing;
  std::uint64_t& amount = is_head ? head_ : tail_;
  const GuestOffset begin(is_head ? position_.value() - head_ : position_.value() + length_);
  if (!is_filling_ && amount != 0 && is_known_zero_) {
    const std::uint64_t end = std::min(begin.value() + amount, target_.disk_size);
    Answer<bool> is_zero = reads_as_zeros(target_.source, begin, GuestOffset(end));
    if (is_zero.need() != nullptr) {
      return ask(*is_zero.need());
    }
    amount = *is_zero ? 0 : amount;
  }
  if (!is_filling_ && amount != 0) {
    if (scratch_ == nullptr) {
      const Result<Buffer*> taken = target_.fill->take(*this);
      if (!taken) {
        return fail(taken.error());
      }
      if (*taken == nullptr) {
        return Progress::wait;
      }
      scratch_ = *taken;
    }
    const std::uint64_t half = target_.source.metadata->geometry.cluster_bytes();
    const Bytes memory = scratch_->bytes().subspan(is_head ? 0 : half, amount);
    const std::uint64_t disk_left =
        begin.value() < target_.disk_size ? target_.disk_size - begin.value() : 0;
    const std::uint64_t readable = std::min(amount, disk_left);
    zero_bytes(memory.subspan(readable));
    fill_vector_ = {memory.data(), static_cast<std::size_t>(readable)};
    is_filling_ = true;
    if (readable != 0 &&
        reader_.start(target_.source, begin, readable, VectorCursor(&fill_vector_, 1), *this)) {
      return Progress::wait;
    }
    if (readable != 0 && !reader_.result()) {
      return fail(reader_.result().error());
    }
  }
  is_filling_ = false;
  step_ = next;
  if (next == Step::writing) {
    const Geometry& geometry = target_.source.metadata->geometry;
    return write(host_ + (geometry.in_cluster(position_.value()) - head_), head_, tail_);
  }
  return Progress::go_on;
}

RangeWriter::Progress RangeWriter::write(HostOffset host, std::uint64_t head,
                                         std::uint64_t tail) noexcept {
  Metadata& metadata = *target_.source.metadata;
  std::uint32_t count = 0;
  if (head != 0) {
    vectors_[count++] = {scratch_->data(), static_cast<std::size_t>(head)};
  }
  std::uint64_t length = length_;
  count += describe_data(vectors_.data() + count, length);
  VARVE_ASSERT(length == length_);
  if (tail != 0) {
    vectors_[count++] = {scratch_->data() + metadata.geometry.cluster_bytes(),
                         static_cast<std::size_t>(tail)};
  }
  request_.operation = StorageOperation::write;
  request_.tag = IoTag::guest_data;
  request_.offset = host.value();
  request_.vectors = vectors_.data();
  request_.vector_count = count;
  request_.owner = this;
  request_.complete = [](StorageRequest& request, const Result<void>& result) {
    RangeWriter& writer = *static_cast<RangeWriter*>(request.owner);
    Metadata& used = *writer.target_.source.metadata;
    used.commit.note_unsynced(used.data_file != nullptr);
    if (result && writer.step_ == Step::writing_in_place) {
      writer.chunk_done();
    } else {
      writer.step_ = Step::linking;
    }
    writer.resume(result);
  };
  count_request(metadata.counters, request_);
  metadata.guest_storage().submit(request_);
  return Progress::wait;
}

// The data is written: show it. Slot, table and epoch are looked up anew (H2).
RangeWriter::Progress RangeWriter::link() noexcept {
  Metadata& metadata = *target_.source.metadata;
  const Geometry& geometry = metadata.geometry;
  const GuestOffset first(round_down(position_.value(), geometry.cluster_bytes()));
  const std::uint64_t clusters =
      geometry.clusters_for(geometry.in_cluster(position_.value()) + length_);
  Answer<Nothing> ready = metadata.store.has_room_for_drops(clusters + 1);
  if (ready.has_value()) {
    ready = metadata.map.prepare(position_);
  }
  if (ready.need() != nullptr) {
    return ask(*ready.need());
  }
  if (ready.error() != nullptr) {
    return fail(*ready.error());
  }
  for (std::uint64_t i = 0; i < clusters; ++i) {
    // Valid when planned; a damaged image may hold its table in guest data.
    const Answer<MapCluster> now = metadata.map.cluster_at(first + i * geometry.cluster_bytes());
    if (now.error() != nullptr) {
      return fail(*now.error());
    }
  }
  for (std::uint64_t i = 0; i < clusters; ++i) {
    link_cluster(first + i * geometry.cluster_bytes());
  }
  claimed_ = ClusterRun();
  chunk_done();
  return Progress::go_on;
}

void RangeWriter::link_cluster(GuestOffset cluster) noexcept {
  Metadata& metadata = *target_.source.metadata;
  const Geometry& geometry = metadata.geometry;
  const GuestOffset first(round_down(position_.value(), geometry.cluster_bytes()));
  Answer<MapCluster> now = metadata.map.cluster_at(cluster);
  VARVE_ASSERT(now.has_value());
  const L2Entry old = now->entry;
  const bool is_whole =
      !is_reuse_ && (old.has_host(metadata.header.has_data_file()) || old.is_compressed());
  // The subclusters the write covers, partly covered ones included: they were filled or are known
  // to be zero.
  std::uint64_t written = L2Entry::kAllSubclusters;
  if (geometry.extended_l2 && !is_whole) {
    const std::uint64_t begin = std::max(position_, cluster) - cluster;
    const std::uint64_t end =
        std::min(position_ + length_, cluster + geometry.cluster_bytes()) - cluster;
    const std::uint64_t low = begin / geometry.subcluster_bytes();
    const std::uint64_t high = divide_up(end, geometry.subcluster_bytes());
    written = (L2Entry::kAllSubclusters >> (32 - (high - low))) << low;
  }
  const HostOffset host = is_reuse_ ? old.host() : host_ + (cluster - first);
  const bool is_copied = is_reuse_ ? old.is_copied() : true;
  std::uint64_t bitmap = 0;
  if (geometry.extended_l2) {
    const std::uint64_t kept = is_reuse_ ? old.bitmap() : old.bitmap() & ~L2Entry::kAllSubclusters;
    bitmap = (is_whole ? 0 : kept & ~(written << 32)) | written;
  }
  static_cast<void>(metadata.map.exchange(cluster, L2Entry::extended(host, is_copied, bitmap)));
  if (!is_reuse_) {
    metadata.map.release(old);
  }
}

}  // namespace varve
