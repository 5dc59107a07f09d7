// FaultRun: a scenario run again and again, each time with another fault: a request of the storage
// that fails, or an allocation. Whatever fails, every answer is a clear error or success, the image
// goes on or says that it is poisoned, no ordering rule is broken, and the file is whole
// afterwards.
//
// What it held while it went on (clusters, turns, snapshots) is given back. Threads: the engine's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_set>

#include "model/order_storage.h"
#include "model/qemu_img.h"
#include "model/scenarios.h"
#include "model/state_judge.h"
#include "sim/allocation_faults.h"
#include "sim/faulty_storage.h"

namespace varve::model {

class FaultRun {
 public:
  struct Counts {
    std::uint64_t requests = 0;     // The storage saw, from open to the end of the act.
    std::uint64_t flushes = 0;      // Of these.
    std::uint64_t allocations = 0;  // The library made, from open to the end of the act.
    std::uint64_t hits = 0;         // Requests and allocations that failed.
  };
  struct AllocationFault {
    std::uint64_t index = sim::AllocationFaults::kNever;
    bool from_then_on = false;
  };

  explicit FaultRun(const ScenarioCase& parameter)
      : parameter_(parameter), lab_(parameter.geometry), judge_(lab_) {}

  // False, and `why` (empty: a program needed is missing), when there is nothing to run.
  [[nodiscard]] bool prepare(std::string& why);

  // From now on the image stands in real files of that folder, which outlives this.
  void use_files(const TemporaryFolder& folder) noexcept { folder_ = &folder; }

  // qemu-img is not asked: it costs as much as a hundred runs.
  void spare_qemu() noexcept { is_qemu_spared_ = true; }
  // Called when the act is over and the faults are lifted.
  void when_over(std::function<void()> over) { over_ = std::move(over); }

  // Whether the image refused to go on after the last run's fault, if it was open at all.
  [[nodiscard]] bool was_poisoned() const noexcept { return was_poisoned_; }
  [[nodiscard]] bool was_open() const noexcept { return was_open_; }
  [[nodiscard]] bool was_reopened() const noexcept { return was_reopened_; }
  // Whether anything failed that the guest asked for.
  [[nodiscard]] bool was_refused() const noexcept { return was_refused_; }

  // One run: what was wrong, or nothing.
  [[nodiscard]] std::optional<std::string> run(sim::FaultPlan& plan,
                                               const AllocationFault& allocation, Counts& counts);

 private:
  using Verdict = std::optional<std::string>;
  [[nodiscard]] Verdict act(sim::FaultPlan& plan, DiskPair& disks, Guest& guest,
                            const AllocationFault& allocation, Counts& counts);
  [[nodiscard]] Result<std::unique_ptr<Image>> open(sim::FaultPlan& plan, DiskPair& disks,
                                                    DiscardMode discard, OrderRecord& order);
  [[nodiscard]] Result<std::unique_ptr<Storage>> open_storage(sim::SimDisk& disk, const char* name);
  void switch_lazy(DiskPair& disks) const;
  [[nodiscard]] static Verdict unclear(const Error& error, const sim::FaultPlan& plan);
  [[nodiscard]] Verdict use_again(Image& image, Guest& guest);
  [[nodiscard]] Verdict judge(const FilePair& files, const Guest& guest, sim::Moment moment);

  const ScenarioCase& parameter_;
  Lab lab_;
  StateJudge judge_;
  std::optional<Prepared> prepared_;
  std::unordered_set<std::uint64_t> metadata_;  // Arrangements the library has seen afterwards.
  std::uint64_t qemu_ = 0;
  bool was_poisoned_ = false;
  bool is_qemu_spared_ = false;
  bool was_open_ = false;
  bool was_reopened_ = false;
  std::function<void()> over_;
  bool was_refused_ = false;
  const TemporaryFolder* folder_ = nullptr;
};

}  // namespace varve::model
