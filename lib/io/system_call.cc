#include "io/system_call.h"

#include <cerrno>
#include <cstddef>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace varve {

static_assert(sizeof(IoVector) == sizeof(iovec));
static_assert(offsetof(IoVector, data) == offsetof(iovec, iov_base));
static_assert(offsetof(IoVector, size) == offsetof(iovec, iov_len));

const iovec* system_vectors(const IoVector* vectors) noexcept {
  return static_cast<const iovec*>(static_cast<const void*>(vectors));
}

std::int64_t run_system_call(int descriptor, const SystemCall& call) noexcept {
  const auto offset = static_cast<off_t>(call.offset);
  const auto length = static_cast<off_t>(call.length);
  const auto count = static_cast<int>(call.vector_count);
  std::int64_t result = -1;
  switch (call.kind) {
    case SystemCall::Kind::read:
      result = count == 0 ? ::pread(descriptor, call.single.data, call.single.size, offset)
                          : ::preadv(descriptor, system_vectors(call.vectors), count, offset);
      break;
    case SystemCall::Kind::write:
      result = count == 0 ? ::pwrite(descriptor, call.single.data, call.single.size, offset)
                          : ::pwritev(descriptor, system_vectors(call.vectors), count, offset);
      break;
    case SystemCall::Kind::sync_data:
      result = ::fdatasync(descriptor);
      break;
    case SystemCall::Kind::allocate:
      result = ::fallocate(descriptor, call.mode, offset, length);
      break;
    case SystemCall::Kind::truncate:
      result = ::ftruncate(descriptor, offset);
      break;
    case SystemCall::Kind::discard_device: {
      std::uint64_t range[2] = {call.offset, call.length};
      result = ::ioctl(descriptor, BLKDISCARD, range);
      break;
    }
  }
  return result < 0 ? -errno : result;
}

}  // namespace varve
