// The numbers of the snapshot services: return codes, types and states, as Hyper-V's
// root\virtualization\v2 numbers them, and the text of each.
//
// Two families of return codes exist side by side. CreateSnapshot, ApplySnapshot and
// DestroySnapshot answer MethodCode (family A); DestroySnapshotTree, ClearSnapshotState and the
// ErrorCode of a job use VirtualizationCode (family B). SnapshotType too is numbered twice: 2 is
// Full on a virtual system and Recovery on a collection. So the services take and return raw
// numbers, and these types name them.
//
// Threads: plain values. The texts have static lifetime.
#pragma once

#include <cstdint>
#include <optional>

#include <varve/error.h>

namespace varve {

// Family A: CIM_VirtualSystemSnapshotService.
enum class MethodCode : std::uint32_t {
  completed = 0,
  not_supported = 1,
  failed = 2,
  timeout = 3,
  invalid_parameter = 4,
  invalid_state = 5,
  invalid_type = 6,
  job_started = 4096,
};

// Family B: Msvm extensions, and the ErrorCode of a job.
enum class VirtualizationCode : std::uint32_t {
  completed = 0,
  job_started = 4096,
  failed = 32768,
  access_denied = 32769,
  not_supported = 32770,
  status_unknown = 32771,
  timeout = 32772,
  invalid_parameter = 32773,
  system_in_use = 32774,
  invalid_state = 32775,
  incorrect_data_type = 32776,
  system_not_available = 32777,
  out_of_memory = 32778,
};

// SnapshotType of VirtualSystemSnapshotService. 32768 and above are vendors'; others are not in the
// map.
enum class VirtualSystemSnapshotType : std::uint16_t { full = 2, disk = 3 };

// SnapshotType of CollectionSnapshotService. 3..32767 are reserved, 32768 and above vendors'.
enum class CollectionSnapshotType : std::uint16_t { unknown = 0, standard = 1, recovery = 2 };

inline constexpr std::uint16_t kVendorSnapshotType = 32768;  // The first of them.

// EnabledState of a system.
enum class EnabledState : std::uint16_t {
  running = 2,
  off = 3,
  paused = 32768,
  saved = 32769,
  starting = 32770,
  snapshotting = 32771,
  saving = 32773,
  stopping = 32774,
  pausing = 32776,
  resuming = 32777,
};

// Whether snapshots of a system may be made at all.
enum class UserSnapshotType : std::uint16_t {
  disable = 2,
  production_fallback_to_test = 3,
  production_no_fallback = 4,
  test = 5,
};

enum class ConsistencyLevel : std::uint8_t { unknown = 0, application = 1, crash = 2 };
enum class GuestBackupType : std::uint8_t { undefined = 0, full = 1, copy = 2 };

enum class JobState : std::uint16_t {
  created = 2,  // "New"
  starting = 3,
  running = 4,
  suspended = 5,
  shutting_down = 6,
  completed = 7,
  terminated = 8,
  killed = 9,
  exception = 10,
  service = 11,
  query_pending = 12,
};

enum class JobType : std::uint16_t {
  snapshot = 70,
  apply = 71,
  destroy = 72,
  clear_state = 73,
  collection_snapshot = 198,
};

// RequestedState of a job's RequestStateChange; others are not valid.
enum class JobRequest : std::uint16_t {
  start = 2,
  suspend = 3,
  terminate = 4,
  kill = 5,
  service = 6,
};

// What a job's RequestStateChange answers: a numbering of its own.
enum class JobRequestCode : std::uint32_t {
  completed = 0,
  not_supported = 1,
  unknown = 2,
  timeout = 3,
  failed = 4,
  invalid_parameter = 5,
  in_use = 6,
  transition_started = 4096,
  invalid_transition = 4097,
  timeout_unsupported = 4098,
  busy = 4099,
};

// What GetErrorEx answers.
enum class JobErrorCode : std::uint32_t {
  success = 0,
  not_supported = 1,
  unspecified = 2,
  timeout = 3,
  failed = 4,
  invalid_parameter = 5,
  access_denied = 6,
};

inline constexpr std::uint16_t kElementEffectCreate = 5;  // AffectedJobElement.ElementEffects

// The texts of the value maps; ranges included ("DMTF Reserved"). Never null.
[[nodiscard]] const char* method_code_text(std::uint32_t code) noexcept;
[[nodiscard]] const char* virtualization_code_text(std::uint32_t code) noexcept;
[[nodiscard]] const char* virtual_system_snapshot_type_text(std::uint16_t type) noexcept;
[[nodiscard]] const char* collection_snapshot_type_text(std::uint16_t type) noexcept;
[[nodiscard]] const char* enabled_state_text(std::uint16_t state) noexcept;
[[nodiscard]] const char* user_snapshot_type_text(std::uint16_t type) noexcept;
[[nodiscard]] const char* consistency_level_text(std::uint8_t level) noexcept;
[[nodiscard]] const char* guest_backup_type_text(std::uint8_t type) noexcept;
[[nodiscard]] const char* job_state_text(std::uint16_t state) noexcept;
[[nodiscard]] const char* job_type_text(std::uint16_t type) noexcept;
[[nodiscard]] const char* job_request_code_text(std::uint32_t code) noexcept;
[[nodiscard]] const char* job_error_code_text(std::uint32_t code) noexcept;

// The same outcome in the other family, and an error of the library in both. An error met during
// the work never becomes "invalid parameter": the parameters were checked before.
[[nodiscard]] VirtualizationCode virtualization_code_of(MethodCode code) noexcept;
[[nodiscard]] MethodCode method_code_of(const Error& error) noexcept;
[[nodiscard]] VirtualizationCode virtualization_code_of(const Error& error) noexcept;

}  // namespace varve
