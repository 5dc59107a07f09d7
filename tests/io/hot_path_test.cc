// What an aligned 4 KiB request costs: one system call entry in the ring and no heap allocation.
// Every allocation of this program is counted.
#include <atomic>
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "base/buffer.h"
#include "io/engine_implementation.h"
#include "io/io_fixture.h"

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

namespace {
std::atomic<std::uint64_t> allocation_count = 0;
}  // namespace

#if VARVE_COUNT_MALLOC
// glibc's own entry points stand behind the ones replaced here.
extern "C" {
void* __libc_malloc(std::size_t size);                           // NOLINT
void* __libc_calloc(std::size_t count, std::size_t size);        // NOLINT
void* __libc_memalign(std::size_t alignment, std::size_t size);  // NOLINT
void* malloc(std::size_t size) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, size);
}
}
#else
// Sanitizers own malloc: here only C++ allocations are counted.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 sees free() inlined into gtest's delete expressions but not this operator new.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t size) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size); memory != nullptr) {
    return memory;
  }
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {  // tidy: allow raw-new: the counter's own
  std::free(memory);
}
void operator delete(void* memory,  // tidy: allow raw-new: the counter's own
                     std::size_t) noexcept {
  std::free(memory);
}
#endif

namespace varve::testing {
namespace {

struct Case {
  const char* name;
  AioBackend backend;
  bool direct;
};

class HotPath : public ::testing::TestWithParam<Case> {};

TEST_P(HotPath, AnAlignedRequestIsOneCallWithoutAllocation) {
  const std::unique_ptr<Engine> engine = make_engine(GetParam().backend, 8);
  if (engine == nullptr) {
    GTEST_SKIP() << "io_uring is refused here";
  }
  const Folder folder;
  FileOptions options;
  options.writable = true;
  options.create = true;
  options.direct = GetParam().direct;
  Result<std::unique_ptr<Storage>> opened = open_file(*engine, folder.file("disk"), options);
  if (!opened) {
    GTEST_SKIP() << describe(opened.error());
  }
  const std::unique_ptr<Storage> storage = std::move(*opened);
  constexpr std::size_t kCount = 32;  // More than the ring holds: some wait for a place.
  Buffer memory = std::move(*Buffer::allocate_zeroed(kCount * 4096));
  std::vector<IoVector> vectors(kCount);
  std::vector<Io> requests(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    vectors[i] = {memory.data() + i * 4096, 4096};
  }
  // Once to have the file in place, then counted.
  for (int round = 0; round < 4; ++round) {
    const std::uint64_t calls = engine->implementation().system_call_count();
    const std::uint64_t allocations = allocation_count.load();
    for (std::size_t i = 0; i < kCount; ++i) {
      requests[i].operation = round % 2 == 0 ? StorageOperation::write : StorageOperation::read;
      requests[i].offset = i * 4096;
      requests[i].vectors = &vectors[i];
      requests[i].vector_count = 1;
      requests[i].start(*storage);
    }
    for (std::size_t i = 0; i < kCount; ++i) {
      while (!requests[i].result.has_value()) {
        engine->wait();
      }
    }
    const std::uint64_t allocated = allocation_count.load() - allocations;
    for (const Io& io : requests) {
      VARVE_EXPECT_OK(*io.result);
    }
    if (round > 0) {
      EXPECT_EQ(engine->implementation().system_call_count() - calls, kCount);
      EXPECT_EQ(allocated, 0U);
    }
  }
}

TEST(HotPathCounter, SeesAllocations) {
  const std::uint64_t before = allocation_count.load();
  const auto memory = std::make_unique<std::vector<int>>(1000);
  EXPECT_GT(allocation_count.load(), before) << memory->size();
}

INSTANTIATE_TEST_SUITE_P(Files, HotPath,
                         ::testing::Values(Case{"uring", AioBackend::io_uring, false},
                                           Case{"uring_direct", AioBackend::io_uring, true},
                                           Case{"threads", AioBackend::threads, false},
                                           Case{"threads_direct", AioBackend::threads, true}),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace varve::testing
