// The third part of ModelRunner: snapshot operations, cancelled at any moment, and growth while
// requests are in flight.
//
// A snapshot must show the disk as it was at its freeze; requests in flight then are in it or not,
// sector by sector. An apply's switch moves the requests that have not ended by then to the new
// disk: the gate has held them.
#include <algorithm>

#include <varve/snapshot.h>

#include "base/units.h"
#include "model/lab.h"
#include "model/model_runner.h"

namespace varve::model {

namespace {
constexpr unsigned kLivePerMille = 60;
constexpr std::size_t kOperationsMax = 2;
}  // namespace

void ModelRunner::live_step() {
  host_->engine().poll();  // As many turns as requests, so that operations get somewhere.
  collect_operations();
  if (!failure_.empty() || random_.below(1000) >= kLivePerMille) {
    return;
  }
  const std::uint64_t choice = random_.below(100);
  if (choice < 8) {
    grow_live();
  } else if (choice < 12) {
    cancel_operation();
  } else if (choice < 60 && !operations_.empty()) {
    move_on(*random_.pick(operations_));
  } else if (operations_.size() < kOperationsMax) {
    start_operation();
  }
}

void ModelRunner::start_operation() {
  auto live = std::make_unique<LiveOperation>();
  live->runner = this;
  OperationOptions options;
  options.wait_for_turn = operations_.empty() || random_.chance(70);
  options.stepwise = random_.chance(40);
  options.changed = &ModelRunner::phase_changed;
  options.owner = live.get();
  const std::uint64_t choice = random_.below(100);
  const bool creates = snapshots_.empty() || (choice < 45 && snapshots_.size() + 1 < kSnapshotsMax);
  Result<std::unique_ptr<SnapshotOperation>> started = std::unique_ptr<SnapshotOperation>();
  if (creates) {
    SnapshotCreateOptions wishes;
    wishes.name = live->name = "live " + std::to_string(next_name_++);
    started = start_create(*image_, wishes, options);
  } else {
    live->name = random_.pick(snapshots_)->name;
    live->kind = choice < 75 ? LiveKind::apply : LiveKind::remove;
    const auto index = index_of(live->name);
    if (!index) {
      return;
    }
    started = live->kind == LiveKind::apply ? start_apply(*image_, *index, options)
                                            : start_delete(*image_, *index, options);
  }
  log("start " + std::to_string(static_cast<int>(live->kind)) + " of " + live->name +
      (options.stepwise ? ", stepwise" : ""));
  if (started) {
    live->operation = std::move(*started);
    operations_.push_back(std::move(live));
  } else if (options.wait_for_turn || started.error().code != ErrorCode::busy) {
    judge_failure(*live, started.error());
  }
}

void ModelRunner::move_on(LiveOperation& live) {
  SnapshotOperation& operation = *live.operation;
  switch (operation.progress().phase) {
    case SnapshotPhase::ready:
      if (must("freeze " + live.name, operation.freeze())) {
        live.frozen = model_.frozen();
      }
      break;
    case SnapshotPhase::frozen:
    case SnapshotPhase::reclaiming:
      log("publish " + live.name);
      // Refused where it was told already, or was not asked to stand still.
      static_cast<void>(operation.publish());
      break;
    default:
      break;
  }
}

void ModelRunner::cancel_operation() {
  if (!operations_.empty()) {
    LiveOperation& live = *random_.pick(operations_);
    log("cancel " + live.name);
    live.is_cancelled = true;
    live.operation->cancel();
  }
}

// The requests in flight are those of the disk as it is; an apply may switch before its turn comes.
void ModelRunner::grow_live() {
  if (model_.size() >= options_.size_max) {
    return;
  }
  const std::uint64_t more = random_.between(1, 16) * kSectorBytes;
  const std::uint64_t size =
      random_.chance(70) ? std::min(options_.size_max, model_.size() + more) : options_.size_max;
  log("grow under way to " + std::to_string(size));
  is_growing_ = true;
  const Result<void> grown = image_->grow(size);
  is_growing_ = false;
  if (!grown && grown.error().code == ErrorCode::unsupported && model_.size() > size) {
    return;
  }
  if (must("grown to " + std::to_string(size), grown)) {
    model_.grow(size);
  }
}

void ModelRunner::phase_changed(SnapshotOperation& operation, void* owner) {
  LiveOperation& live = *static_cast<LiveOperation*>(owner);
  ModelRunner& runner = *live.runner;
  const SnapshotPhase phase = operation.progress().phase;
  runner.log(live.name + " is in phase " + std::to_string(static_cast<int>(phase)));
  if (phase == SnapshotPhase::done) {
    runner.operation_done(live);
  } else if (live.kind == LiveKind::create && phase == SnapshotPhase::walking && !live.frozen) {
    live.frozen = runner.model_.frozen();
  } else if (live.kind == LiveKind::apply && phase == SnapshotPhase::publishing) {
    live.is_switched = true;
    if (KeptSnapshot* kept = runner.find_kept(live.name)) {
      runner.switch_disk(kept->model);
    } else {
      runner.fail("a deleted snapshot is applied");
    }
  }
}

void ModelRunner::switch_disk(const DiskModel& to) {
  DiskModel next = to.frozen();
  for (const auto& each : slots_) {
    Slot& slot = *each;
    if (!slot.busy || slot.model != &model_) {
      continue;
    }
    slot.changes.clear();
    BlockRequest& request = slot.request;
    const std::uint64_t end = request.offset + request.length;
    const bool is_compressed = request.operation == BlockOperation::write_compressed;
    if (end > next.size()) {
      slot.refusal = ErrorCode::out_of_range;
    } else if (is_compressed && end != next.size() &&
               end % options_.geometry.cluster_bytes() != 0) {
      slot.refusal = ErrorCode::invalid_argument;
    } else if (slot.is_read) {
      slot.read = next.begin_read(request.offset, request.length);
    } else if (request.operation != BlockOperation::discard &&
               request.operation != BlockOperation::flush) {
      slot.changes.emplace_back(next.begin_change(request.offset, request.length, slot.stamp),
                                Certainty::certain);
    }
  }
  model_ = std::move(next);
  for (const auto& slot : slots_) {
    const bool discards = slot->request.operation == BlockOperation::discard;
    if (slot->busy && slot->model == &model_ && discards && !slot->refusal) {
      begin_discard(*slot);
    }
  }
}

void ModelRunner::operation_done(LiveOperation& live) {
  const Result<void>& result = live.operation->result();
  if (!result) {
    judge_failure(live, result.error());
    if (live.is_switched) {
      fail("an apply failed after its switch");
    }
    return;
  }
  const auto kept = std::find_if(snapshots_.begin(), snapshots_.end(),
                                 [&](const auto& each) { return each->name == live.name; });
  switch (live.kind) {
    case LiveKind::create:
      if (!live.frozen) {
        fail(live.name + " was never frozen");
        return;
      }
      keep(live.name, *live.frozen);
      ++published_;
      break;
    case LiveKind::apply:
      if (!live.is_switched) {
        fail("an apply never switched");
      }
      break;
    case LiveKind::remove:
      if (kept == snapshots_.end() || (reader_ && kept->get() == reader_snapshot_)) {
        fail("an open or missing snapshot was deleted");
        return;
      }
      snapshots_.erase(kept);
      break;
  }
}

// What an operation may answer, and when.
void ModelRunner::judge_failure(const LiveOperation& live, const Error& error) {
  const KeptSnapshot* kept = find_kept(live.name);
  const bool is_good =
      (error.code == ErrorCode::cancelled && (live.is_cancelled || is_closing_)) ||
      (error.code == ErrorCode::out_of_range && options_.geometry.create.refcount_bits < 16) ||
      (error.code == ErrorCode::not_found && kept == nullptr) ||
      (error.code == ErrorCode::busy && live.kind == LiveKind::remove &&
       (live.name == looked_at_ || (reader_ && kept == reader_snapshot_)));
  log(live.name + " ends: " + describe(error));
  if (!is_good) {
    fail(live.name + ": " + describe(error));
  }
}

// Lets go of what is over; a snapshot just published is looked at while everything goes on.
void ModelRunner::collect_operations() {
  std::vector<std::string> published;
  std::erase_if(operations_, [&](const auto& live) {
    if (!live->operation->is_done()) {
      return false;
    }
    if (live->kind == LiveKind::create && live->operation->result()) {
      published.push_back(live->name);
    }
    return true;
  });
  for (const std::string& name : published) {
    KeptSnapshot* kept = find_kept(name);
    if (kept != nullptr && image_ != nullptr && failure_.empty() && !is_closing_) {
      compare_snapshot(*kept);
    }
  }
}

void ModelRunner::finish_operations() {
  while (failure_.empty() && !operations_.empty()) {
    for (const auto& live : operations_) {
      move_on(*live);
    }
    const bool is_over = std::any_of(operations_.begin(), operations_.end(),
                                     [](const auto& live) { return live->operation->is_done(); });
    if (!is_over) {
      host_->engine().wait();
    }
    collect_operations();
  }
}

// Its content may be one of several only until it has been seen.
void ModelRunner::compare_snapshot(KeptSnapshot& kept) {
  const std::string name = kept.name;
  const auto index = index_of(name);
  if (!index) {
    return;
  }
  looked_at_ = name;
  auto opened = open_snapshot(*image_, *index);
  if (!opened && opened.error().code == ErrorCode::busy && !operations_.empty()) {
    return;  // It is being deleted.
  }
  if (!must("open " + name, opened ? Result<void>() : opened.error())) {
    return;
  }
  const DiskModel model = kept.model;
  std::vector<std::byte> seen = kept.seen;
  std::vector<std::byte> bytes(static_cast<std::size_t>(model.size()));
  if ((*opened)->size() != model.size()) {
    fail(name + " has " + std::to_string((*opened)->size()) + " bytes, not " +
         std::to_string(model.size()));
  } else if (must("read " + name, (*opened)->read(0, bytes))) {
    if (const auto wrong = model.judge(0, bytes)) {
      fail(name + ": " + *wrong);
    } else if (!seen.empty() && seen != bytes) {
      fail(name + " has changed");
    }
  }
  must("close " + name, (*opened)->close());
  opened->reset();
  looked_at_.clear();
  // It could not be deleted meanwhile.
  if (KeptSnapshot* still = find_kept(name); still != nullptr) {
    still->seen = std::move(bytes);
  } else {
    fail(name + " was deleted while it was open");
  }
}

// Nothing: a deletion under way has published already, or the snapshot is missing.
std::optional<std::size_t> ModelRunner::index_of(const std::string& name) {
  const auto index = find_snapshot(*image_, {.text = name, .by = SnapshotReference::By::name});
  const bool is_going = std::any_of(operations_.begin(), operations_.end(), [&](const auto& live) {
    return live->kind == LiveKind::remove && live->name == name;
  });
  if (!index && !is_going) {
    fail(name + " is not listed: " + describe(index.error()));
  }
  return index ? std::optional(*index) : std::nullopt;
}

ModelRunner::KeptSnapshot* ModelRunner::find_kept(const std::string& name) {
  const auto kept = std::find_if(snapshots_.begin(), snapshots_.end(),
                                 [&](const auto& each) { return each->name == name; });
  return kept == snapshots_.end() ? nullptr : kept->get();
}

}  // namespace varve::model
