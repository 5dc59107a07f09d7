// Creating a set: one stepwise operation per image.
#include <algorithm>
#include <memory>

#include <varve/snapshot_operation.h>

#include "base/failure.h"
#include "base/try.h"
#include "service/image_set.h"

namespace varve {
namespace {

// Shares of PercentComplete; what comes before is preparing and saving state.
constexpr unsigned kPercentBeforeWalk = 50;
constexpr unsigned kPercentAfterWalk = 99;

class SetCreation {
 public:
  SetCreation(const std::vector<Image*>& images, WorkControl& control)
      : images_(images), control_(control) {}

  Result<void> run(const std::vector<SnapshotCreateOptions>& options, const std::string& name,
                   const CreationSteps& steps) {
    VARVE_TRY(start(options));
    VARVE_TRY(wait_all(SnapshotPhase::ready, 0));
    if (steps.stop) {
      VARVE_TRY(steps.stop());
    }
    for (const auto& operation : operations_) {
      VARVE_TRY(operation->freeze());
    }
    if (steps.frozen) {
      VARVE_TRY(steps.frozen());
    }
    for (std::size_t i = 1; i < operations_.size(); ++i) {
      VARVE_TRY(operations_[i]->publish());
    }
    VARVE_TRY(wait_all(SnapshotPhase::done, 1));
    if (!control_.commit()) {
      return failure(ErrorCode::cancelled, "the job was stopped");
    }
    VARVE_TRY(operations_[0]->publish());
    VARVE_TRY(wait_all(SnapshotPhase::done, 0));
    // Committed: what cannot be named now is named by settling.
    static_cast<void>(name_others(name));
    return {};
  }

  // Whatever was published is deleted; what cannot be is left for settling.
  void undo() noexcept {
    for (const auto& operation : operations_) {
      operation->cancel();
    }
    bool is_first_known = true;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      const Result<void> outcome = operations_[i]->wait();
      const auto index = find(i);
      if (i == 0 && !outcome) {
        is_first_known = is_sure(*images_[0]);
      }
      if (outcome && index) {
        static_cast<void>(is_first_known ? delete_snapshot(*images_[i], *index)
                                         : rename_snapshot(*images_[i], *index, kWithdrawnName));
      }
    }
    operations_.clear();
  }

 private:
  // False: the image is poisoned, and its file may hold what it says it does not.
  static bool is_sure(Image& image) noexcept {
    const Result<void> flushed = image.flush();
    return flushed || flushed.error().code != ErrorCode::poisoned;
  }

  Result<void> start(const std::vector<SnapshotCreateOptions>& options) {
    OperationOptions stepwise;
    stepwise.stepwise = true;
    for (std::size_t i = 0; i < images_.size(); ++i) {
      operations_.push_back(VARVE_TRY(start_create(*images_[i], options[i], stepwise)));
    }
    return {};
  }

  // Waits until every operation from `first` on has reached the phase; the first
  // failure.
  Result<void> wait_all(SnapshotPhase phase, std::size_t first) {
    for (std::size_t i = first; i < operations_.size(); ++i) {
      while (operations_[i]->progress().phase < phase) {
        if (control_.is_stopped()) {
          return failure(ErrorCode::cancelled, "the job was stopped");
        }
        control_.wait(images_[i]->engine());
        report();
      }
      if (operations_[i]->is_done() && !operations_[i]->result()) {
        return operations_[i]->result();
      }
    }
    return {};
  }

  void report() noexcept {
    std::uint64_t done = 0;
    std::uint64_t total = 0;
    bool is_walking = false;
    for (const auto& operation : operations_) {
      const SnapshotProgress progress = operation->progress();
      done += progress.clusters_done;
      total += progress.clusters_total;
      is_walking = is_walking || progress.phase >= SnapshotPhase::walking;
    }
    if (is_walking) {
      control_.report(done, total, kPercentBeforeWalk, kPercentAfterWalk);
    }
  }

  [[nodiscard]] std::optional<std::size_t> find(std::size_t image) const noexcept {
    const auto infos = list_snapshots(*images_[image]);
    for (std::size_t i = 0; infos && i < infos->size(); ++i) {
      if ((*infos)[i].uuid == operations_[image]->uuid()) {
        return i;
      }
    }
    return std::nullopt;
  }

  Result<void> name_others(const std::string& name) {
    for (std::size_t i = 1; i < images_.size(); ++i) {
      const auto index = find(i);
      if (!index) {
        return failure(ErrorCode::not_found, "the snapshot just made is gone");
      }
      // One group's members may have the name already.
      const auto infos = VARVE_TRY(list_snapshots(*images_[i]));
      if (infos[*index].name != name) {
        VARVE_TRY(rename_snapshot(*images_[i], *index, name));
      }
    }
    return {};
  }

  const std::vector<Image*>& images_;
  WorkControl& control_;
  std::vector<std::unique_ptr<SnapshotOperation>> operations_;
};

}  // namespace

Result<void> create_set(const std::vector<Image*>& images,
                        std::vector<SnapshotCreateOptions> options, const CreationSteps& steps,
                        WorkControl& control) {
  const std::string name = options.front().name;
  for (std::size_t i = 1; i < options.size() && name != kUndoName; ++i) {
    options[i].name = kPendingName;
  }
  SetCreation creation(images, control);
  try {
    const Result<void> result = creation.run(options, name, steps);
    if (!result) {
      creation.undo();
    }
    return result;
  } catch (const std::bad_alloc&) {
    creation.undo();
    throw;
  }
}

}  // namespace varve
