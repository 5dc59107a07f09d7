#include "service/jobs.h"

#include <algorithm>
#include <new>

#include "service/cim_xml.h"

namespace varve {

void WorkControl::report(std::uint64_t done, std::uint64_t total, unsigned from_percent,
                         unsigned to_percent) noexcept {
  const double part =
      total == 0 ? 1.0 : static_cast<double>(std::min(done, total)) / static_cast<double>(total);
  const unsigned percent =
      from_percent + static_cast<unsigned>(part * static_cast<double>(to_percent - from_percent));
  percent_ = std::clamp(percent, percent_.load(), 99u);
}

bool WorkControl::commit() noexcept {
  State expected = State::open;
  return state_.compare_exchange_strong(expected, State::committed) || expected == State::committed;
}

bool WorkControl::stop() noexcept {
  State expected = State::open;
  return state_.compare_exchange_strong(expected, State::stopped) || expected == State::stopped;
}

void WorkControl::wait(Engine& engine) const {
  constexpr int kMilliseconds = 20;  // Between two looks at progress and a wish to stop.
  if (turn_) {
    turn_(engine, kMilliseconds);
  } else {
    engine.wait(kMilliseconds);
  }
}

void JobTable::drop_old(std::uint64_t steady_now, std::uint64_t retention_nanoseconds) {
  std::erase_if(jobs_, [&](const auto& entry) {
    const Job& job = *entry.second;
    return job.has_ended() && steady_now - job.ended_steady > retention_nanoseconds;
  });
}

Job& JobTable::add(JobType type, std::uint64_t calendar_now, std::uint64_t steady_now) {
  auto job = std::make_unique<Job>();
  job->id = Uuid::make_random();
  job->type = type;
  job->submitted_calendar = calendar_now;
  job->submitted_steady = steady_now;
  Job& added = *job;
  jobs_[added.id] = std::move(job);
  return added;
}

void JobTable::end(Job& job, const Result<void>& result, std::optional<CreatedElement> created,
                   std::uint64_t steady_now) noexcept {
  job.ended_steady = steady_now;
  if (result) {
    job.created = created;
    job.state = JobState::completed;
    return;
  }
  job.error_code = virtualization_code_of(result.error());
  try {
    job.error = describe(result.error());
  } catch (const std::bad_alloc&) {
    job.error.clear();  // The code tells it.
  }
  job.state = result.error().code == ErrorCode::cancelled && job.control.is_stopped()
                  ? job.stopped_state
                  : JobState::exception;
}

Job* JobTable::find(const Uuid& id) const noexcept {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second.get();
}

std::string error_text(const Job& job) {
  constexpr unsigned kSoftwareError = 4;   // CIM_Error.ErrorType
  constexpr unsigned kMajor = 5;           // CIM_Error.PerceivedSeverity
  constexpr unsigned kCimErrorFailed = 1;  // CIM_ERR_FAILED
  const auto code = static_cast<std::uint32_t>(job.error_code);
  CimWriter writer("Msvm_Error");
  writer.number("ErrorType", "uint16", kSoftwareError)
      .text("OwningEntity", "Varve")
      .text("MessageID", std::to_string(code))
      .text("Message", job.error)
      .number("PerceivedSeverity", "uint16", kMajor)
      .text("ErrorSource", guid_text(job.id))
      .number("CIMStatusCode", "uint32", kCimErrorFailed)
      .text("CIMStatusCodeDescription", virtualization_code_text(code));
  return writer.take();
}

}  // namespace varve
