// SnapshotServices: its jobs.
#include "base/failure.h"
#include "base/try.h"
#include "service/clock.h"
#include "service/core.h"
#include "service/guarded.h"

namespace varve {
namespace {

const char* status_text(const Job& job) noexcept {
  switch (job.state) {
    case JobState::completed:
      return "OK";
    case JobState::exception:
      return "Error";
    case JobState::terminated:
    case JobState::killed:
      return "Stopped";
    default:
      return "Job is running";
  }
}

// Summary: the code's own words; description: with what was met.
std::string summary_of(const Job& job) {
  return job.error_code == VirtualizationCode::completed
             ? std::string()
             : virtualization_code_text(static_cast<std::uint32_t>(job.error_code));
}
std::string description_of(const Job& job) {
  const std::string summary = summary_of(job);
  return job.error.empty() ? summary : summary + ": " + job.error;
}

JobDescription describe_job(const ServiceCore& core, const Job& job) {
  const std::uint64_t now = core.clock().steady_nanoseconds();
  JobDescription description;
  description.path = core.references.print(ReferenceKind::job, job.id);
  description.instance_id = guid_text(job.id);
  description.caption = job_type_text(static_cast<std::uint16_t>(job.type));
  description.job_state = job.state;
  description.job_type = job.type;
  description.percent_complete = job.has_ended() ? 100 : job.control.percent();
  description.error_code = static_cast<std::uint32_t>(job.error_code);
  description.error_description = description_of(job);
  description.error_summary_description = summary_of(job);
  description.job_status = status_text(job);
  description.time_submitted = cim_datetime(job.submitted_calendar);
  description.start_time = description.time_submitted;
  description.elapsed_nanoseconds =
      (job.has_ended() ? job.ended_steady : now) - job.submitted_steady;
  description.removal_nanoseconds = core.retention_nanoseconds();
  description.cancellable = !job.has_ended() && job.control.is_cancellable();
  return description;
}

// A job that is not too old to be told of.
Job* find_job(ServiceCore& core, CimText reference) {
  core.jobs.drop_old(core.clock().steady_nanoseconds(), core.retention_nanoseconds());
  const auto id = core.references.parse(ReferenceKind::job, reference);
  return id ? core.jobs.find(*id) : nullptr;
}

Result<const Job*> job_at(ServiceCore& core, CimText reference) {
  const Job* job = find_job(core, reference);
  if (job == nullptr) {
    return failure(ErrorCode::not_found, "there is no such job");
  }
  return job;
}

// An interval of no length is none.
bool is_no_timeout(CimText timeout) noexcept {
  return !timeout || timeout->find_first_not_of("0.:") == std::string_view::npos;
}

}  // namespace

Result<std::vector<JobDescription>> SnapshotServices::jobs() const noexcept {
  return guarded([&]() -> Result<std::vector<JobDescription>> {
    const std::lock_guard lock(core_->mutex);
    core_->jobs.drop_old(core_->clock().steady_nanoseconds(), core_->retention_nanoseconds());
    std::vector<JobDescription> all;
    for (const auto& [id, job] : core_->jobs.all()) {
      all.push_back(describe_job(*core_, *job));
    }
    return all;
  });
}

Result<JobDescription> SnapshotServices::job(CimText path) const noexcept {
  return guarded([&]() -> Result<JobDescription> {
    const std::lock_guard lock(core_->mutex);
    const Job* found = VARVE_TRY(job_at(*core_, path));
    return describe_job(*core_, *found);
  });
}

Result<std::vector<AffectedElement>> SnapshotServices::affected_elements(
    CimText job) const noexcept {
  return guarded([&]() -> Result<std::vector<AffectedElement>> {
    const std::lock_guard lock(core_->mutex);
    const Job* found = VARVE_TRY(job_at(*core_, job));
    std::vector<AffectedElement> elements;
    if (found->created) {
      elements.push_back({core_->print(*found->created), kElementEffectCreate});
    }
    return elements;
  });
}

std::uint32_t SnapshotServices::request_job_state_change(CimText job, std::uint16_t requested_state,
                                                         CimText timeout) noexcept {
  return method(JobRequestCode::failed, [&] {
    const std::lock_guard lock(core_->mutex);
    Job* found = find_job(*core_, job);
    if (found == nullptr || requested_state < static_cast<std::uint16_t>(JobRequest::start) ||
        requested_state > static_cast<std::uint16_t>(JobRequest::service)) {
      return JobRequestCode::invalid_parameter;
    }
    const auto request = static_cast<JobRequest>(requested_state);
    if (request != JobRequest::terminate && request != JobRequest::kill) {
      return JobRequestCode::not_supported;
    }
    if (!is_no_timeout(timeout)) {
      return JobRequestCode::timeout_unsupported;
    }
    if (found->has_ended() || !found->control.stop()) {
      return JobRequestCode::invalid_transition;
    }
    found->stopped_state = request == JobRequest::kill ? JobState::killed : JobState::terminated;
    return JobRequestCode::transition_started;
  });
}

std::uint32_t SnapshotServices::job_errors(CimText job,
                                           std::vector<std::string>& errors) const noexcept {
  return method(JobErrorCode::failed, [&] {
    errors.clear();
    const std::lock_guard lock(core_->mutex);
    const Job* found = find_job(*core_, job);
    if (found == nullptr) {
      return JobErrorCode::invalid_parameter;
    }
    if (found->error_code != VirtualizationCode::completed) {
      errors.push_back(error_text(*found));
    }
    return JobErrorCode::success;
  });
}

}  // namespace varve
