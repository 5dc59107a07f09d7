#include "io/transfer.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/assert.h"
#include "base/checked.h"
#include "base/units.h"
#include "io/vectors.h"

namespace varve {
namespace {

constexpr std::size_t kZeroRunBytes = 64 * kKiB;
constexpr std::size_t kZeroVectors = 64;

// Never written to: IoVector has no const form, and the system only reads from these.
alignas(4096) std::byte zero_run[kZeroRunBytes];

constinit const std::array<IoVector, kZeroVectors> kZeroVectorTable = [] {
  std::array<IoVector, kZeroVectors> table{};
  table.fill(IoVector{zero_run, kZeroRunBytes});
  return table;
}();

std::uint64_t call_position(const StorageRequest& request, std::uint64_t block) noexcept {
  return round_down(request.offset + request.internal.done_bytes, block) - request.offset;
}

void plan_zeros(SystemCall& call, std::uint64_t left) noexcept {
  if (left < kZeroRunBytes) {
    call.single = {zero_run, static_cast<std::size_t>(left)};
    return;
  }
  call.vectors = kZeroVectorTable.data();
  call.vector_count =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(left / kZeroRunBytes, kZeroVectors));
}

void plan_vectors(SystemCall& call, const StorageRequest& request,
                  std::uint64_t position) noexcept {
  std::uint32_t first = 0;
  while (position >= request.vectors[first].size) {
    position -= request.vectors[first].size;
    ++first;
  }
  const IoVector& vector = request.vectors[first];
  const std::uint32_t left = request.vector_count - first;
  if (position != 0 || left == 1 || vector.size >= kCallBytesMax) {
    call.single = {vector.data + position, static_cast<std::size_t>(std::min<std::uint64_t>(
                                               vector.size - position, kCallBytesMax))};
    return;
  }
  std::uint64_t bytes = 0;
  std::uint32_t count = 0;
  while (count < std::min(left, kCallVectorsMax) &&
         request.vectors[first + count].size <= kCallBytesMax - bytes) {
    bytes += request.vectors[first + count].size;
    ++count;
  }
  call.vectors = request.vectors + first;
  call.vector_count = count;
}

}  // namespace

SystemCall next_transfer_call(const StorageRequest& request, std::uint64_t block) noexcept {
  const std::uint64_t position = call_position(request, block);
  SystemCall call;
  call.kind = request.operation == StorageOperation::read ? SystemCall::Kind::read
                                                          : SystemCall::Kind::write;
  call.offset = request.offset + position;
  if (request.operation == StorageOperation::write_zeroes) {
    plan_zeros(call, request.length - position);
  } else {
    plan_vectors(call, request, position);
  }
  return call;
}

bool is_transient(std::int64_t result) noexcept {
  return result == -EINTR || result == -EAGAIN;
}

TransferStep account_transfer(StorageRequest& request, std::uint64_t block, std::int64_t result,
                              std::uint64_t known_size) noexcept {
  if (is_transient(result)) {
    return TransferStep::again;
  }
  if (result < 0) {
    return TransferStep::failed;
  }
  const std::uint64_t total = request.size_bytes();
  const std::uint64_t reached = call_position(request, block) + static_cast<std::uint64_t>(result);
  VARVE_ASSERT(reached <= total);
  // Bytes below done_bytes may have been moved a second time; they are no progress.
  const bool progressed = reached > request.internal.done_bytes;
  if (progressed) {
    request.internal.done_bytes = reached;
    if (reached == total) {
      return TransferStep::complete;
    }
  }
  if (request.operation != StorageOperation::read) {
    return progressed ? TransferStep::again : TransferStep::failed;
  }
  if (!progressed || request.offset + reached == known_size) {
    zero_from(request, request.internal.done_bytes);
    request.internal.done_bytes = total;
    return TransferStep::complete;
  }
  return TransferStep::again;
}

}  // namespace varve
