#include "image/image_core.h"

#include "base/checked.h"
#include "base/failure.h"

namespace varve {

Result<void> ImageCore::check_release() const noexcept {
  return failure(ErrorCode::unsupported, "an image of a snapshot is released with its image");
}
Result<void> ImageCore::release() noexcept {
  return check_release();
}
Result<void> ImageCore::reacquire() noexcept {
  return check_release();
}

Result<void> validate_request(const BlockRequest& request, std::uint64_t disk_size,
                              bool is_writable) noexcept {
  if (request.operation == BlockOperation::flush) {
    return {};
  }
  if (request.operation != BlockOperation::read && !is_writable) {
    return failure(ErrorCode::read_only, "the image is open read-only");
  }
  if (!range_fits(request.offset, request.length, disk_size)) {
    Error error = failure_at(ErrorCode::out_of_range, IoTag::guest_data, request.offset,
                             "the request ends beyond the disk's size; end");
    error.value = request.offset + request.length;
    error.limit = disk_size;
    return error;
  }
  if (request.operation == BlockOperation::write_zeroes ||
      request.operation == BlockOperation::discard) {
    return {};
  }
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < request.vector_count; ++i) {
    total += request.vectors[i].size;
  }
  if (total != request.length) {
    return failure(ErrorCode::invalid_argument, "the vectors' sizes do not add up to the length");
  }
  return {};
}

}  // namespace varve
