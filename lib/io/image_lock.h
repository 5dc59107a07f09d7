// QEMU's image locks: byte ranges locked on the open file description (OFD), so that QEMU and Varve
// refuse each other's writers. Byte 100 + p is locked shared for each permission p in use, byte
// 200 + p for each permission p that others must not use. A conflict is a byte of the other group
// held by somebody else.
#pragma once

#include <cstdint>

#include <varve/result.h>

namespace varve {

enum class ImagePermission : std::uint8_t { consistent_read, write, write_unchanged, resize };
inline constexpr unsigned kImagePermissionCount = 4;

constexpr std::uint8_t permission_bit(ImagePermission permission) noexcept {
  return static_cast<std::uint8_t>(1U << static_cast<unsigned>(permission));
}

// Sets of permission_bit.
struct ImageLocks {
  std::uint8_t used = 0;
  std::uint8_t unshared = 0;
};

// What qemu-img and qemu-io take for a qcow2 image: reading is used, writing and resizing too by a
// writer; nobody else may write or resize unless everything is shared.
[[nodiscard]] ImageLocks locks_for(bool for_writing, bool share_everything) noexcept;

// Changes the locks on `descriptor` from `held` to `wanted`, and checks that nobody contradicts
// them; on failure `held` is as it was. Errors: busy (`what` is QEMU's own message), io. Does not
// block. File systems without such locks succeed.
[[nodiscard]] Result<void> change_image_locks(int descriptor, ImageLocks& held,
                                              const ImageLocks& wanted) noexcept;

}  // namespace varve
