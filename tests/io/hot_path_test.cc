// What an aligned 4 KiB request costs: one system call entry in the ring and no heap allocation.
// Every allocation of this program is counted.
#include <gtest/gtest.h>

#include "base/buffer.h"
#include "io/engine_implementation.h"
#include "io/io_fixture.h"
#include "sim/allocation_counter.h"

namespace varve::test {
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
    VARVE_MACHINE_LACKS("io_uring is refused here");
  }
  const Folder folder;
  FileOptions options;
  options.writable = true;
  options.create = true;
  options.direct = GetParam().direct;
  Result<std::unique_ptr<Storage>> opened = open_file(*engine, folder.file("disk"), options);
  if (!opened) {
    VARVE_MACHINE_LACKS(describe(opened.error()));
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
}  // namespace varve::test
