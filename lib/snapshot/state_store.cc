#include "snapshot/state_store.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/failure.h"
#include "base/try.h"
#include "meta/ask.h"
#include "snapshot/state_unit.h"

namespace varve {
namespace {

// Buffers of a writer together stay near this.
constexpr std::uint64_t kBufferBytes = 4 * kMiB;
constexpr std::uint64_t kUnitsMin = 4;
// Tables written at once.
constexpr std::uint64_t kTableBytes = 4 * kMiB;

}  // namespace

Result<std::unique_ptr<StateStore>> StateStore::make(Qcow2Image& image) noexcept {
  try {
    return std::make_unique<StateStore>(image);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a state writer");
  }
}

StateStore::StateStore(Qcow2Image& image)
    : image_(&image),
      metadata_(&image.metadata()),
      unit_bytes_(StateLayout::unit_bytes(metadata_->geometry)),
      unit_clusters_(unit_bytes_ / metadata_->geometry.cluster_bytes()),
      units_max_(static_cast<std::size_t>(std::max(kUnitsMin, kBufferBytes / unit_bytes_))),
      has_backing_(!metadata_->header.backing_name.empty()) {
  units_.reserve(units_max_);
  ++image_->state_writers;
}

StateStore::~StateStore() {
  VARVE_ASSERT(queue_first_ == nullptr);
  wait_idle();
  if (!is_attached_) {
    --image_->state_writers;
    give_back();
  }
}

// From here on the writer needs its image no more, and may outlive it.
void StateStore::attached() noexcept {
  if (!std::exchange(is_attached_, true)) {
    --image_->state_writers;
  }
}

// Whether the blob may reach to `end`: its sums stand behind it, and an L1 table maps both.
Result<void> StateStore::validate(std::uint64_t end) const noexcept {
  if (is_finished_) {
    return failure(ErrorCode::invalid_argument, "the state is finished");
  }
  if (image_->is_closed()) {
    return failure(ErrorCode::invalid_argument, "the image is closed");
  }
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t entries =
      end > kStateBytesMax ? kL1BytesMax
                           : geometry.l1_entries_for(StateLayout::sums_begin(geometry, end) +
                                                     StateLayout::sums_bytes(end)) +
                                 geometry.l1_entries_for(metadata_->header.virtual_size);
  if (end > kStateBytesMax || entries > kL1BytesMax / 8) {
    Error error = failure_at(ErrorCode::out_of_range, IoTag::state, end,
                             "the state is larger than a snapshot can hold");
    error.value = end;
    error.limit = kStateBytesMax;
    return error;
  }
  return {};
}

void StateStore::submit(StateRequest& request) noexcept {
  request.internal = StateRequest::Private();
  const auto end = checked_add<std::uint64_t>(request.offset, request.source.size());
  if (const Result<void> valid = validate(end.value_or(~std::uint64_t{0})); !valid) {
    fail(valid.error());
  } else {
    size_ = std::max(size_, *end);
  }
  (queue_last_ != nullptr ? queue_last_->internal.next : queue_first_) = &request;
  queue_last_ = &request;
  pump();
}

Result<void> StateStore::extend(std::uint64_t size) noexcept {
  VARVE_TRY(validate(size));
  size_ = std::max(size_, size);
  return {};
}

// Takes in as much of the queue as the units hold.
void StateStore::pump() noexcept {
  if (std::exchange(is_pumping_, true)) {
    return;
  }
  while (queue_first_ != nullptr) {
    StateRequest& request = *queue_first_;
    bool is_done = false;
    try {
      is_done = error_.has_value() || advance(request);
    } catch (const std::bad_alloc&) {
      fail(failure(ErrorCode::no_memory, "cannot allocate a block of the state"));
      is_done = true;
    }
    if (!is_done) {
      if (error_) {
        continue;
      }
      break;
    }
    queue_first_ = request.internal.next;
    queue_last_ = queue_first_ == nullptr ? nullptr : queue_last_;
    complete(request);
  }
  is_pumping_ = false;
}

// False: a unit must become ready first.
bool StateStore::advance(StateRequest& request) {
  while (request.internal.done_bytes < request.source.size()) {
    const std::uint64_t at = request.offset + request.internal.done_bytes;
    Unit* unit = obtain(at / unit_bytes_);
    if (unit == nullptr || unit->state() != Unit::State::ready) {
      return false;
    }
    const std::uint64_t in_unit = at % unit_bytes_;
    const std::uint64_t length = std::min<std::uint64_t>(
        unit_bytes_ - in_unit, request.source.size() - request.internal.done_bytes);
    unit->put(in_unit, request.source.subspan(request.internal.done_bytes, length));
    request.internal.done_bytes += length;
    if (unit->is_full()) {
      unit->write();
    }
  }
  return true;
}

StateStore::Unit* StateStore::find(std::uint64_t index) noexcept {
  for (const auto& unit : units_) {
    if (unit->state() != Unit::State::empty && unit->index() == index) {
      return unit.get();
    }
  }
  return nullptr;
}

// The unit of that place, perhaps not ready yet; null when all others are busy for now.
StateStore::Unit* StateStore::obtain(std::uint64_t index) {
  if (Unit* unit = find(index)) {
    return unit;
  }
  Unit* idle = nullptr;
  Unit* oldest = nullptr;
  for (const auto& unit : units_) {
    if (!unit->is_busy() && !unit->is_dirty()) {
      idle = idle == nullptr || unit->last_use() < idle->last_use() ? unit.get() : idle;
    } else if (!unit->is_busy()) {
      oldest = oldest == nullptr || unit->last_use() < oldest->last_use() ? unit.get() : oldest;
    }
  }
  if (idle == nullptr && units_.size() < units_max_) {
    Result<Buffer> buffer = Buffer::allocate(unit_bytes_);
    if (!buffer) {
      fail(buffer.error());
      return nullptr;
    }
    units_.push_back(std::make_unique<Unit>(*this, std::move(*buffer)));
    idle = units_.back().get();
  }
  if (idle == nullptr) {
    if (oldest != nullptr) {
      oldest->write();  // Zeros need no write: it may be ready again at once.
    }
    return oldest != nullptr && !oldest->is_busy() ? obtain(index) : nullptr;
  }
  idle->assign(index);
  return idle;
}

void StateStore::complete(StateRequest& request) noexcept {
  request.internal.next = nullptr;
  (done_last_ != nullptr ? done_last_->internal.next : done_first_) = &request;
  done_last_ = &request;
  if (std::exchange(are_completions_posted_, true)) {
    return;
  }
  completions_ = StorageRequest();
  completions_.owner = this;
  completions_.complete = [](StorageRequest& posted, const Result<void>&) {
    static_cast<StateStore*>(posted.owner)->run_completions();
  };
  engine().post(completions_, {});
}

void StateStore::run_completions() noexcept {
  are_completions_posted_ = false;
  StateRequest* request = std::exchange(done_first_, nullptr);
  done_last_ = nullptr;
  while (request != nullptr) {
    StateRequest* next = request->internal.next;
    request->complete(*request, error_ ? Result<void>(*error_) : Result<void>());
    request = next;
  }
}

void StateStore::fail(const Error& error) noexcept {
  if (!error_) {
    error_ = error;
  }
}

bool StateStore::is_busy() const noexcept {
  return queue_first_ != nullptr || are_completions_posted_ ||
         std::any_of(units_.begin(), units_.end(),
                     [](const std::unique_ptr<Unit>& unit) { return unit->is_busy(); });
}

void StateStore::wait_idle() noexcept {
  while (is_busy()) {
    engine().wait();
  }
}

Result<void> StateStore::write_units() noexcept {
  wait_idle();
  for (const auto& unit : units_) {
    if (unit->is_dirty() && !error_) {
      unit->write();
    }
  }
  wait_idle();
  return error_ ? Result<void>(*error_) : Result<void>();
}

// Version 2 above a backing file: zeros are data.
Result<void> StateStore::fill_holes() {
  const std::uint64_t end =
      StateLayout::sums_begin(metadata_->geometry, size_) + StateLayout::sums_bytes(size_);
  for (std::uint64_t index = 0; index < divide_up(end, unit_bytes_); ++index) {
    Unit* unit = nullptr;
    while (!error_ && (unit == nullptr || unit->state() != Unit::State::ready)) {
      unit = obtain(index);
      if (unit == nullptr || unit->is_busy()) {
        engine().wait();
      }
    }
    if (!error_) {
      unit->mark_dirty();
    }
  }
  return write_units();
}

Result<void> StateStore::finish() noexcept {
  VARVE_TRY(validate(size_));
  VARVE_TRY(write_units());
  try {
    sums_.resize(StateLayout::sums_bytes(size_) / StateLayout::kSumBytes);
    digest_ = StateLayout::digest_of(sums_, size_);
    is_summing_ = true;
    VARVE_TRY(write_sums());
    if (has_backing_ && metadata_->header.version < 3) {
      VARVE_TRY(fill_holes());
    }
    VARVE_TRY(write_tables());
  } catch (const std::bad_alloc&) {
    fail(failure(ErrorCode::no_memory, "cannot finish the state"));
    return *error_;
  }
  is_finished_ = true;
  return {};
}

Result<void> StateStore::write_sums() {
  StateRequest request;
  request.offset = StateLayout::sums_begin(metadata_->geometry, size_);
  request.source = std::as_bytes(std::span(sums_));
  tables_.resize(metadata_->geometry.l1_entries_for(request.offset + request.source.size()));
  request.complete = [](StateRequest&, const Result<void>&) {};
  queue_first_ = queue_last_ = &request;
  pump();
  return write_units();
}

// The L2 tables, in clusters of their own; l1_ gets their places.
Result<void> StateStore::write_tables() {
  Result<void> result;
  l1_.assign(tables_.size(), 0);
  std::vector<Buffer> buffers;
  Batch batch(metadata_->counters);
  const std::uint64_t at_once =
      std::max<std::uint64_t>(1, kTableBytes / metadata_->geometry.cluster_bytes());
  for (std::uint64_t index = 0; result && index < tables_.size(); ++index) {
    result = write_table(index, batch, buffers);
    if (result && (batch.size() == at_once || index + 1 == tables_.size())) {
      result = batch.run();
      metadata_->commit.note_unsynced(false);
      buffers.clear();
    }
  }
  if (!result) {
    batch.clear();
    fail(result.error());
  }
  return result;
}

Result<void> StateStore::write_table(std::uint64_t index, Batch& batch,
                                     std::vector<Buffer>& buffers) {
  const Geometry& geometry = metadata_->geometry;
  const Hosts& hosts = tables_[index];
  const L2Entry hole = has_backing_ && metadata_->header.version >= 3 ? L2Entry::zero(geometry)
                                                                      : L2Entry::unallocated();
  const bool is_empty =
      std::all_of(hosts.begin(), hosts.end(), [](std::uint64_t host) { return host == 0; });
  if (is_empty && hole == L2Entry::unallocated()) {
    return {};
  }
  buffers.push_back(VARVE_TRY(Buffer::allocate(geometry.cluster_bytes())));
  const Bytes bytes = buffers.back().bytes();
  for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
    const HostOffset host = geometry.offset_of(HostCluster(i < hosts.size() ? hosts[i] : 0));
    const L2Entry entry = geometry.extended_l2 ? L2Entry::extended(host, false, 0xffff'ffff)
                                               : L2Entry::standard(host, false);
    (host.value() != 0 ? entry : hole).store(geometry, bytes, i);
  }
  const Claim claim = VARVE_TRY(ask_until(*metadata_, [&] { return metadata_->store.claim(1); }));
  const HostOffset where = geometry.offset_of(claim.run.first);
  l1_[index] = L1Entry::table(where, false).raw();
  return batch.write(*metadata_->file, IoTag::l2, where, bytes);
}

// The map holds [begin, end) cluster by cluster.
void StateStore::make_room(std::uint64_t begin, std::uint64_t end) {
  const Geometry& geometry = metadata_->geometry;
  const std::uint64_t tables = geometry.l1_entries_for(end);
  if (tables_.size() < tables) {
    tables_.resize(tables);
  }
  for (std::uint64_t i = begin / geometry.l2_coverage(); i < tables; ++i) {
    if (tables_[i].empty()) {
      tables_[i].resize(geometry.l2_entries());
    }
  }
}

// Everything claimed goes the way of all that is freed. Of a closed image it is leaked: safe, found
// by check.
void StateStore::give_back() noexcept {
  bool goes_on = !metadata_->commit.is_poisoned() && !image_->is_closed();
  for (Hosts& hosts : tables_) {
    goes_on = goes_on && release_all(hosts);
  }
  for (std::uint64_t& entry : l1_) {
    entry = metadata_->geometry.cluster_of(L1Entry(entry).offset()).value();
  }
  if (goes_on) {
    static_cast<void>(release_all(l1_));
  }
}

// False: no room can be made to remember them. They leak, which is safe.
bool StateStore::release_all(Hosts& hosts) noexcept {
  for (std::size_t at = 0; at < hosts.size();) {
    std::size_t count = 1;
    while (hosts[at] != 0 && at + count < hosts.size() && hosts[at + count] == hosts[at] + count) {
      ++count;
    }
    if (hosts[at] != 0) {
      const Result<Nothing> room =
          ask_until(*metadata_, [&] { return metadata_->store.has_room_for_drops(1); });
      if (!room) {
        return false;
      }
      metadata_->store.release({HostCluster(hosts[at]), count});
    }
    at += count;
  }
  return true;
}

}  // namespace varve
