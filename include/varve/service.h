// The snapshot services: Varve's disk and full snapshots behind the methods, codes, references and
// jobs of Hyper-V's Msvm_VirtualSystemSnapshotService and Msvm_CollectionSnapshotService.
// docs/FACADE.md has a page per method.
//
// The embedder defines systems (virtual machines) with their disks and collections of systems;
// clients speak to the two services in text: references are WMI object paths, settings are CIM-XML.
// Nothing is kept outside the images: a new service over the same images tells the same snapshots.
//
// Threads. Every image of a service belongs to one thread, its work thread:
//  * With ServiceOptions::executor it is the thread the executor runs work on, and all engines of
//    the disks given as open images are of that thread. define_system, remove_system, rename and,
//    in synchronous mode, the methods are called there too, outside of completions.
//  * With own_thread the service starts one thread with an engine of its own. Disks are then given
//    by path, and everything may be called from any thread.
// What remains (methods in asynchronous mode, queries, jobs) may be called from any thread.
// Callbacks of the embedder (StateProvider, Executor) run on the work thread without a lock held;
// enabled_state and Clock are asked inside calls and must not call the service.
//
// Work blocks the work thread but runs its engine: guest requests of the images go on.
// No exception leaves: running out of memory is 2, 32778 or ErrorCode::no_memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <varve/engine.h>
#include <varve/image.h>
#include <varve/result.h>
#include <varve/service_codes.h>
#include <varve/uuid.h>

namespace varve {

// --- what the embedder supplies ------------------------------------------------------------------

// Where a provider writes the machine state. In order, in pieces of any size.
class StateSink {
 public:
  virtual ~StateSink() = default;
  virtual Result<void> write(std::span<const std::byte> bytes) noexcept = 0;
  // How much there will be in all, where it is known: PercentComplete follows it.
  virtual void expect(std::uint64_t total_bytes) noexcept = 0;
};

// Where a provider reads it back from.
class StateSource {
 public:
  virtual ~StateSource() = default;
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  virtual Result<void> read(std::uint64_t offset, std::span<std::byte> target) noexcept = 0;
};

// The hypervisor's side of one system. Called on the work thread, and only in this order:
//   a snapshot of a running system: quiesce, (save), resume
//   a full snapshot of a saved one: save
//   apply:                          (quiesce), load; resume only if load failed or was not reached
class StateProvider {
 public:
  virtual ~StateProvider() = default;
  // Stops the guest, flushed as far as the level asks. Errors: timed_out, with the guest running on
  // (code 3); any other is a failure.
  virtual Result<void> quiesce(ConsistencyLevel level, unsigned timeout_milliseconds) noexcept = 0;
  // Undoes quiesce.
  virtual void resume() noexcept = 0;
  // Writes the machine state of the stopped or saved system.
  virtual Result<void> save(StateSink& sink) noexcept = 0;
  // The disks are those of a snapshot. With a source the system gets that machine state and ends as
  // `state` says (running or saved); without one it ends off. After an error the system is as
  // before the call.
  virtual Result<void> load(StateSource* source, EnabledState state) noexcept = 0;
};

// A disk of a system: an open image, or a path the service opens for the time of each operation,
// taking the image's lock.
struct DiskDefinition {
  Image* image = nullptr;  // Outlives the system's definition.
  bool read_only = false;  // The image is open for reading only: it has no snapshots.
  std::string path;        // With no image.
  OpenOptions options;     // For the path; `writable` false: as read_only.
};

struct SystemDefinition {
  Uuid id;  // The system's GUID: its Name.
  std::string element_name;
  std::vector<DiskDefinition> disks;
  StateProvider* provider = nullptr;            // Null: no full snapshot while running or saved.
  std::function<EnabledState()> enabled_state;  // Empty: always off.
  UserSnapshotType user_snapshot_type = UserSnapshotType::production_fallback_to_test;
};

// Runs work on the work thread, one at a time, never inside post.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void post(std::function<void()> work) = 0;
  // Work waits for I/O or a lock: runs the engine. An embedder may serve more of its loop here, but
  // not the executor's other work.
  virtual void turn(Engine& engine, int timeout_milliseconds) noexcept {
    engine.wait(timeout_milliseconds);
  }
};

class Clock {
 public:
  virtual ~Clock() = default;
  // Of the calendar, for CreationTime and the jobs' times: nanoseconds since 1970, UTC.
  [[nodiscard]] virtual std::uint64_t calendar_nanoseconds() const noexcept = 0;
  // Never goes back: deadlines and the jobs' age.
  [[nodiscard]] virtual std::uint64_t steady_nanoseconds() const noexcept = 0;
};

struct ServiceOptions {
  std::string host_name;     // In references; empty: the system's own.
  bool synchronous = false;  // CreateSnapshot and so on answer 0 after the work, without a job.
  Executor* executor = nullptr;
  bool own_thread = false;       // Not with an executor.
  EngineOptions engine_options;  // Of the thread's engine.
  Engine* engine = nullptr;      // With an executor: opens disks given by path.
  Clock* clock = nullptr;        // Null: the system's clocks.
  unsigned quiesce_timeout_milliseconds = 60'000;
  unsigned lock_timeout_milliseconds = 10'000;
  unsigned job_retention_seconds = 300;  // At least 300: clients look for ended jobs.
};

// --- what queries answer -------------------------------------------------------------------------

// Msvm_ComputerSystem.
struct SystemDescription {
  std::string path;
  std::string name;  // The GUID.
  std::string element_name;
  EnabledState enabled_state = EnabledState::off;
  UserSnapshotType user_snapshot_type = UserSnapshotType::production_fallback_to_test;
  std::string settings_path;  // Of the active settings.
};

// Msvm_VirtualSystemSettingData of a snapshot.
struct SnapshotDescription {
  std::string path;
  std::string instance_id;  // "Microsoft:GUID"
  std::string virtual_system_identifier;
  std::string virtual_system_type;
  std::string system_path;  // SnapshotOfVirtualSystem.
  std::string element_name;
  std::string parent;  // A path; empty: none.
  std::vector<std::string> notes;
  std::string creation_time;           // CIM datetime, UTC.
  std::uint64_t creation_seconds = 0;  // Unix time.
  std::uint64_t state_bytes = 0;       // Of machine state.
  bool is_saved = false;               // It has machine state.
  UserSnapshotType user_snapshot_type = UserSnapshotType::production_fallback_to_test;
  VirtualSystemSnapshotType snapshot_type = VirtualSystemSnapshotType::disk;
  EnabledState state = EnabledState::off;  // Of the system then.
  ConsistencyLevel consistency = ConsistencyLevel::unknown;
  GuestBackupType guest_backup = GuestBackupType::undefined;
  bool ignore_non_snapshottable_disks = false;
  std::string snapshot_collection;  // CollectedSnapshots: a path; empty: none.
  // False: another program removed it from one of the disks. It can be destroyed, not applied.
  bool is_whole = true;
};

// Msvm_VirtualSystemCollection.
struct CollectionDescription {
  std::string path;
  std::string collection_id;
  std::string element_name;
  std::vector<std::string> members;  // Paths of systems and collections.
};

// Msvm_SnapshotCollection.
struct SnapshotCollectionDescription {
  std::string path;
  std::string collection_id;
  std::string element_name;
  std::string collection;              // SnapshotOfVirtualSystemCollection: a path.
  std::vector<std::string> snapshots;  // CollectedSnapshots.
  bool is_whole = true;                // Every system of it is defined and has its snapshot.
};

// Msvm_ConcreteJob. No text is ever null; unused ones are empty.
struct JobDescription {
  std::string path;
  std::string instance_id;
  std::string caption;
  JobState job_state = JobState::running;
  JobType job_type = JobType::snapshot;
  unsigned percent_complete = 0;  // 100 only with an end state.
  std::uint32_t error_code = 0;   // VirtualizationCode; 0 unless it failed.
  std::string error_description;
  std::string error_summary_description;
  std::string job_status;
  std::string time_submitted;  // CIM datetime, UTC.
  std::string start_time;
  std::uint64_t elapsed_nanoseconds = 0;
  std::uint64_t removal_nanoseconds = 0;  // TimeBeforeRemoval: after the end.
  bool cancellable = false;
};

// Msvm_AffectedJobElement.
struct AffectedElement {
  std::string path;
  std::uint16_t effect = kElementEffectCreate;
};

// A reference or a settings text as a client passes it; nothing: NULL.
using CimText = std::optional<std::string_view>;

class ServiceCore;

// Msvm_VirtualSystemSnapshotService. Out parameters are always assigned; empty is NULL.
class VirtualSystemSnapshotService {
 public:
  // Family A. 0: resulting_snapshot is set; 4096: job is set.
  std::uint32_t create_snapshot(CimText affected_system, CimText snapshot_settings,
                                std::uint16_t snapshot_type, std::string& resulting_snapshot,
                                std::string& job) noexcept;
  std::uint32_t apply_snapshot(CimText snapshot, std::string& job) noexcept;
  std::uint32_t destroy_snapshot(CimText affected_snapshot, std::string& job) noexcept;
  // Family B.
  std::uint32_t destroy_snapshot_tree(CimText snapshot_setting_data, std::string& job) noexcept;
  std::uint32_t clear_snapshot_state(CimText snapshot_setting_data, std::string& job) noexcept;
  // Not supported: 1.
  std::uint32_t convert_to_reference_point(CimText affected_snapshot,
                                           CimText reference_point_settings,
                                           std::string& resulting_reference_point,
                                           std::string& job) noexcept;
  std::uint32_t request_state_change(std::uint16_t requested_state, std::string& job) noexcept;
  std::uint32_t start_service() noexcept;
  std::uint32_t stop_service() noexcept;

  explicit VirtualSystemSnapshotService(ServiceCore& core) noexcept : core_(&core) {}

 private:
  ServiceCore* core_;
};

// Msvm_CollectionSnapshotService.
class CollectionSnapshotService {
 public:
  // Family A.
  std::uint32_t create_snapshot(CimText collection, CimText snapshot_settings,
                                std::uint16_t snapshot_type,
                                std::string& resulting_snapshot_collection,
                                std::string& job) noexcept;
  std::uint32_t apply_snapshot(CimText snapshot_collection, std::string& job) noexcept;
  std::uint32_t destroy_snapshot(CimText affected_snapshot_collection, std::string& job) noexcept;
  // Not supported: 1.
  std::uint32_t export_snapshot(CimText snapshot_collection, CimText export_directory,
                                std::string& job) noexcept;
  std::uint32_t convert_to_reference_point(CimText affected_snapshot_collection,
                                           CimText reference_point_settings,
                                           std::string& resulting_reference_point,
                                           std::string& job) noexcept;
  std::uint32_t request_state_change(std::uint16_t requested_state, std::string& job) noexcept;
  std::uint32_t start_service() noexcept;
  std::uint32_t stop_service() noexcept;

  explicit CollectionSnapshotService(ServiceCore& core) noexcept : core_(&core) {}

 private:
  ServiceCore* core_;
};

// Both services, the objects they speak of, and the jobs.
class SnapshotServices {
 public:
  // Errors: invalid_argument (executor and own_thread, or neither without synchronous; a short
  // retention), no_memory, and those of Engine::create.
  [[nodiscard]] static Result<std::unique_ptr<SnapshotServices>> create(
      const ServiceOptions& options) noexcept;
  // Work that runs is cancelled. REQUIRES: with an executor, no posted work is left.
  ~SnapshotServices();
  SnapshotServices(const SnapshotServices&) = delete;
  SnapshotServices& operator=(const SnapshotServices&) = delete;

  [[nodiscard]] VirtualSystemSnapshotService& virtual_system() noexcept { return virtual_system_; }
  [[nodiscard]] CollectionSnapshotService& collection() noexcept { return collection_; }

  // --- definitions
  // Reads the snapshots from the disks, and settles what a crash left half made. The path of the
  // system. Errors: exists, invalid_argument (a null GUID, a disk without image and path, an image
  // with own_thread), and those of Image::open.
  Result<std::string> define_system(const SystemDefinition& definition) noexcept;
  // Errors: not_found, busy (a job).
  Result<void> remove_system(CimText system) noexcept;
  // Errors: exists, invalid_argument.
  Result<std::string> define_collection(const Uuid& id, std::string_view element_name) noexcept;
  Result<void> remove_collection(CimText collection) noexcept;
  // A member is a system or a collection. Errors: not_found, exists.
  Result<void> add_member(CimText collection, CimText member) noexcept;
  Result<void> remove_member(CimText collection, CimText member) noexcept;

  // --- queries. Errors: not_found, no_memory.
  [[nodiscard]] Result<std::vector<SystemDescription>> systems() const noexcept;
  [[nodiscard]] Result<SystemDescription> system(CimText path) const noexcept;
  [[nodiscard]] Result<std::vector<SnapshotDescription>> snapshots(CimText system) const noexcept;
  [[nodiscard]] Result<SnapshotDescription> snapshot(CimText path) const noexcept;
  // As an embedded instance (CIM-XML).
  [[nodiscard]] Result<std::string> snapshot_text(CimText path) const noexcept;
  // Paths; empty: there is none.
  [[nodiscard]] Result<std::string> most_current_snapshot(CimText system) const noexcept;
  [[nodiscard]] Result<std::string> last_applied_snapshot(CimText system) const noexcept;
  [[nodiscard]] Result<std::vector<CollectionDescription>> collections() const noexcept;
  [[nodiscard]] Result<std::vector<SnapshotCollectionDescription>> snapshot_collections(
      CimText collection) const noexcept;
  [[nodiscard]] Result<SnapshotCollectionDescription> snapshot_collection(
      CimText path) const noexcept;
  // SnapshotType values CreateSnapshot implements, and those that would not answer 1 or 5 now.
  [[nodiscard]] static std::span<const VirtualSystemSnapshotType> supported_types() noexcept;
  [[nodiscard]] Result<std::vector<VirtualSystemSnapshotType>> supported_types(
      CimText system) const noexcept;

  // On the work thread; family A.
  std::uint32_t rename_snapshot(CimText snapshot, std::string_view element_name) noexcept;

  // --- jobs
  [[nodiscard]] Result<std::vector<JobDescription>> jobs() const noexcept;
  [[nodiscard]] Result<JobDescription> job(CimText path) const noexcept;
  [[nodiscard]] Result<std::vector<AffectedElement>> affected_elements(CimText job) const noexcept;
  // RequestStateChange: JobRequest in, JobRequestCode out. A job stops before its snapshot is
  // published, or not at all. `timeout`: an interval, not supported; nothing or all zeros pass.
  std::uint32_t request_job_state_change(CimText job, std::uint16_t requested_state,
                                         CimText timeout = std::nullopt) noexcept;
  // GetErrorEx: Msvm_Error instances (CIM-XML); none unless the job failed. JobErrorCode out.
  std::uint32_t job_errors(CimText job, std::vector<std::string>& errors) const noexcept;

  explicit SnapshotServices(std::unique_ptr<ServiceCore> core) noexcept;  // For create().

 private:
  std::unique_ptr<ServiceCore> core_;
  VirtualSystemSnapshotService virtual_system_;
  CollectionSnapshotService collection_;
};

}  // namespace varve
