#include "io/file_facts.h"

#include <cerrno>

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "base/units.h"
#include "io/directory.h"
#include "io/image_lock.h"

namespace varve {

FileDescriptor::~FileDescriptor() {
  if (value_ >= 0) {
    ::close(value_);
  }
}

namespace {

constexpr mode_t kNewFileMode = 0644;

Error system_error(const char* what) noexcept {
  return system_failure(errno, IoTag::none, Error::kNoOffset, what);
}

Result<void> find_block_device_facts(FileFacts& facts, bool writable) {
  const int descriptor = facts.descriptor.get();
  std::uint64_t bytes = 0;
  int sector = 0;
  int read_only = 0;
  if (::ioctl(descriptor, BLKGETSIZE64, &bytes) != 0 ||
      ::ioctl(descriptor, BLKSSZGET, &sector) != 0) {
    return system_error("cannot find the size of the device");
  }
  if (writable && ::ioctl(descriptor, BLKROGET, &read_only) == 0 && read_only != 0) {
    return failure(ErrorCode::read_only, "the device is read-only");
  }
  facts.size = bytes;
  facts.sector_bytes = is_power_of_two(static_cast<std::uint64_t>(sector))
                           ? static_cast<std::uint32_t>(sector)
                           : static_cast<std::uint32_t>(kSectorBytes);
  facts.capabilities.fixed_size = true;
  facts.capabilities.can_discard = writable;
  facts.capabilities.can_write_zeroes = writable;
  return {};
}

void find_regular_file_facts(FileFacts& facts, bool writable) {
  facts.capabilities.can_discard = writable;
  facts.capabilities.discard_zeroes = writable;
  facts.capabilities.growth_is_zero = true;
  struct statfs system = {};
  const bool is_tmpfs =
      ::fstatfs(facts.descriptor.get(), &system) == 0 && system.f_type == TMPFS_MAGIC;
  facts.capabilities.can_write_zeroes = writable && !is_tmpfs;
}

// Whether a direct read of `bytes` at the front into memory so aligned is let through.
bool direct_read_works(int descriptor, Bytes memory) noexcept {
  return ::pread(descriptor, memory.data(), memory.size(), 0) >= 0;
}

// O_DIRECT's demands, from the kernel where it tells, else by trying.
Result<void> find_direct_alignment(FileFacts& facts) {
  if (!facts.block_device) {
    // File systems zero parts of a block through the page cache, where a direct write at the same
    // time collides with it: the kernel then fails the next flush (seen on ext4: "Page cache
    // invalidation failure on direct I/O"). So only whole blocks are punched or zeroed.
    facts.sector_bytes = static_cast<std::uint32_t>(kIoAlignment);
    facts.capabilities.discard_zeroes = false;
    // Pages that earlier buffered readers left must go before each direct write, and where the
    // kernel happens to hold one just then, the next flush fails in the same way. Advice only:
    // what is dirty or in use stays.
    (void)::posix_fadvise(facts.descriptor.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  StorageCapabilities& capabilities = facts.capabilities;
  capabilities.request_alignment = static_cast<std::uint32_t>(kIoAlignment);
  capabilities.memory_alignment = static_cast<std::uint32_t>(kIoAlignment);
#ifdef STATX_DIOALIGN
  struct statx details = {};
  if (::statx(facts.descriptor.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &details) == 0 &&
      (details.stx_mask & STATX_DIOALIGN) != 0) {
    if (details.stx_dio_offset_align == 0) {
      return failure(ErrorCode::unsupported, "the file system refuses direct I/O");
    }
    if (is_power_of_two(details.stx_dio_offset_align) &&
        is_power_of_two(details.stx_dio_mem_align)) {
      capabilities.request_alignment = details.stx_dio_offset_align;
      capabilities.memory_alignment = details.stx_dio_mem_align;
      return {};
    }
  }
#endif
  if (facts.block_device) {
    capabilities.request_alignment = facts.sector_bytes;
    capabilities.memory_alignment = facts.sector_bytes;
    return {};
  }
  // A read past the end may succeed whatever its alignment: then nothing is learnt.
  if (facts.size >= kIoAlignment) {
    Buffer memory = VARVE_TRY(Buffer::allocate(2 * kIoAlignment));
    if (direct_read_works(facts.descriptor.get(),
                          memory.bytes().subspan(kSectorBytes, kSectorBytes))) {
      capabilities.request_alignment = static_cast<std::uint32_t>(kSectorBytes);
      capabilities.memory_alignment = static_cast<std::uint32_t>(kSectorBytes);
    }
  }
  return {};
}

Result<void> find_facts(FileFacts& facts, const FileOptions& options) {
  const int descriptor = facts.descriptor.get();
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) {
    return system_error("cannot find out about the file");
  }
  facts.sync = options.fsync;
  facts.capabilities.read_only = !options.writable;
  if (S_ISBLK(status.st_mode)) {
    facts.block_device = true;
    facts.device = status.st_rdev;
    VARVE_TRY(find_block_device_facts(facts, options.writable));
  } else if (S_ISREG(status.st_mode)) {
    facts.device = status.st_dev;
    facts.inode = status.st_ino;
    facts.size = static_cast<std::uint64_t>(status.st_size);
    find_regular_file_facts(facts, options.writable);
  } else if (S_ISDIR(status.st_mode)) {
    return system_failure(EISDIR, IoTag::none, Error::kNoOffset, "cannot open the file");
  } else {
    return failure(ErrorCode::unsupported, "neither a regular file nor a block device");
  }
  if (facts.direct) {
    VARVE_TRY(find_direct_alignment(facts));
  }
  return {};
}

int open_flags(const FileOptions& options) noexcept {
  // O_NONBLOCK: a FIFO in place of an image must not hang us.
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (options.writable ? O_RDWR : O_RDONLY);
  if (options.create) {
    flags |= options.truncate ? O_CREAT : O_CREAT | O_EXCL;
  }
  return options.direct ? flags | O_DIRECT : flags;
}

// Empties an existing file, unless somebody uses it as an image.
Result<void> empty_file(FileFacts& facts) noexcept {
  if (facts.block_device || facts.size == 0) {
    return {};
  }
  ImageLocks held;
  VARVE_TRY(change_image_locks(facts.descriptor.get(), held, locks_for(true, false)));
  Result<void> result;
  if (::ftruncate(facts.descriptor.get(), 0) != 0) {
    result = system_error("cannot empty the file");
  } else {
    facts.size = 0;
  }
  (void)change_image_locks(facts.descriptor.get(), held, ImageLocks{});
  return result;
}

}  // namespace

Result<FileFacts> open_with_facts(const std::string& path, const FileOptions& options) {
  if (options.create && !options.writable) {
    return failure(ErrorCode::invalid_argument, "a file to be created must be writable");
  }
  FileFacts facts;
  facts.name = path;
  facts.direct = options.direct;
  const int flags = open_flags(options);
  facts.descriptor = FileDescriptor(::open(path.c_str(), flags, kNewFileMode));
  if (facts.descriptor.get() < 0) {
    if (errno == EINVAL && options.direct) {
      Error error = failure(ErrorCode::unsupported, "the file system refuses direct I/O");
      error.os_errno = EINVAL;
      return error;
    }
    return system_error(options.create ? "cannot create the file" : "cannot open the file");
  }
  VARVE_TRY(find_facts(facts, options));
  const int status = ::fcntl(facts.descriptor.get(), F_GETFL);
  if (status < 0 || ::fcntl(facts.descriptor.get(), F_SETFL, status & ~O_NONBLOCK) != 0) {
    return system_error("cannot change the file's mode");
  }
  if (options.create) {
    if (options.truncate) {
      VARVE_TRY(empty_file(facts));
    }
    if (options.fsync) {
      VARVE_TRY(sync_directory_of(path));
    }
  }
  return facts;
}

Result<FileFacts> adopt_with_facts(int descriptor, const FileOptions& options) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0) {
    return system_error("cannot use the descriptor");
  }
  if ((flags & O_ACCMODE) != (options.writable ? O_RDWR : O_RDONLY)) {
    return failure(ErrorCode::invalid_argument,
                   "the descriptor's mode and the option `writable` differ");
  }
  FileFacts facts;
  facts.name = "<descriptor " + std::to_string(descriptor) + ">";
  facts.direct = (flags & O_DIRECT) != 0;
  facts.descriptor = FileDescriptor(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (facts.descriptor.get() < 0) {
    return system_error("cannot use the descriptor");
  }
  VARVE_TRY(find_facts(facts, options));
  return facts;
}

std::optional<std::uint64_t> bytes_on_device(int descriptor) noexcept {
  constexpr std::uint64_t kBlockBytes = 512;  // stat counts in these.
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(status.st_blocks) * kBlockBytes;
}

std::optional<std::uint64_t> current_size(int descriptor) noexcept {
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace varve
