#include "sim/sim_disk.h"

#include <algorithm>

#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "sim/allocation_faults.h"

namespace varve::sim {

StorageCapabilities sparse_file_capabilities() noexcept {
  StorageCapabilities capabilities;
  capabilities.can_discard = true;
  capabilities.discard_zeroes = true;
  capabilities.can_write_zeroes = true;
  capabilities.growth_is_zero = true;
  return capabilities;
}

Result<void> validate_request(const StorageRequest& request,
                              const StorageCapabilities& capabilities,
                              std::uint64_t size) noexcept {
  const StorageOperation operation = request.operation;
  const auto refuse = [&](ErrorCode code, const char* what) {
    return failure_at(code, request.tag, request.offset, what);
  };
  if (operation == StorageOperation::read || operation == StorageOperation::flush) {
    return {};
  }
  if (capabilities.read_only) {
    return refuse(ErrorCode::read_only, "the simulated storage is read-only");
  }
  if (operation == StorageOperation::resize) {
    if (capabilities.fixed_size) {
      return refuse(ErrorCode::unsupported, "the simulated device cannot be resized");
    }
    return {};
  }
  if (operation == StorageOperation::discard && !capabilities.can_discard) {
    return refuse(ErrorCode::unsupported, "the simulated storage cannot discard");
  }
  if (capabilities.fixed_size && !range_fits(request.offset, request.size_bytes(), size)) {
    return refuse(ErrorCode::out_of_range, "beyond the end of the simulated device");
  }
  return {};
}

std::vector<std::byte> gather(const StorageRequest& request) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(request.size_bytes()));
  std::size_t at = 0;
  for (std::uint32_t i = 0; i < request.vector_count; ++i) {
    const IoVector& vector = request.vectors[i];
    copy_bytes(Bytes(bytes).subspan(at, vector.size), ConstBytes(vector.data, vector.size));
    at += vector.size;
  }
  return bytes;
}

Result<void> apply_request(const StorageRequest& request, const StorageCapabilities& capabilities,
                           SparseBytes& content) {
  VARVE_TRY(validate_request(request, capabilities, content.size()));
  std::uint64_t offset = request.offset;
  switch (request.operation) {
    case StorageOperation::read:
      for (std::uint32_t i = 0; i < request.vector_count; ++i) {
        content.read(offset, Bytes(request.vectors[i].data, request.vectors[i].size));
        offset += request.vectors[i].size;
      }
      break;
    case StorageOperation::write:
      for (std::uint32_t i = 0; i < request.vector_count; ++i) {
        content.write(offset, ConstBytes(request.vectors[i].data, request.vectors[i].size));
        offset += request.vectors[i].size;
      }
      break;
    case StorageOperation::flush:
      break;
    case StorageOperation::discard:
      content.zero(offset, request.length);
      break;
    case StorageOperation::write_zeroes:
      content.zero(offset, request.length);
      content.resize(std::max(content.size(), offset + request.length));
      break;
    case StorageOperation::allocate:  // Space is not content, and the size stays.
      break;
    case StorageOperation::resize:
      content.resize(offset);
      break;
  }
  return {};
}

void SimStorage::submit(StorageRequest& request) noexcept {
  Result<void> result;
  {
    const AllocationPause pause;
    result = apply_request(request, disk_.capabilities, disk_.content);
  }
  engine_.post(request, result);
}

}  // namespace varve::sim
