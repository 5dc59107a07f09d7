// Jobs: what a client waits for, and the line between the work and those who watch or stop it.
//
// A job is Running (4) from the moment a client can see it and ends as 7, 8, 9 or 10; 100 percent
// come together with the end. Ended jobs stay for the retention time. Threads: JobTable is guarded
// by the core's mutex; WorkControl may be used from the work thread without it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <varve/service.h>

#include "service/reference.h"
#include "service/registry.h"

namespace varve {

// How the work tells where it is, and learns that it is to stop.
class WorkControl {
 public:
  // In percent of the whole; kept below 100 until the end, and never falling.
  void report(std::uint64_t done, std::uint64_t total, unsigned from_percent,
              unsigned to_percent) noexcept;
  [[nodiscard]] unsigned percent() const noexcept { return percent_; }

  [[nodiscard]] bool is_stopped() const noexcept { return state_ == State::stopped; }
  [[nodiscard]] bool is_cancellable() const noexcept { return state_ == State::open; }
  // Past the point of no return. False: it was stopped before.
  bool commit() noexcept;
  // False: too late.
  bool stop() noexcept;

  // How the work waits: who runs the loop meanwhile. Set before it starts; empty: the engine alone.
  using Turn = std::function<void(Engine& engine, int timeout_milliseconds)>;
  void set_turn(Turn turn) noexcept { turn_ = std::move(turn); }
  [[nodiscard]] const Turn& turn() const noexcept { return turn_; }
  // Until something happened, or for a moment: the caller looks at its progress again.
  void wait(Engine& engine) const;

 private:
  enum class State : std::uint8_t { open, stopped, committed };
  std::atomic<unsigned> percent_ = 0;
  std::atomic<State> state_ = State::open;
  Turn turn_;
};

// What a job made.
struct CreatedElement {
  ReferenceKind kind = ReferenceKind::setting_data;
  Uuid id;
};

struct Job {
  Uuid id;
  JobType type = JobType::snapshot;
  JobState state = JobState::running;
  JobState stopped_state = JobState::terminated;  // How it ends when it is stopped.
  WorkControl control;
  std::uint64_t submitted_calendar = 0;  // Nanoseconds.
  std::uint64_t submitted_steady = 0;
  std::uint64_t ended_steady = 0;
  VirtualizationCode error_code = VirtualizationCode::completed;
  std::string error;
  std::optional<CreatedElement> created;

  [[nodiscard]] bool has_ended() const noexcept { return state != JobState::running; }
};

class JobTable {
 public:
  // Drops jobs that ended longer ago than this.
  void drop_old(std::uint64_t steady_now, std::uint64_t retention_nanoseconds);
  Job& add(JobType type, std::uint64_t calendar_now, std::uint64_t steady_now);
  void end(Job& job, const Result<void>& result, std::optional<CreatedElement> created,
           std::uint64_t steady_now) noexcept;
  void remove(const Uuid& id) { jobs_.erase(id); }
  [[nodiscard]] Job* find(const Uuid& id) const noexcept;
  [[nodiscard]] const std::map<Uuid, std::unique_ptr<Job>, UuidLess>& all() const noexcept {
    return jobs_;
  }

 private:
  std::map<Uuid, std::unique_ptr<Job>, UuidLess> jobs_;
};

// Msvm_Error, as GetErrorEx gives it.
[[nodiscard]] std::string error_text(const Job& job);

}  // namespace varve
