// ServiceCore: what both services and the queries share, and the way from a checked request to work
// done.
//
// Threads: `mutex` guards registry and jobs; it is not held while work runs. Lifetime: posted work
// refers to the core.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <new>

#include <varve/service.h>

#include "service/jobs.h"
#include "service/reference.h"
#include "service/registry.h"
#include "service/work.h"
#include "service/work_thread.h"

namespace varve {

// How a method's work began or ended.
struct WorkStarted {
  Result<void> result;                    // Of work that was done at once.
  std::optional<CreatedElement> created;  // By it.
  Uuid job;                               // Of work that was given a job.
};

class ServiceCore {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ServiceCore>> create(const ServiceOptions& options);
  ~ServiceCore();
  ServiceCore(const ServiceOptions& options, std::string host_name);  // For create().
  ServiceCore(const ServiceCore&) = delete;
  ServiceCore& operator=(const ServiceCore&) = delete;

  std::mutex mutex;
  References references;
  Registry registry;
  JobTable jobs;

  // Does the work, or gives it a job, as the service's mode says; `always_job`: synchronous work
  // has a job too, which has ended already. `job_path` becomes the job's. `lock` holds the mutex,
  // and does again afterwards. Throws std::bad_alloc only while nothing has begun.
  // REQUIRES: the work's systems are not in use.
  WorkStarted start(std::unique_lock<std::mutex>& lock, std::unique_ptr<Work> work, JobType type,
                    std::string* job_path, bool always_job = false);
  // Does the work without a job, whatever the mode; `lock` as above.
  Result<void> run_now(std::unique_lock<std::mutex>& lock, Work& work,
                       WorkControl* control = nullptr);
  // Runs `body` on the work thread: with a thread of its own there, else here.
  void on_work_thread(const std::function<void()>& body);
  // On the work thread, without the mutex: opens, performs, reads the snapshots again, closes.
  Result<void> run(Work& work, WorkControl& control);

  [[nodiscard]] Engine* engine() noexcept { return thread_ ? &thread_->engine() : options_.engine; }
  [[nodiscard]] const ServiceOptions& options() const noexcept { return options_; }
  [[nodiscard]] Clock& clock() const noexcept { return *clock_; }
  [[nodiscard]] std::uint64_t retention_nanoseconds() const noexcept;
  [[nodiscard]] std::string print(const CreatedElement& element) const {
    return references.print(element.kind, element.id);
  }

 private:
  void post(const Uuid& id, std::unique_ptr<Work> work);
  void run_job(const Uuid& id, Work& work);
  Result<void> open_perform_scan(Work& work, WorkControl& control, OpenDisks& disks);
  // Looks at the snapshots of the work's systems after it.
  void scan(Work& work, const OpenDisks& disks) noexcept;
  // Opens the disks of every system of the work, within the time allowed for locks.
  Result<void> open_disks(Work& work, WorkControl& control, OpenDisks& disks);
  void turn(Engine& its_engine, int timeout_milliseconds);
  static void set_in_use(const Work& work, bool is_in_use) noexcept;

  ServiceOptions options_;
  std::unique_ptr<Clock> own_clock_;
  Clock* clock_ = nullptr;
  Executor* executor_ = nullptr;
  std::map<Uuid, std::unique_ptr<Work>, UuidLess> works_;  // Of the jobs that run, by job.
  std::unique_ptr<WorkThread> thread_;                     // Last: it ends before what it uses.
};

// The code of a method that started work: of the job, or of the work itself.
[[nodiscard]] inline MethodCode method_code_of(const WorkStarted& started) noexcept {
  if (!started.job.is_null()) {
    return MethodCode::job_started;
  }
  return started.result ? MethodCode::completed : method_code_of(started.result.error());
}
[[nodiscard]] inline VirtualizationCode virtualization_code_of(
    const WorkStarted& started) noexcept {
  if (!started.job.is_null()) {
    return VirtualizationCode::job_started;
  }
  return started.result ? VirtualizationCode::completed
                        : virtualization_code_of(started.result.error());
}

// The code of a method: what `body` answers, or `out_of_memory`.
template <class Code, class Body>
std::uint32_t method(Code out_of_memory, Body&& body) noexcept {
  try {
    return static_cast<std::uint32_t>(body());
  } catch (const std::bad_alloc&) {
    return static_cast<std::uint32_t>(out_of_memory);
  }
}

}  // namespace varve
