// Counts every allocation of a test program, and refuses the one it is told to. Replaces malloc and
// the operators of the whole program: one file of a program includes it.
//
// Threads: any; the counters are atomic.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VARVE_COUNT_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define VARVE_COUNT_MALLOC 0
#endif
#endif
#ifndef VARVE_COUNT_MALLOC
#define VARVE_COUNT_MALLOC 1
#endif

namespace varve::test {

inline std::atomic<std::uint64_t> allocation_count = 0;
// Allocations still granted before the next one fails; negative: all are.
inline std::atomic<std::int64_t> allocations_left = -1;

inline bool is_granted() {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  if (allocations_left.load(std::memory_order_relaxed) < 0) {
    return true;
  }
  // The one that fails is the only one.
  return allocations_left.fetch_sub(1, std::memory_order_relaxed) != 0;
}

}  // namespace varve::test

#if VARVE_COUNT_MALLOC
// glibc's own entry points stand behind the ones replaced here.
extern "C" {
void* __libc_malloc(std::size_t size);                           // NOLINT
void* __libc_calloc(std::size_t count, std::size_t size);        // NOLINT
void* __libc_memalign(std::size_t alignment, std::size_t size);  // NOLINT
void* malloc(std::size_t size) noexcept {
  return varve::test::is_granted() ? __libc_malloc(size) : nullptr;
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  return varve::test::is_granted() ? __libc_calloc(count, size) : nullptr;
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return varve::test::is_granted() ? __libc_memalign(alignment, size) : nullptr;
}
}
#else
// Sanitizers own malloc: here only C++ allocations are counted.
// GCC takes a pair of which it inlines only one for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* memory = varve::test::is_granted() ? std::malloc(size) : nullptr; memory != nullptr) {
    return memory;
  }
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return varve::test::is_granted() ? std::malloc(size) : nullptr;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {  // tidy: allow raw-new: its own
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory,  // tidy: allow raw-new: the counter's own
                                       std::size_t) noexcept {
  std::free(memory);
}
#endif
