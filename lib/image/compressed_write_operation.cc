#include "image/compressed_write_operation.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "image/qcow2_image.h"

namespace varve {

void CompressedWriteOperation::advance(const Result<void>& result) noexcept {
  if (!result) {
    end(result);
    return;
  }
  switch (step_) {
    case Step::writing_plain:
      cluster_done();
      break;
    case Step::waiting_hold:
      hold_taken();
      break;
    case Step::writing:
      step_ = Step::linking;
      break;
    default:
      break;
  }
  run();
}

void CompressedWriteOperation::run() noexcept {
  bool go_on = true;
  while (go_on) {
    switch (step_) {
      case Step::preparing:
        go_on = prepare();
        break;
      case Step::next_cluster:
        go_on = take_hold();
        break;
      case Step::waiting_buffer:
        go_on = take_buffer();
        break;
      case Step::compressing:
        go_on = compress();
        break;
      case Step::claiming:
        go_on = claim();
        break;
      case Step::linking:
        go_on = link();
        break;
      case Step::writing_plain:
      case Step::waiting_hold:
      case Step::writing:
        VARVE_ASSERT(false);
    }
  }
}

bool CompressedWriteOperation::prepare() noexcept {
  const Metadata& metadata = image().metadata();
  const std::uint64_t cluster_bytes = metadata.geometry.cluster_bytes();
  const std::uint64_t stop = request().offset + request().length;
  if (metadata.header.has_data_file()) {
    end(failure(ErrorCode::unsupported,
                "compressed clusters cannot stand in an external data file"));
    return false;
  }
  if (!is_aligned(request().offset, cluster_bytes) ||
      (!is_aligned(stop, cluster_bytes) && stop != image().size())) {
    end(failure(ErrorCode::invalid_argument, "compressed writes take whole clusters"));
    return false;
  }
  if (!image().metadata().first_write.is_done()) {
    image().metadata().first_write.prepare(*this);
    return false;
  }
  position_ = request().offset;
  data_ = VectorCursor(request().vectors, request().vector_count);
  step_ = Step::next_cluster;
  return true;
}

// The hold comes before the buffer: whoever holds a buffer never waits for a hold.
bool CompressedWriteOperation::take_hold() noexcept {
  if (position_ == request().offset + request().length) {
    end({});
    return false;
  }
  const std::uint64_t index = position_ >> image().metadata().geometry.cluster_bits;
  step_ = Step::waiting_hold;
  if (!image().holds().take(hold_, Hold::Mode::exclusive, index, index + 1, *this)) {
    return false;
  }
  hold_taken();
  return true;
}

void CompressedWriteOperation::hold_taken() noexcept {
  step_ = Step::waiting_buffer;
  if (is_packed()) {
    length_ = request().length;
    compressed_bytes_ = request().internal.packed.size;
    step_ = Step::claiming;
  }
}

bool CompressedWriteOperation::take_buffer() noexcept {
  const Result<Buffer*> taken = image().read_source().scratch->take(*this);
  if (!taken) {
    end(taken.error());
    return false;
  }
  scratch_ = *taken;
  if (scratch_ == nullptr) {
    return false;
  }
  step_ = Step::compressing;
  return true;
}

bool CompressedWriteOperation::compress() noexcept {
  const std::uint64_t cluster_bytes = image().metadata().geometry.cluster_bytes();
  length_ = std::min(cluster_bytes, request().offset + request().length - position_);
  const Bytes cluster = scratch_->bytes().first(cluster_bytes);
  VectorCursor(data_).copy_out(cluster.first(length_));
  zero_bytes(cluster.subspan(length_));
  // A result that saves nothing is not worth the decompression.
  const Result<std::size_t> size = image().read_source().codec->compress(
      cluster, scratch_->bytes().subspan(cluster_bytes, cluster_bytes - 1));
  if (!size) {
    end(size.error());
    return false;
  }
  compressed_bytes_ = *size;
  if (compressed_bytes_ == 0) {
    start_plain();
    return false;
  }
  step_ = Step::claiming;
  return true;
}

void CompressedWriteOperation::start_plain() noexcept {
  step_ = Step::writing_plain;
  give_back();  // The writer takes its own.
  if (!writer_.start(image().write_target(), GuestOffset(position_), length_, data_, *this)) {
    end(writer_.result());
  }
}

bool CompressedWriteOperation::claim() noexcept {
  Metadata& metadata = image().metadata();
  Answer<CompressedExtent> answer = metadata.compressed_space.claim(compressed_bytes_);
  if (answer.need() != nullptr) {
    metadata.satisfy(*answer.need(), *this);
    return false;
  }
  if (answer.error() != nullptr) {
    end(*answer.error());
    return false;
  }
  extent_ = *answer;
  if (!L2Entry::is_compressible_at(metadata.geometry, extent_)) {
    // Too far behind in the file for a compressed entry to name.
    metadata.store.release(metadata.map.clusters_of(extent_));
    start_plain();
    return false;
  }
  is_claimed_ = true;
  step_ = Step::writing;
  vector_ = is_packed()
                ? request().internal.packed
                : IoVector{scratch_->data() + metadata.geometry.cluster_bytes(), compressed_bytes_};
  request_ = StorageRequest();
  request_.operation = StorageOperation::write;
  request_.tag = IoTag::compressed_data;
  request_.offset = extent_.offset.value();
  request_.vectors = &vector_;
  request_.vector_count = 1;
  request_.owner = this;
  request_.complete = [](StorageRequest& done, const Result<void>& result) {
    auto& operation = *static_cast<CompressedWriteOperation*>(done.owner);
    operation.image().metadata().commit.note_unsynced(false);
    operation.advance(result);
  };
  count_request(metadata.counters, request_);
  metadata.file->submit(request_);
  return false;
}

bool CompressedWriteOperation::link() noexcept {
  Metadata& metadata = image().metadata();
  Answer<Nothing> ready = metadata.store.has_room_for_drops(3);
  if (ready.has_value()) {
    ready = metadata.map.prepare(GuestOffset(position_));
  }
  if (ready.has_value()) {
    // What is replaced must not lead to one of the image's tables.
    const Answer<MapCluster> now = metadata.map.cluster_at(GuestOffset(position_));
    if (now.error() != nullptr) {
      ready = *now.error();
    }
  }
  if (ready.need() != nullptr) {
    metadata.satisfy(*ready.need(), *this);
    return false;
  }
  if (ready.error() != nullptr) {
    end(*ready.error());
    return false;
  }
  const L2Entry entry = L2Entry::compressed(metadata.geometry, extent_);
  is_claimed_ = false;
  metadata.map.release(metadata.map.exchange(GuestOffset(position_), entry));
  cluster_done();
  return true;
}

void CompressedWriteOperation::cluster_done() noexcept {
  data_.advance(length_);
  position_ += length_;
  step_ = Step::next_cluster;
  give_back();
}

void CompressedWriteOperation::give_back() noexcept {
  if (Buffer* scratch = std::exchange(scratch_, nullptr)) {
    image().read_source().scratch->give_back(*scratch);
  }
  if (hold_.is_held()) {
    image().holds().give_back(hold_);
  }
}

void CompressedWriteOperation::end(const Result<void>& result) noexcept {
  step_ = Step::preparing;
  if (std::exchange(is_claimed_, false)) {
    image().metadata().store.release(image().metadata().map.clusters_of(extent_));
  }
  give_back();
  finish(result);
}

void CompressedWriteOperation::recycle() noexcept {
  image().pools().compressed.give_back(*this);
}

}  // namespace varve
