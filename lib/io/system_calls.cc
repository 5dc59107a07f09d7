#include <array>

#include <sys/syscall.h>
#include <varve/system_calls.h>

namespace varve {
namespace {

// Newer machines have some calls in their later form only.
constexpr std::array kCalls = {
    SystemCallInfo{"read", SYS_read, SystemCallUse::running, "event descriptors"},
    SystemCallInfo{"write", SYS_write, SystemCallUse::running, "event descriptors"},
    SystemCallInfo{"close", SYS_close, SystemCallUse::running, "files, rings, event descriptors"},
    SystemCallInfo{"fcntl", SYS_fcntl, SystemCallUse::running,
                   "image locks, modes of descriptors, copies"},
    SystemCallInfo{"lseek", SYS_lseek, SystemCallUse::running, "holes of files"},
    SystemCallInfo{"ftruncate", SYS_ftruncate, SystemCallUse::running,
                   "where io_uring cannot (before Linux 6.9)"},
    SystemCallInfo{"ioctl", SYS_ioctl, SystemCallUse::running,
                   "block devices: size, sectors, discard"},
    SystemCallInfo{"newfstatat", SYS_newfstatat, SystemCallUse::running,
                   "facts of a file, its size after a failure"},
    SystemCallInfo{"fstat", SYS_fstat, SystemCallUse::running, "the same, with other C libraries"},
    SystemCallInfo{"futex", SYS_futex, SystemCallUse::running, "locks between threads"},
    SystemCallInfo{"brk", SYS_brk, SystemCallUse::running, "memory"},
    SystemCallInfo{"mmap", SYS_mmap, SystemCallUse::running,
                   "memory, rings, the stacks of threads"},
    SystemCallInfo{"munmap", SYS_munmap, SystemCallUse::running, "memory"},
    SystemCallInfo{"mprotect", SYS_mprotect, SystemCallUse::running,
                   "memory, the stacks of threads"},
    SystemCallInfo{"madvise", SYS_madvise, SystemCallUse::running, "memory"},
    SystemCallInfo{"getrandom", SYS_getrandom, SystemCallUse::running,
                   "UUIDs; the C library's allocator"},
    SystemCallInfo{"clock_gettime", SYS_clock_gettime, SystemCallUse::running,
                   "times, where the vDSO cannot"},
    SystemCallInfo{"eventfd2", SYS_eventfd2, SystemCallUse::opening, "event descriptors"},
    SystemCallInfo{"fstatfs", SYS_fstatfs, SystemCallUse::opening, "what a file system can do"},
    SystemCallInfo{"statx", SYS_statx, SystemCallUse::opening, "the alignment of direct I/O"},
    SystemCallInfo{"fadvise64", SYS_fadvise64, SystemCallUse::opening,
                   "the page cache of files for direct I/O"},
    SystemCallInfo{"pread64", SYS_pread64, SystemCallUse::opening,
                   "the alignment of direct I/O; threads"},
    SystemCallInfo{"io_uring_setup", SYS_io_uring_setup, SystemCallUse::io_uring, "the ring"},
    SystemCallInfo{"io_uring_enter", SYS_io_uring_enter, SystemCallUse::io_uring, "all I/O"},
    SystemCallInfo{"io_uring_register", SYS_io_uring_register, SystemCallUse::io_uring,
                   "files of the ring"},
    SystemCallInfo{"clone3", SYS_clone3, SystemCallUse::threads, "starting a thread"},
    SystemCallInfo{"clone", SYS_clone, SystemCallUse::threads, "the same, with older C libraries"},
    SystemCallInfo{"rseq", SYS_rseq, SystemCallUse::threads, "starting a thread"},
    SystemCallInfo{"set_robust_list", SYS_set_robust_list, SystemCallUse::threads,
                   "starting a thread"},
    SystemCallInfo{"rt_sigaction", SYS_rt_sigaction, SystemCallUse::threads,
                   "starting the first thread"},
    SystemCallInfo{"rt_sigprocmask", SYS_rt_sigprocmask, SystemCallUse::threads,
                   "threads take no signals"},
    SystemCallInfo{"sched_getaffinity", SYS_sched_getaffinity, SystemCallUse::threads,
                   "memory of more than eight threads"},
    SystemCallInfo{"exit", SYS_exit, SystemCallUse::threads, "the end of a thread"},
    SystemCallInfo{"preadv", SYS_preadv, SystemCallUse::threads, "reading"},
    SystemCallInfo{"pwrite64", SYS_pwrite64, SystemCallUse::threads, "writing"},
    SystemCallInfo{"pwritev", SYS_pwritev, SystemCallUse::threads, "writing"},
    SystemCallInfo{"fdatasync", SYS_fdatasync, SystemCallUse::threads, "flushing"},
    SystemCallInfo{"fallocate", SYS_fallocate, SystemCallUse::threads,
                   "zeroing, discarding, reserving"},
#ifdef SYS_poll
    SystemCallInfo{"poll", SYS_poll, SystemCallUse::threads, "waiting"},
#else
    SystemCallInfo{"ppoll", SYS_ppoll, SystemCallUse::threads, "waiting"},
#endif
    SystemCallInfo{"openat", SYS_openat, SystemCallUse::paths, "opening files"},
    SystemCallInfo{"fsync", SYS_fsync, SystemCallUse::paths, "the folders of new files"},
};

}  // namespace

std::span<const SystemCallInfo> system_calls() noexcept {
  return kCalls;
}

}  // namespace varve
