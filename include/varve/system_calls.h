// The system calls the library makes, for embedders that run it under a seccomp filter. Those of
// the C and C++ libraries on its behalf (memory, threads, time) are in the list too. A test runs a
// whole life of images under exactly this list.
//
// Threads: any; constants.
#pragma once

#include <cstdint>
#include <span>

namespace varve {

// When a call is needed; a filter allows those of all the uses it wants.
enum class SystemCallUse : std::uint8_t {
  running,   // Whatever is done with engines that exist and files that are open, by descriptor too.
  opening,   // Making engines, opening images over descriptors. Also their threads' start.
  io_uring,  // With the io_uring backend.
  threads,   // With the threads backend, and ConvertOptions::threads.
  paths,     // Opening or creating files by path. Without it the library opens nothing.
};

struct SystemCallInfo {
  const char* name;  // "io_uring_enter". Static lifetime.
  int number;        // On the machine the library was built for.
  SystemCallUse use;
  const char* why;  // A few words. Static lifetime.
};

// Each call once, under the first use in the order above that needs it. Static lifetime.
[[nodiscard]] std::span<const SystemCallInfo> system_calls() noexcept;

}  // namespace varve
