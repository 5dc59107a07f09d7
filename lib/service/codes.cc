// The texts of service_codes.h, as tables of ranges in the order of the numbers, and the mapping of
// the library's errors.
#include <cstddef>

#include <varve/service_codes.h>

namespace varve {
namespace {

struct CodeText {
  std::uint32_t first;
  std::uint32_t last;
  const char* text;
};

constexpr const char* kNotInTheMap = "not in the value map";

template <std::size_t count>
const char* find_text(const CodeText (&table)[count], std::uint32_t code) noexcept {
  for (const CodeText& row : table) {
    if (code >= row.first && code <= row.last) {
      return row.text;
    }
  }
  return kNotInTheMap;
}

constexpr CodeText kMethodCodes[] = {
    {0, 0, "Completed with No Error"},
    {1, 1, "Not Supported"},
    {2, 2, "Failed"},
    {3, 3, "Timeout"},
    {4, 4, "Invalid Parameter"},
    {5, 5, "Invalid State"},
    {6, 6, "Invalid Type"},
    {7, 4095, "DMTF Reserved"},
    {4096, 4096, "Method Parameters Checked - Job Started"},
    {4097, 32767, "Method Reserved"},
    {32768, 65535, "Vendor Specific"},
};

constexpr CodeText kVirtualizationCodes[] = {
    {0, 0, "Completed with No Error"},
    {4096, 4096, "Method Parameters Checked - Job Started"},
    {32768, 32768, "Failed"},
    {32769, 32769, "Access Denied"},
    {32770, 32770, "Not Supported"},
    {32771, 32771, "Status is unknown"},
    {32772, 32772, "Timeout"},
    {32773, 32773, "Invalid parameter"},
    {32774, 32774, "System is in use"},
    {32775, 32775, "Invalid state for this operation"},
    {32776, 32776, "Incorrect data type"},
    {32777, 32777, "System is not available"},
    {32778, 32778, "Out of memory"},
};

constexpr CodeText kVirtualSystemSnapshotTypes[] = {
    {2, 2, "Full Snapshot"},
    {3, 3, "Disk Snapshot"},
    {32768, 65535, "Vendor Specific"},
};

constexpr CodeText kCollectionSnapshotTypes[] = {
    {0, 0, "Unknown"},
    {1, 1, "Standard"},
    {2, 2, "Recovery"},
    {3, 32767, "DMTF Reserved"},
    {32768, 65535, "Vendor Specific"},
};

constexpr CodeText kEnabledStates[] = {
    {2, 2, "Enabled"},           {3, 3, "Disabled"},         {32768, 32768, "Paused"},
    {32769, 32769, "Suspended"}, {32770, 32770, "Starting"}, {32771, 32771, "Snapshotting"},
    {32773, 32773, "Saving"},    {32774, 32774, "Stopping"}, {32776, 32776, "Pausing"},
    {32777, 32777, "Resuming"},
};

constexpr CodeText kUserSnapshotTypes[] = {
    {2, 2, "Disable"},
    {3, 3, "Production Fallback To Test"},
    {4, 4, "Production No Fallback"},
    {5, 5, "Test"},
};

constexpr CodeText kConsistencyLevels[] = {
    {0, 0, "Unknown"},
    {1, 1, "Application Consistent"},
    {2, 2, "Crash Consistent"},
};

constexpr CodeText kGuestBackupTypes[] = {
    {0, 0, "Undefined"},
    {1, 1, "Full"},
    {2, 2, "Copy"},
};

constexpr CodeText kJobStates[] = {
    {2, 2, "New"},
    {3, 3, "Starting"},
    {4, 4, "Running"},
    {5, 5, "Suspended"},
    {6, 6, "Shutting Down"},
    {7, 7, "Completed"},
    {8, 8, "Terminated"},
    {9, 9, "Killed"},
    {10, 10, "Exception"},
    {11, 11, "Service"},
    {12, 12, "Query Pending"},
    {13, 32767, "DMTF Reserved"},
    {32768, 65535, "Vendor Reserved"},
};

constexpr CodeText kJobTypes[] = {
    {70, 70, "Snapshot Virtual Machine"}, {71, 71, "Apply Snapshot"},
    {72, 72, "Delete Snapshot"},          {73, 73, "Clear Snapshot State"},
    {198, 198, "Snapshot Collection"},
};

constexpr CodeText kJobRequestCodes[] = {
    {0, 0, "Completed with No Error"},
    {1, 1, "Not Supported"},
    {2, 2, "Unknown/Unspecified Error"},
    {3, 3, "Can NOT complete within Timeout Period"},
    {4, 4, "Failed"},
    {5, 5, "Invalid Parameter"},
    {6, 6, "In Use"},
    {7, 4095, "DMTF Reserved"},
    {4096, 4096, "Method Parameters Checked - Transition Started"},
    {4097, 4097, "Invalid State Transition"},
    {4098, 4098, "Use of Timeout Parameter Not Supported"},
    {4099, 4099, "Busy"},
    {4100, 32767, "Method Reserved"},
    {32768, 65535, "Vendor Specific"},
};

constexpr CodeText kJobErrorCodes[] = {
    {0, 0, "Success"},
    {1, 1, "Not Supported"},
    {2, 2, "Unspecified Error"},
    {3, 3, "Timeout"},
    {4, 4, "Failed"},
    {5, 5, "Invalid Parameter"},
    {6, 6, "Access Denied"},
    {7, 4095, "DMTF Reserved"},
    {4096, 32767, "Method Reserved"},
    {32768, 65535, "Vendor Specific"},
};

}  // namespace

const char* method_code_text(std::uint32_t code) noexcept {
  return find_text(kMethodCodes, code);
}
const char* virtualization_code_text(std::uint32_t code) noexcept {
  return find_text(kVirtualizationCodes, code);
}
const char* virtual_system_snapshot_type_text(std::uint16_t type) noexcept {
  return find_text(kVirtualSystemSnapshotTypes, type);
}
const char* collection_snapshot_type_text(std::uint16_t type) noexcept {
  return find_text(kCollectionSnapshotTypes, type);
}
const char* enabled_state_text(std::uint16_t state) noexcept {
  return find_text(kEnabledStates, state);
}
const char* user_snapshot_type_text(std::uint16_t type) noexcept {
  return find_text(kUserSnapshotTypes, type);
}
const char* consistency_level_text(std::uint8_t level) noexcept {
  return find_text(kConsistencyLevels, level);
}
const char* guest_backup_type_text(std::uint8_t type) noexcept {
  return find_text(kGuestBackupTypes, type);
}
const char* job_state_text(std::uint16_t state) noexcept {
  return find_text(kJobStates, state);
}
const char* job_type_text(std::uint16_t type) noexcept {
  return find_text(kJobTypes, type);
}
const char* job_request_code_text(std::uint32_t code) noexcept {
  return find_text(kJobRequestCodes, code);
}
const char* job_error_code_text(std::uint32_t code) noexcept {
  return find_text(kJobErrorCodes, code);
}

VirtualizationCode virtualization_code_of(MethodCode code) noexcept {
  switch (code) {
    case MethodCode::completed:
      return VirtualizationCode::completed;
    case MethodCode::not_supported:
      return VirtualizationCode::not_supported;
    case MethodCode::failed:
      return VirtualizationCode::failed;
    case MethodCode::timeout:
      return VirtualizationCode::timeout;
    case MethodCode::invalid_parameter:
      return VirtualizationCode::invalid_parameter;
    case MethodCode::invalid_state:
      return VirtualizationCode::invalid_state;
    case MethodCode::invalid_type:
      return VirtualizationCode::incorrect_data_type;
    case MethodCode::job_started:
      return VirtualizationCode::job_started;
  }
  return VirtualizationCode::failed;
}

MethodCode method_code_of(const Error& error) noexcept {
  switch (error.code) {
    case ErrorCode::unsupported:
      return MethodCode::not_supported;
    case ErrorCode::timed_out:
      return MethodCode::timeout;
    case ErrorCode::busy:
      return MethodCode::invalid_state;
    case ErrorCode::io:
    case ErrorCode::corrupt:
    case ErrorCode::invalid_argument:
    case ErrorCode::out_of_range:
    case ErrorCode::not_found:
    case ErrorCode::read_only:
    case ErrorCode::no_space:
    case ErrorCode::no_memory:
    case ErrorCode::cancelled:
    case ErrorCode::poisoned:
    case ErrorCode::exists:
    case ErrorCode::over_budget:
      return MethodCode::failed;
  }
  return MethodCode::failed;
}

VirtualizationCode virtualization_code_of(const Error& error) noexcept {
  if (error.code == ErrorCode::no_memory) {
    return VirtualizationCode::out_of_memory;
  }
  if (error.code == ErrorCode::busy) {
    return VirtualizationCode::system_in_use;
  }
  return virtualization_code_of(method_code_of(error));
}

}  // namespace varve
