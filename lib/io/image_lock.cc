#include "io/image_lock.h"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/try.h"

namespace varve {
namespace {

constexpr off_t kUsedBase = 100;
constexpr off_t kUnsharedBase = 200;

constexpr std::array<const char*, kImagePermissionCount> kUsedConflict = {
    "Failed to get \"consistent read\" lock", "Failed to get \"write\" lock",
    "Failed to get \"write unchanged\" lock", "Failed to get \"resize\" lock"};
constexpr std::array<const char*, kImagePermissionCount> kUnsharedConflict = {
    "Failed to get shared \"consistent read\" lock", "Failed to get shared \"write\" lock",
    "Failed to get shared \"write unchanged\" lock", "Failed to get shared \"resize\" lock"};

struct flock byte_lock(short type, off_t byte) noexcept {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

bool means_no_locks(int error) noexcept {
  return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP;
}

bool has(std::uint8_t set, unsigned permission) noexcept {
  return (set >> permission & 1U) != 0;
}

Result<void> set_byte(int descriptor, short type, off_t byte, const char* conflict) noexcept {
  struct flock lock = byte_lock(type, byte);
  if (::fcntl(descriptor, F_OFD_SETLK, &lock) == 0 || means_no_locks(errno)) {
    return {};
  }
  if (errno == EAGAIN || errno == EACCES) {
    return failure(ErrorCode::busy, conflict);
  }
  return system_failure(errno, IoTag::none, Error::kNoOffset, "cannot lock the file");
}

// Sets or drops the bytes whose permission is in `set`.
Result<void> set_bytes(int descriptor, short type, std::uint8_t set, off_t base,
                       const std::array<const char*, kImagePermissionCount>& conflicts) noexcept {
  for (unsigned permission = 0; permission < kImagePermissionCount; ++permission) {
    if (has(set, permission)) {
      VARVE_TRY(set_byte(descriptor, type, base + permission, conflicts[permission]));
    }
  }
  return {};
}

// Fails when somebody else holds a byte of `base` whose permission is in `set`.
Result<void> verify(int descriptor, std::uint8_t set, off_t base,
                    const std::array<const char*, kImagePermissionCount>& conflicts) noexcept {
  for (unsigned permission = 0; permission < kImagePermissionCount; ++permission) {
    if (!has(set, permission)) {
      continue;
    }
    struct flock lock = byte_lock(F_WRLCK, base + permission);
    if (::fcntl(descriptor, F_OFD_GETLK, &lock) != 0) {
      if (means_no_locks(errno)) {
        return {};
      }
      return system_failure(errno, IoTag::none, Error::kNoOffset, "cannot query a file lock");
    }
    if (lock.l_type != F_UNLCK) {
      return failure(ErrorCode::busy, conflicts[permission]);
    }
  }
  return {};
}

Result<void> take(int descriptor, const ImageLocks& wanted) noexcept {
  VARVE_TRY(set_bytes(descriptor, F_RDLCK, wanted.used, kUsedBase, kUsedConflict));
  VARVE_TRY(set_bytes(descriptor, F_RDLCK, wanted.unshared, kUnsharedBase, kUnsharedConflict));
  // Only now that ours are visible: of two that race, at least one sees the other.
  VARVE_TRY(verify(descriptor, wanted.used, kUnsharedBase, kUsedConflict));
  return verify(descriptor, wanted.unshared, kUsedBase, kUnsharedConflict);
}

void drop(int descriptor, const ImageLocks& from, const ImageLocks& keep) noexcept {
  const auto used = static_cast<std::uint8_t>(from.used & ~keep.used);
  const auto unshared = static_cast<std::uint8_t>(from.unshared & ~keep.unshared);
  // Dropping what we hold cannot fail for a reason anybody could act on.
  (void)set_bytes(descriptor, F_UNLCK, used, kUsedBase, kUsedConflict);
  (void)set_bytes(descriptor, F_UNLCK, unshared, kUnsharedBase, kUnsharedConflict);
}

}  // namespace

ImageLocks locks_for(bool for_writing, bool share_everything) noexcept {
  const auto change = static_cast<std::uint8_t>(permission_bit(ImagePermission::write) |
                                                permission_bit(ImagePermission::resize));
  ImageLocks locks;
  locks.used = permission_bit(ImagePermission::consistent_read);
  if (for_writing) {
    locks.used = static_cast<std::uint8_t>(locks.used | change);
  }
  locks.unshared = share_everything ? std::uint8_t{0} : change;
  return locks;
}

Result<void> change_image_locks(int descriptor, ImageLocks& held,
                                const ImageLocks& wanted) noexcept {
  const Result<void> taken = take(descriptor, wanted);
  if (!taken) {
    drop(descriptor, wanted, held);
    return taken;
  }
  drop(descriptor, held, wanted);
  held = wanted;
  return {};
}

}  // namespace varve
