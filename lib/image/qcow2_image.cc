#include "image/qcow2_image.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/try.h"
#include "image/layer.h"
#include "meta/ask.h"
#include "meta/shutdown.h"
#include "meta/straight_line.h"

namespace varve {
namespace {

// Copy buffers of an image together stay near this, with at least a few whatever the cluster size.
constexpr std::uint64_t kScratchBytes = 16 * kMiB;
constexpr std::uint64_t kScratchBuffersMin = 4;

// Requests a control operation makes of its own beside those the gate counts.
constexpr unsigned kControlRequests = 4;

std::size_t scratch_buffers(std::uint64_t buffer_bytes, unsigned operations_max) {
  return static_cast<std::size_t>(std::max(
      kScratchBuffersMin, std::min<std::uint64_t>(kScratchBytes / buffer_bytes, operations_max)));
}

}  // namespace

Result<std::unique_ptr<Qcow2Image>> Qcow2Image::make(std::unique_ptr<Storage> file,
                                                     std::unique_ptr<Storage> data_file,
                                                     std::unique_ptr<Metadata> metadata,
                                                     const Config& config) noexcept {
  try {
    auto codec = VARVE_TRY(make_codec(metadata->header.compression));
    auto image = std::make_unique<Qcow2Image>(std::move(file), std::move(data_file),
                                              std::move(metadata), std::move(codec), config);
    VARVE_TRY(image->reserve());
    return image;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate an image");
  }
}

Qcow2Image::Qcow2Image(std::unique_ptr<Storage> file, std::unique_ptr<Storage> data_file,
                       std::unique_ptr<Metadata> metadata, std::unique_ptr<Codec> codec,
                       const Config& config)
    : file_(std::move(file)),
      data_file_(std::move(data_file)),
      metadata_(std::move(metadata)),
      codec_(std::move(codec)),
      config_(config),
      fill_pool_(2 * metadata_->geometry.cluster_bytes(),
                 scratch_buffers(2 * metadata_->geometry.cluster_bytes(), config.operations_max)),
      codec_pool_(3 * metadata_->geometry.cluster_bytes(),
                  scratch_buffers(3 * metadata_->geometry.cluster_bytes(), config.operations_max)) {
}

// One flush operation for each request that may be in flight: a request can always be answered.
Result<void> Qcow2Image::reserve() noexcept {
  return pools_.flushes.reserve(*this, config_.operations_max + kControlRequests);
}

Qcow2Image::~Qcow2Image() {
  VARVE_ASSERT(!has_requests());
  // Background work of an image that was not closed ends here; nothing new is written.
  metadata_->commit.poison();
  end_control_tasks();
  wait_until_idle();
}

void Qcow2Image::end_control_tasks() noexcept {
  for (ControlTask* task = control_tasks.front(); task != nullptr;) {
    ControlTask* const next = control_tasks.next(*task);
    task->abandon();
    task = next;
  }
  while (!control_tasks.empty()) {
    file_->engine().wait();
  }
}

void Qcow2Image::wait_until_idle() noexcept {
  varve::wait_until_idle(*metadata_);
}

ReadSource Qcow2Image::read_source() noexcept {
  return {metadata_.get(), &metadata_->map, backing.get(), codec_.get(), &codec_pool_};
}

WriteTarget Qcow2Image::write_target() noexcept {
  return {read_source(), &holds_, &fill_pool_, size()};
}

void Qcow2Image::submit(BlockRequest& request) noexcept {
  request.internal = BlockRequest::Private();
  latency.begin(request);
  take_in(request);
}

void Qcow2Image::submit_packed(BlockRequest& request, IoVector packed) noexcept {
  VARVE_ASSERT(request.operation == BlockOperation::write_compressed &&
               request.length <= metadata_->geometry.cluster_bytes() &&
               packed.size < metadata_->geometry.cluster_bytes());
  request.internal = BlockRequest::Private();
  request.internal.packed = packed;
  latency.begin(request);
  take_in(request);
}

void Qcow2Image::take_in(BlockRequest& request) noexcept {
  // Requests are queued only while none can start.
  if (can_start()) {
    dispatch(request);
  } else {
    queue_.push(request);
  }
}

Operation& Qcow2Image::choose(const BlockRequest& request, const Result<void>& valid) noexcept {
  Operation* operation = nullptr;
  Result<void> answer = valid;
  if (valid && request.length != 0) {
    switch (request.operation) {
      case BlockOperation::read:
        operation = pools_.reads.take(*this);
        break;
      case BlockOperation::write:
        operation = pools_.writes.take(*this);
        break;
      case BlockOperation::write_compressed:
        operation = pools_.compressed.take(*this);
        break;
      case BlockOperation::write_zeroes:
      case BlockOperation::discard:
        operation = pools_.zeroes.take(*this);
        break;
      case BlockOperation::flush:
        break;
    }
    if (operation == nullptr && request.operation != BlockOperation::flush) {
      answer = failure(ErrorCode::no_memory, "cannot allocate an operation");
    }
  }
  if (operation != nullptr) {
    return *operation;
  }
  FlushOperation* flush = pools_.flushes.take(*this);
  VARVE_ASSERT(flush != nullptr);  // See reserve().
  if (!answer || request.operation != BlockOperation::flush) {
    flush->answer_with(answer);
  }
  return *flush;
}

void Qcow2Image::dispatch(BlockRequest& request) noexcept {
  Result<void> valid = validate_request(request, size(), metadata_->is_writable);
  if (valid && metadata_->commit.is_poisoned() && request.operation != BlockOperation::read) {
    valid = failure(ErrorCode::poisoned, metadata_->guard.has_tripped()
                                             ? "the image is damaged and is not written any more"
                                             : "an earlier flush failed; reopen the image");
  }
  if (valid && data_file_ == nullptr && metadata_->header.has_data_file() &&
      request.operation != BlockOperation::flush) {
    valid = failure(ErrorCode::unsupported, "the external data file is not open");
  }
  begin(choose(request, valid), request);
}

void Qcow2Image::begin(Operation& operation, BlockRequest& request) noexcept {
  ++in_flight_;
  ++submitting_;
  operation.begin(request);
  --submitting_;
}

void Qcow2Image::submit_behind_gate(BlockRequest& request) noexcept {
  VARVE_ASSERT(is_gate_closed_);
  request.internal = BlockRequest::Private();
  latency.begin(request);
  begin(choose(request, {}), request);
}

void Qcow2Image::start_queued() noexcept {
  while (!queue_.empty() && can_start()) {
    dispatch(*queue_.pop());
  }
}

void Qcow2Image::operation_ended() noexcept {
  --in_flight_;
  start_queued();
  if (is_gate_closed_ && in_flight_ == 0 && gate_waiter_ != nullptr) {
    std::exchange(gate_waiter_, nullptr)->resume({});
  }
}

void Qcow2Image::close_gate(Waiter& waiter) noexcept {
  VARVE_ASSERT(!is_gate_closed_);
  is_gate_closed_ = true;
  if (in_flight_ == 0) {
    metadata_->defer(waiter, {});
  } else {
    gate_waiter_ = &waiter;
  }
}

void Qcow2Image::open_gate() noexcept {
  is_gate_closed_ = false;
  start_queued();
}

void Qcow2Image::close_gate_and_wait() noexcept {
  VARVE_ASSERT(!is_gate_closed_);
  is_gate_closed_ = true;
  while (in_flight_ != 0) {
    file_->engine().wait();
  }
}

ImageFacts Qcow2Image::facts() const {
  const Header& header = metadata_->header;
  ImageFacts facts;
  facts.format = Format::qcow2;
  facts.virtual_size = header.virtual_size;
  facts.file_size = file_->size();
  facts.version = header.version;
  facts.cluster_bytes = static_cast<std::uint32_t>(header.geometry.cluster_bytes());
  facts.refcount_bits = header.geometry.refcount_bits();
  facts.compression = header.compression;
  facts.lazy_refcounts = header.lazy_refcounts();
  facts.extended_l2 = header.geometry.extended_l2;
  facts.data_file_raw = (header.autoclear & kAutoclearDataFileRaw) != 0;
  facts.dirty = header.is_dirty();
  facts.corrupt = header.is_corrupt();
  facts.backing_name = header.backing_name;
  facts.backing_format = header.backing_format().value_or("");
  facts.data_file_name = header.data_file_name().value_or("");
  facts.snapshot_count = static_cast<std::uint32_t>(metadata_->snapshots.entries.size());
  return facts;
}

Result<BlockStatus> Qcow2Image::layer_status(std::uint64_t offset, std::uint64_t length) noexcept {
  return map_status(*metadata_, metadata_->map, offset, length);
}

Result<BlockStatus> map_status(Metadata& metadata, Map& map, std::uint64_t offset,
                               std::uint64_t length) noexcept {
  const MapExtent extent =
      VARVE_TRY(ask_until(metadata, [&] { return map.find(GuestOffset(offset), length); }));
  BlockStatus status;
  status.length = extent.length;
  status.allocated = extent.kind != MapExtent::Kind::unallocated;
  status.zero = extent.kind == MapExtent::Kind::zero;
  status.compressed = extent.kind == MapExtent::Kind::compressed;
  status.data = extent.kind == MapExtent::Kind::data || status.compressed;
  status.has_host_offset = extent.kind == MapExtent::Kind::data || (status.zero && extent.has_host);
  if (status.has_host_offset) {
    status.host_offset = extent.entry.host().value() + map.geometry().in_cluster(offset);
  }
  return status;
}

// Everything durable, what was dropped given back, the file cut to what is used.
Result<void> Qcow2Image::close() noexcept {
  if (std::exchange(is_closed_, true)) {
    return {};
  }
  end_control_tasks();
  while (has_requests()) {
    file_->engine().wait();
  }
  is_gate_closed_ = true;
  Result<void> result;
  if (metadata_->is_writable) {
    result = shut_down(*metadata_);
  }
  wait_until_idle();
  unlock_files();
  if (backing != nullptr) {
    const Result<void> backing_result = backing->close();
    result = result ? backing_result : result;
  }
  return result;
}

void Qcow2Image::add_statistics(ImageStatistics& statistics) const noexcept {
  const TableCache& blocks = metadata_->refcounts.blocks();
  statistics.l2 = {metadata_->l2.hits(), metadata_->l2.loads()};
  statistics.refcount = {blocks.hits(), blocks.loads()};
}

// --- Handing the image over, and taking it back ---

Result<void> Qcow2Image::lock_files() noexcept {
  if (!lock_mode.is_wanted) {
    return {};
  }
  VARVE_TRY(file_->lock(lock_mode.for_writing, lock_mode.share_everything));
  if (data_file_ != nullptr) {
    const Result<void> locked = data_file_->lock(lock_mode.for_writing, lock_mode.share_everything);
    if (!locked) {
      file_->unlock();
    }
    return locked;
  }
  return {};
}

void Qcow2Image::unlock_files() noexcept {
  file_->unlock();
  if (data_file_ != nullptr) {
    data_file_->unlock();
  }
}

Result<void> Qcow2Image::check_release() const noexcept {
  if (!control_tasks.empty() || is_growing_) {
    return failure(ErrorCode::busy, "an operation is under way");
  }
  if (!open_snapshots.empty() || state_writers != 0) {
    return failure(ErrorCode::busy, "a snapshot or a machine state is open");
  }
  return {};
}

Result<void> Qcow2Image::release() noexcept {
  // Until the image is ours again nothing may change it; what is asked of it is of the past.
  const bool was_writable = std::exchange(metadata_->is_writable, false);
  if (was_writable) {
    const Result<void> ended = shut_down(*metadata_);
    if (!ended) {
      metadata_->is_writable = true;
      return ended;
    }
  }
  wait_until_idle();
  unlock_files();
  return {};
}

Result<std::unique_ptr<Metadata>> Qcow2Image::load_anew() noexcept {
  VARVE_TRY(file_->refresh());
  if (data_file_ != nullptr) {
    VARVE_TRY(data_file_->refresh());
  }
  Metadata::Loaded loaded = VARVE_TRY(load_tables(*file_));
  const Header& now = loaded.header;
  const Header& before = metadata_->header;
  const bool is_same = now.geometry.cluster_bits == before.geometry.cluster_bits &&
                       now.geometry.extended_l2 == before.geometry.extended_l2 &&
                       now.compression == before.compression &&
                       now.backing_name == before.backing_name &&
                       now.backing_format() == before.backing_format() &&
                       now.data_file_name() == before.data_file_name();
  if (!is_same) {
    return failure(ErrorCode::unsupported, "the file holds another image now: open it anew");
  }
  return make_metadata(config_.metadata, std::move(loaded), config_.allow_corrupt);
}

Result<void> Qcow2Image::reload() noexcept {
  wait_until_idle();
  metadata_->commit.poison();
  if (!control_tasks.empty() || !open_snapshots.empty()) {
    return failure(ErrorCode::busy, "the image is used while it is repaired: reopen it");
  }
  Metadata::Loaded loaded = VARVE_TRY(
      load_tables(*file_, {.to_be_repaired = true, .file_end = metadata_->file_end_at_load}));
  auto anew = VARVE_TRY(Metadata::make(config_.metadata, std::move(loaded)));
  VARVE_ASSERT(anew->control.try_take());
  anew->counters = metadata_->counters;
  metadata_ = std::move(anew);
  return {};
}

Result<void> Qcow2Image::reacquire() noexcept {
  VARVE_TRY(lock_files());
  Result<std::unique_ptr<Metadata>> anew = load_anew();
  if (!anew) {
    unlock_files();
    return anew.error();
  }
  (*anew)->counters = metadata_->counters;
  metadata_ = std::move(*anew);
  return {};
}

}  // namespace varve
