#include "service/core.h"

#include <algorithm>
#include <array>

#include <unistd.h>

#include "base/failure.h"
#include "base/try.h"
#include "service/clock.h"
#include "service/guarded.h"
#include "service/image_set.h"
#include "service/scan.h"

namespace varve {
namespace {

constexpr unsigned kRetentionSecondsMin = 300;
constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
constexpr int kLockTurnMilliseconds = 20;  // Between two tries for an image's lock.

std::string own_host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') {
    return "localhost";
  }
  return name.data();
}

}  // namespace

ServiceCore::ServiceCore(const ServiceOptions& options, std::string host_name)
    : references(std::move(host_name)), options_(options), executor_(options.executor) {}

Result<std::unique_ptr<ServiceCore>> ServiceCore::create(const ServiceOptions& options) {
  if (options.executor != nullptr && options.own_thread) {
    return failure(ErrorCode::invalid_argument, "an executor and own_thread exclude each other");
  }
  if (options.executor == nullptr && !options.own_thread && !options.synchronous) {
    return failure(ErrorCode::invalid_argument, "jobs take an executor or own_thread");
  }
  if (options.job_retention_seconds < kRetentionSecondsMin) {
    return failure(ErrorCode::invalid_argument, "jobs stay five minutes at least");
  }
  auto core = std::make_unique<ServiceCore>(
      options, options.host_name.empty() ? own_host_name() : options.host_name);
  core->clock_ = options.clock;
  if (options.clock == nullptr) {
    core->own_clock_ = std::make_unique<SystemClock>();
    core->clock_ = core->own_clock_.get();
  }
  if (options.own_thread) {
    core->thread_ = VARVE_TRY(WorkThread::start(options.engine_options));
    core->executor_ = core->thread_.get();
  }
  return core;
}

ServiceCore::~ServiceCore() {
  {
    const std::lock_guard lock(mutex);
    for (const auto& [id, job] : jobs.all()) {
      job->control.stop();
    }
  }
  thread_.reset();
}

std::uint64_t ServiceCore::retention_nanoseconds() const noexcept {
  return options_.job_retention_seconds * kNanosecondsPerSecond;
}

void ServiceCore::set_in_use(const Work& work, bool is_in_use) noexcept {
  for (System* system : work.systems()) {
    system->is_in_use = is_in_use;
  }
}

WorkStarted ServiceCore::start(std::unique_lock<std::mutex>& lock, std::unique_ptr<Work> work,
                               JobType type, std::string* job_path, bool always_job) {
  WorkStarted started;
  jobs.drop_old(clock_->steady_nanoseconds(), retention_nanoseconds());
  if (options_.synchronous && !always_job) {
    started.result = run_now(lock, *work);
    started.created = work->created();
    return started;
  }
  Work& kept = *work;
  Job& job = jobs.add(type, clock_->calendar_nanoseconds(), clock_->steady_nanoseconds());
  started.job = job.id;
  try {
    *job_path = references.print(ReferenceKind::job, job.id);
    if (!options_.synchronous) {
      post(job.id, std::move(work));
    }
  } catch (const std::bad_alloc&) {
    job_path->clear();
    works_.erase(started.job);
    jobs.remove(started.job);
    throw;
  }
  if (options_.synchronous) {
    started.result = run_now(lock, kept, &job.control);
    started.created = kept.created();
    jobs.end(job, started.result, started.created, clock_->steady_nanoseconds());
  }
  return started;
}

void ServiceCore::post(const Uuid& id, std::unique_ptr<Work> work) {
  Work* raw = work.get();
  std::unique_ptr<Work>& kept = works_[id];
  // What is posted runs: nothing that may fail comes after it. It waits for the mutex.
  executor_->post([this, id, raw] { run_job(id, *raw); });
  kept = std::move(work);
  set_in_use(*raw, true);
}

Result<void> ServiceCore::run_now(std::unique_lock<std::mutex>& lock, Work& work,
                                  WorkControl* control) {
  Result<void> result;
  WorkControl own_control;
  set_in_use(work, true);
  lock.unlock();
  try {
    on_work_thread([&] { result = run(work, control == nullptr ? own_control : *control); });
  } catch (const std::bad_alloc&) {
    result = failure(ErrorCode::no_memory, "cannot hand the work over");
  }
  lock.lock();
  set_in_use(work, false);
  return result;
}

void ServiceCore::on_work_thread(const std::function<void()>& body) {
  if (thread_) {
    thread_->call(body);
  } else {
    body();
  }
}

void ServiceCore::run_job(const Uuid& id, Work& work) {
  Job* job = nullptr;
  {
    const std::lock_guard lock(mutex);
    job = jobs.find(id);
  }
  const Result<void> result = run(work, job->control);
  const std::lock_guard lock(mutex);
  set_in_use(work, false);
  jobs.end(*job, result, work.created(), clock_->steady_nanoseconds());
  works_.erase(id);
}

Result<void> ServiceCore::run(Work& work, WorkControl& control) {
  try {
    control.set_turn([this](Engine& its_engine, int timeout) { turn(its_engine, timeout); });
    OpenDisks disks;
    const Result<void> result = open_perform_scan(work, control, disks);
    // What the work did is durable; what closing tells concerns only space to be given back.
    static_cast<void>(disks.close());
    return result;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate what the work needs");
  }
}

Result<void> ServiceCore::open_perform_scan(Work& work, WorkControl& control, OpenDisks& disks) {
  VARVE_TRY(open_disks(work, control, disks));
  // Of an earlier failure; nothing where all went well.
  VARVE_TRY(settle_sets(disks, control));
  {
    const std::lock_guard lock(mutex);
    for (System* system : work.systems()) {
      system->tree.snapshots.reserve(system->tree.snapshots.size() + 1);
    }
  }
  const Result<void> result = guarded([&] { return work.perform(disks, control); });
  scan(work, disks);
  return result;
}

void ServiceCore::scan(Work& work, const OpenDisks& disks) noexcept {
  for (System* system : work.systems()) {
    auto tree = guarded([&] { return scan_snapshots(*system, disks.of(*system)); });
    const std::lock_guard lock(mutex);
    // What was done is done: that there is no memory to look at it does not make it fail.
    if (tree) {
      system->tree = std::move(*tree);
    } else {
      work.amend(*system);
    }
  }
}

Result<void> ServiceCore::open_disks(Work& work, WorkControl& control, OpenDisks& disks) {
  const std::uint64_t deadline = clock_->steady_nanoseconds() +
                                 options_.lock_timeout_milliseconds * kNanosecondsPerMillisecond;
  const auto patience = [&] {
    if (control.is_stopped() || clock_->steady_nanoseconds() >= deadline) {
      return false;
    }
    turn(*engine(), kLockTurnMilliseconds);
    return true;
  };
  for (System* system : work.systems()) {
    const Result<void> opened = disks.open(*system, engine(), patience);
    if (control.is_stopped()) {
      return failure(ErrorCode::cancelled, "the job was stopped");
    }
    if (!opened) {
      return opened;
    }
  }
  return {};
}

void ServiceCore::turn(Engine& its_engine, int timeout_milliseconds) {
  if (executor_ != nullptr) {
    executor_->turn(its_engine, timeout_milliseconds);
  } else {
    its_engine.wait(timeout_milliseconds);
  }
}

}  // namespace varve
