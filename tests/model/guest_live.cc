// The part of Guest that runs snapshot operations beside its requests.
#include "base/assert.h"
#include "model/guest.h"
#include "sim/allocation_faults.h"

namespace varve::model {

void Guest::begin_live(LiveOperation::Kind kind) {
  VARVE_ASSERT(!live_);
  live_.emplace();
  live_->kind = kind;
  live_->before = now().snapshots;
  begin_control();  // What it claims may leak.
}

Result<void> Guest::started(Result<std::unique_ptr<SnapshotOperation>> operation, Image& image) {
  if (operation) {
    live_->operation = std::move(*operation);
    return {};
  }
  Version before = now();
  before.snapshots = live_->before;
  live_.reset();
  reconcile_list(image, before);
  return operation.error();
}

Result<void> Guest::freeze_snapshot(Image& image, const std::string& name) {
  begin_live(LiveOperation::Kind::create);
  SnapshotCreateOptions options;
  options.name = name;
  Result<void> result = started(
      sim::within_window([&] { return varve::start_create(image, options, {.stepwise = true}); }),
      image);
  if (!result) {
    return result;
  }
  SnapshotOperation& operation = *live_->operation;
  result = sim::within_window([&] { return operation.wait_for(SnapshotPhase::ready); });
  result = result ? sim::within_window([&] { return operation.freeze(); }) : result;
  if (!result) {
    sim::within_window([&] { live_.reset(); });
    return result;
  }
  live_->snapshot = {name, now().disk};
  live_->fixed_at = versions_.size() - 1;
  return {};
}

Result<void> Guest::publish_snapshot() {
  if (!live_) {
    return {};
  }
  begin_control().snapshots.push_back(live_->snapshot);
  return sim::within_window([&] { return live_->operation->publish(); });
}

Result<void> Guest::start_apply(Image& image, std::size_t index) {
  begin_live(LiveOperation::Kind::apply);
  live_->snapshot = now().snapshots[index];
  OperationOptions options;
  options.changed = &Guest::phase_changed;
  options.owner = this;
  return started(sim::within_window([&] { return varve::start_apply(image, index, options); }),
                 image);
}

void Guest::phase_changed(SnapshotOperation& operation, void* owner) {
  const sim::AllocationPause pause;
  if (operation.progress().phase == SnapshotPhase::publishing) {
    static_cast<Guest*>(owner)->switch_disk();
  }
}

// The gate has held the request under way: it is one of the new disk.
void Guest::switch_disk() {
  if (!live_ || std::exchange(live_->is_switched, true)) {
    return;
  }
  Version& version = begin_control();
  version.disk = live_->snapshot.disk;
  version.switches_disk = true;
  live_->fixed_at = versions_.size() - 1;
  if (change_) {
    change_(begin(version.disk.size));
  }
}

Result<void> Guest::start_delete(Image& image, std::size_t index) {
  begin_live(LiveOperation::Kind::remove);
  Version& version = versions_.back();
  version.snapshots.erase(version.snapshots.begin() + static_cast<std::ptrdiff_t>(index));
  return started(sim::within_window([&] { return varve::start_delete(image, index); }), image);
}

void Guest::cancel_operation() {
  if (live_) {
    live_->is_cancelled = true;
    live_->operation->cancel();
  }
}

Result<void> Guest::finish_operation(Image& image) {
  if (!live_) {
    return {};
  }
  const Result<void> result = sim::within_window([&] { return live_->operation->wait(); });
  const LiveOperation done = std::move(*live_);
  live_.reset();
  if (result) {
    // An apply changes no list: what another operation behind it does to it is not promised here.
    const bool is_apply = done.kind == LiveOperation::Kind::apply;
    promise(false, !is_apply, is_apply);
    if (done.kind != LiveOperation::Kind::remove) {
      floors_.back().disk = std::max(floors_.back().disk, done.fixed_at);
    }
    return {};
  }
  if (done.kind != LiveOperation::Kind::apply) {
    Version before = now();
    before.snapshots = done.before;
    reconcile_list(image, before);
  }
  const bool is_expected = done.is_cancelled && result.error().code == ErrorCode::cancelled;
  return is_expected ? Result<void>() : result;
}

}  // namespace varve::model
