#include "service/create_work.h"

#include <algorithm>

#include "base/failure.h"
#include "base/try.h"
#include "service/clock.h"
#include "service/guarded.h"
#include "service/image_set.h"

namespace varve {
namespace {

// Shares of PercentComplete: preparing, saving states, walking the tables.
constexpr unsigned kPreparedPercent = 5;
constexpr unsigned kSavedPercent = 50;

Error stopped() noexcept {
  return failure(ErrorCode::cancelled, "the job was stopped");
}

// Hands a provider's bytes to the image and counts them.
class WriterSink final : public StateSink {
 public:
  WriterSink(StateWriter& writer, WorkControl& control, unsigned from_percent,
             unsigned to_percent) noexcept
      : writer_(writer), control_(control), from_percent_(from_percent), to_percent_(to_percent) {}

  Result<void> write(std::span<const std::byte> bytes) noexcept override {
    if (control_.is_stopped()) {
      return stopped();
    }
    VARVE_TRY(writer_.write(bytes));
    if (total_bytes_ > 0) {
      control_.report(writer_.size(), total_bytes_, from_percent_, to_percent_);
    }
    return {};
  }
  void expect(std::uint64_t total_bytes) noexcept override { total_bytes_ = total_bytes; }

 private:
  StateWriter& writer_;
  WorkControl& control_;
  unsigned from_percent_;
  unsigned to_percent_;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace

bool is_settled(EnabledState state) noexcept {
  return state == EnabledState::running || state == EnabledState::off ||
         state == EnabledState::saved;
}

std::optional<SystemPlan> plan_snapshot(System& system, const RequestedSettings& settings,
                                        VirtualSystemSnapshotType type, EnabledState state) {
  const auto count =
      static_cast<std::size_t>(std::ranges::count(system.disks, true, &Disk::is_snapshottable));
  const bool skips_some = count < system.disks.size();
  if (count == 0 || (skips_some && !settings.ignore_non_snapshottable_disks)) {
    return std::nullopt;
  }
  SystemPlan plan;
  plan.system = &system;
  plan.settings.system = system.id();
  plan.settings.type = type;
  plan.settings.state = state;
  plan.settings.consistency = settings.consistency;
  plan.settings.guest_backup = settings.guest_backup;
  plan.settings.ignore_non_snapshottable_disks = settings.ignore_non_snapshottable_disks;
  plan.settings.disk_count = static_cast<std::uint16_t>(count);
  plan.settings.notes = settings.notes;
  // Nobody to ask for the state, or for a guest that is consistent with itself.
  const bool asks_guest =
      plan.is_running() && settings.consistency == ConsistencyLevel::application;
  const bool needs_provider =
      asks_guest || (type == VirtualSystemSnapshotType::full &&
                     (state == EnabledState::running || state == EnabledState::saved));
  if (needs_provider && system.definition.provider == nullptr) {
    return std::nullopt;
  }
  return plan;
}

bool is_ready_for_snapshot(const System& system, EnabledState state) noexcept {
  return is_settled(state) && !system.is_in_use &&
         system.definition.user_snapshot_type != UserSnapshotType::disable;
}

CreateWork::CreateWork(std::vector<SystemPlan> plans, CreatedElement created,
                       std::uint64_t calendar_nanoseconds, unsigned quiesce_timeout_milliseconds)
    : Work(systems_of(plans)),
      plans_(std::move(plans)),
      element_(created),
      calendar_nanoseconds_(calendar_nanoseconds),
      quiesce_timeout_milliseconds_(quiesce_timeout_milliseconds) {}

std::vector<System*> CreateWork::systems_of(const std::vector<SystemPlan>& plans) {
  std::vector<System*> systems;
  systems.reserve(plans.size());
  for (const SystemPlan& plan : plans) {
    systems.push_back(plan.system);
  }
  return systems;
}

Snapshot CreateWork::expected_snapshot(const SystemPlan& plan, const OpenDisks& disks) const {
  Snapshot snapshot;
  snapshot.id = plan.settings.snapshot;
  snapshot.element_name = plan.element_name;
  snapshot.creation_nanoseconds = calendar_nanoseconds_;
  snapshot.settings = plan.settings;
  snapshot.settings.first_system = plans_.front().system->id();
  snapshot.is_first_named = true;
  for (const OpenDisk& disk : disks.of(*plan.system)) {
    snapshot.members.push_back({disk.index, 0});
  }
  return snapshot;
}

Result<void> CreateWork::add_members(const SystemPlan& plan, const OpenDisks& disks) {
  StoredSettings settings = plan.settings;
  settings.first_system = plans_.front().system->id();
  for (Image* image : disks.images_of(*plan.system)) {
    SnapshotCreateOptions options;
    options.name = plan.element_name;
    options.date_seconds =
        static_cast<std::uint32_t>(calendar_nanoseconds_ / kNanosecondsPerSecond);
    options.date_nanoseconds =
        static_cast<std::uint32_t>(calendar_nanoseconds_ % kNanosecondsPerSecond);
    if (settings.disk_index == 0) {
      std::unique_ptr<StateWriter>& writer = state_writers_.emplace_back();
      if (plan.takes_state()) {
        writer = VARVE_TRY(StateWriter::create(*image));
        options.state = writer.get();
      }
    }
    options.settings = encode_settings(settings);
    ++settings.disk_index;
    images_.push_back(image);
    options_.push_back(std::move(options));
  }
  return {};
}

Result<void> CreateWork::create(const OpenDisks& disks, WorkControl& control) {
  for (const SystemPlan& plan : plans_) {
    VARVE_TRY(add_members(plan, disks));
    expected_.push_back(expected_snapshot(plan, disks));
  }
  CreationSteps steps;
  steps.stop = [this] { return stop_systems(); };
  steps.frozen = [this] {
    resume_without_state();
    return save_states();
  };
  return create_set(images_, std::move(options_), steps, control);
}

Result<void> CreateWork::perform(OpenDisks& disks, WorkControl& control) {
  control_ = &control;
  const Result<void> result = guarded([&] { return create(disks, control); });
  while (!quiesced_.empty()) {
    resume(*quiesced_.back());
  }
  for (std::size_t i = 0; i < plans_.size() && result; ++i) {
    if (state_writers_[i] != nullptr) {
      expected_[i].members.front().state_bytes = state_writers_[i]->size();
    }
  }
  // A writer whose blob was not published gives its clusters back: before the images close.
  state_writers_.clear();
  if (result) {
    created_ = element_;
  }
  return result;
}

void CreateWork::amend(System& system) noexcept {
  for (std::size_t i = 0; i < expected_.size() && created_; ++i) {
    if (plans_[i].system == &system) {
      system.tree.add(std::move(expected_[i]));
    }
  }
}

Result<void> CreateWork::stop_systems() {
  if (control_->is_stopped()) {
    return stopped();
  }
  control_->report(1, 1, 0, kPreparedPercent);
  quiesced_.reserve(plans_.size());
  for (const SystemPlan& plan : plans_) {
    StateProvider* provider = plan.system->definition.provider;
    if (plan.is_running() && provider != nullptr) {
      VARVE_TRY(provider->quiesce(plan.settings.consistency, quiesce_timeout_milliseconds_));
      quiesced_.push_back(&plan);
    }
  }
  return {};
}

void CreateWork::resume(const SystemPlan& plan) noexcept {
  if (std::erase(quiesced_, &plan) > 0) {
    plan.system->definition.provider->resume();
  }
}

void CreateWork::resume_without_state() noexcept {
  for (const SystemPlan& plan : plans_) {
    if (!plan.takes_state()) {
      resume(plan);
    }
  }
}

Result<void> CreateWork::save_states() {
  const auto count = static_cast<unsigned>(plans_.size());
  for (unsigned i = 0; i < count; ++i) {
    if (state_writers_[i] != nullptr) {
      constexpr unsigned kShare = kSavedPercent - kPreparedPercent;
      VARVE_TRY(save_state(plans_[i], *state_writers_[i], kPreparedPercent + kShare * i / count,
                           kPreparedPercent + kShare * (i + 1) / count));
    }
  }
  return {};
}

Result<void> CreateWork::save_state(const SystemPlan& plan, StateWriter& writer,
                                    unsigned from_percent, unsigned to_percent) {
  WriterSink sink(writer, *control_, from_percent, to_percent);
  VARVE_TRY(plan.system->definition.provider->save(sink));
  resume(plan);
  VARVE_TRY(writer.finish());
  control_->report(1, 1, from_percent, to_percent);
  return {};
}

}  // namespace varve
