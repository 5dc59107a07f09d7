// Taking a group snapshot:
//   prepare all -> stop -> freeze all -> resume -> save -> publish the first, pending -> publish
//   the others, pending -> commit: the first is no longer pending -> nor are the others.
// The first is published before the others, so a pending member whose first is missing tells that
// somebody deleted that one. Failure before the commit: what is published is deleted again, the
// first last.
#include <chrono>
#include <new>

#include <varve/snapshot_operation.h>

#include "base/failure.h"
#include "base/try.h"
#include "snapshot/create_operation.h"
#include "snapshot/group_edit.h"

namespace varve {
namespace {

using Clock = std::chrono::steady_clock;

class GroupCreation {
 public:
  GroupCreation(std::span<Image* const> images, std::vector<Qcow2Image*> cores)
      : images_(images), cores_(std::move(cores)), group_(Uuid::make_random()) {}

  Result<GroupCreated> run(const SnapshotCreateOptions& options, const GroupSteps& steps) {
    VARVE_TRY(prepare(options));
    if (steps.stop != nullptr) {
      VARVE_TRY(steps.stop(steps.owner));
    }
    const Result<void> frozen = freeze();
    if (steps.resume != nullptr) {
      steps.resume(steps.owner);
    }
    VARVE_TRY(frozen);
    if (steps.save != nullptr) {
      VARVE_TRY(steps.save(steps.owner));
    }
    const Result<void> published = publish();
    if (!published) {
      operations_.clear();
      static_cast<void>(remove_members(images_, cores_, group_));
      return published.error();
    }
    VARVE_TRY(complete_members(cores_, group_));
    return created();
  }

 private:
  // The images' UUIDs. Copies of one image have one UUID: the later gets a new one.
  [[nodiscard]] std::vector<Uuid> members() const {
    std::vector<Uuid> uuids;
    for (const Qcow2Image* core : cores_) {
      const Uuid uuid = image_uuid_of(core->metadata().header, core->metadata().snapshots);
      const bool is_taken =
          uuid.is_null() || std::find(uuids.begin(), uuids.end(), uuid) != uuids.end();
      uuids.push_back(is_taken ? Uuid::make_random() : uuid);
    }
    return uuids;
  }

  Result<void> prepare(const SnapshotCreateOptions& options) {
    GroupPlace place{group_, members(), 0};
    SnapshotCreateOptions member = options;
    for (Qcow2Image* core : cores_) {
      VARVE_TRY(validate_create(*core, member));
      operations_.push_back(std::make_unique<CreateOperation>(*core, member, place));
      OperationOptions stepwise;
      stepwise.stepwise = true;
      VARVE_TRY(operations_.back()->begin(stepwise));
      ++place.index;
      member.uuid = Uuid();
      member.state = nullptr;
    }
    for (const auto& operation : operations_) {
      VARVE_TRY(operation->wait_for(SnapshotPhase::ready));
    }
    return {};
  }

  Result<void> freeze() {
    const Clock::time_point begin = Clock::now();
    for (const auto& operation : operations_) {
      VARVE_TRY(operation->freeze());
    }
    pause_ = static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - begin).count());
    return {};
  }

  Result<void> publish() {
    VARVE_TRY(operations_.front()->publish());
    VARVE_TRY(operations_.front()->wait());
    for (std::size_t i = 1; i < operations_.size(); ++i) {
      VARVE_TRY(operations_[i]->publish());
    }
    Result<void> result;
    for (const auto& operation : operations_) {
      const Result<void> done = operation->wait();
      result = result ? done : result;
    }
    return result;
  }

  [[nodiscard]] GroupCreated created() const {
    GroupCreated result;
    result.group = group_;
    result.pause_nanoseconds = pause_;
    for (const auto& operation : operations_) {
      result.members.push_back(
          {operation->id(), operation->uuid(), operation->times().pause_nanoseconds});
    }
    return result;
  }

  std::span<Image* const> images_;
  std::vector<Qcow2Image*> cores_;
  Uuid group_;
  std::vector<std::unique_ptr<CreateOperation>> operations_;
  std::uint64_t pause_ = 0;
};

}  // namespace

Result<GroupCreated> create_group_snapshot(std::span<Image* const> images,
                                           const SnapshotCreateOptions& options,
                                           const GroupSteps& steps) noexcept {
  try {
    auto cores = VARVE_TRY(qcow2_of_all(images));
    return GroupCreation(images, std::move(cores)).run(options, steps);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a group snapshot");
  }
}

}  // namespace varve
