// What happens when the system refuses: io_uring, fdatasync, fallocate. Each case runs in a child
// under a system call filter, and answers 0 or the line that failed.
#include "io/sandbox.h"

#include <gtest/gtest.h>

#include "io/io_fixture.h"

namespace varve::test {
namespace {

#define EXPECT_IN_CHILD(condition) \
  do {                             \
    if (!(condition)) {            \
      return __LINE__ % 250 + 1;   \
    }                              \
  } while (false)

std::unique_ptr<Storage> open_new(Engine& engine, const std::string& path, bool direct = false) {
  FileOptions options;
  options.writable = true;
  options.create = true;
  options.direct = direct;
  Result<std::unique_ptr<Storage>> storage = open_file(engine, path, options);
  return storage ? std::move(*storage) : nullptr;
}

class RefusedRing : public ::testing::TestWithParam<int> {};

TEST_P(RefusedRing, AutomaticFallsBackToThreads) {
  const Folder folder;
  const int answer = run_in_sandbox({{SYS_io_uring_setup, GetParam()}}, [&] {
    const std::unique_ptr<Engine> engine = make_engine(AioBackend::automatic);
    EXPECT_IN_CHILD(engine != nullptr);
    EXPECT_IN_CHILD(engine->backend() == AioBackend::threads);
    const std::unique_ptr<Storage> storage = open_new(*engine, folder.file("disk"));
    EXPECT_IN_CHILD(storage != nullptr);
    EXPECT_IN_CHILD(write(*storage, 100, pattern(5000, 1)).has_value());
    EXPECT_IN_CHILD(read(*storage, 100, 5000) == pattern(5000, 1));
    EXPECT_IN_CHILD(run(*storage, StorageOperation::flush, 0).has_value());
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

TEST_P(RefusedRing, AskedForByNameIsAnError) {
  const int answer = run_in_sandbox({{SYS_io_uring_setup, GetParam()}}, [&] {
    EngineOptions options;
    options.backend = AioBackend::io_uring;
    const Result<std::unique_ptr<Engine>> engine = Engine::create(options);
    EXPECT_IN_CHILD(!engine.has_value());
    EXPECT_IN_CHILD(engine.error().code == ErrorCode::unsupported);
    EXPECT_IN_CHILD(engine.error().os_errno == GetParam());
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

TEST_P(RefusedRing, WithoutThreadsOpeningAFileFails) {
  const Folder folder;
  const int answer = run_in_sandbox({{SYS_io_uring_setup, GetParam()}}, [&] {
    const std::unique_ptr<Engine> engine = make_engine(AioBackend::automatic, 256, 0);
    EXPECT_IN_CHILD(engine != nullptr);
    FileOptions options;
    options.writable = true;
    options.create = true;
    const Result<std::unique_ptr<Storage>> storage =
        open_file(*engine, folder.file("disk"), options);
    EXPECT_IN_CHILD(!storage.has_value());
    EXPECT_IN_CHILD(storage.error().code == ErrorCode::unsupported);
    EXPECT_IN_CHILD(make_memory_storage(*engine, 0).has_value());
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

INSTANTIATE_TEST_SUITE_P(Errnos, RefusedRing, ::testing::Values(EPERM, ENOSYS, EACCES));

TEST(RefusedEnter, AutomaticFallsBackToThreads) {
  // A filter may let a ring be made and refuse its use.
  const int answer = run_in_sandbox({{SYS_io_uring_enter, EPERM}}, [] {
    const std::unique_ptr<Engine> engine = make_engine(AioBackend::automatic);
    EXPECT_IN_CHILD(engine != nullptr && engine->backend() == AioBackend::threads);
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

TEST(RefusedRegistration, FilesStillWork) {
  // No event descriptor, no ring: threads serve then.
  const Folder folder;
  const int answer = run_in_sandbox({{SYS_io_uring_register, EPERM}}, [&] {
    const std::unique_ptr<Engine> engine = make_engine(AioBackend::automatic);
    EXPECT_IN_CHILD(engine != nullptr);
    const std::unique_ptr<Storage> storage = open_new(*engine, folder.file("disk"));
    EXPECT_IN_CHILD(storage != nullptr);
    EXPECT_IN_CHILD(write(*storage, 0, pattern(5000, 1)).has_value());
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

TEST(FailedFlush, StaysFailed) {
  const Folder folder;
  const int answer = run_in_sandbox({{SYS_fdatasync, EIO}}, [&] {
    const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads);
    const std::unique_ptr<Storage> storage = open_new(*engine, folder.file("disk"));
    EXPECT_IN_CHILD(storage != nullptr);
    EXPECT_IN_CHILD(write(*storage, 0, pattern(5000, 1)).has_value());
    const Result<void> first = run(*storage, StorageOperation::flush, 0);
    EXPECT_IN_CHILD(!first.has_value() && first.error().code == ErrorCode::io);
    EXPECT_IN_CHILD(first.error().os_errno == EIO);
    for (int i = 0; i < 3; ++i) {
      const Result<void> later = run(*storage, StorageOperation::flush, 0);
      EXPECT_IN_CHILD(!later.has_value() && later.error().code == ErrorCode::poisoned);
    }
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

TEST(UnsafeCache, FlushAsksNobody) {
  const Folder folder;
  const int answer = run_in_sandbox({{SYS_fdatasync, EIO}, {SYS_fsync, EIO}}, [&] {
    const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads);
    FileOptions options;
    options.writable = true;
    options.create = true;
    options.fsync = false;
    const Result<std::unique_ptr<Storage>> storage =
        open_file(*engine, folder.file("disk"), options);
    EXPECT_IN_CHILD(storage.has_value());
    EXPECT_IN_CHILD(run(**storage, StorageOperation::flush, 0).has_value());
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

class NoFallocate : public ::testing::TestWithParam<bool> {};

// History: cloud-hypervisor e737d61a0.
TEST_P(NoFallocate, ZerosAreWrittenAndTheRestIsUnsupported) {
  const Folder folder;
  const int answer = run_in_sandbox({{SYS_fallocate, EOPNOTSUPP}}, [&] {
    const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads);
    const std::unique_ptr<Storage> storage = open_new(*engine, folder.file("disk"), GetParam());
    EXPECT_IN_CHILD(storage != nullptr);
    ByteVector expected = pattern(50'000, 2);
    EXPECT_IN_CHILD(write(*storage, 0, expected).has_value());
    EXPECT_IN_CHILD(run(*storage, StorageOperation::write_zeroes, 4096, 4096).has_value());
    EXPECT_IN_CHILD(run(*storage, StorageOperation::write_zeroes, 20'001, 9'000).has_value());
    EXPECT_IN_CHILD(run(*storage, StorageOperation::write_zeroes, 49'000, 70'000).has_value());
    std::fill_n(expected.begin() + 4096, 4096, std::byte{0});
    std::fill_n(expected.begin() + 20'001, 9'000, std::byte{0});
    expected.resize(49'000);
    expected.resize(119'000);
    EXPECT_IN_CHILD(read(*storage, 0, expected.size()) == expected);
    EXPECT_IN_CHILD(storage->size() == expected.size());
    const Result<void> discarded = run(*storage, StorageOperation::discard, 0, 4096);
    EXPECT_IN_CHILD(!discarded && discarded.error().code == ErrorCode::unsupported);
    const Result<void> allocated = run(*storage, StorageOperation::allocate, 0, 4096);
    EXPECT_IN_CHILD(!allocated && allocated.error().code == ErrorCode::unsupported);
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

INSTANTIATE_TEST_SUITE_P(CachedAndDirect, NoFallocate, ::testing::Bool());

TEST(FailedWrite, CarriesTagOffsetAndErrno) {
  const Folder folder;
  const int answer = run_in_sandbox({{SYS_pwrite64, ENOSPC}, {SYS_pread64, EIO}}, [&] {
    const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads);
    const std::unique_ptr<Storage> storage = open_new(*engine, folder.file("disk"));
    EXPECT_IN_CHILD(storage != nullptr);
    ByteVector bytes(4096);
    IoVector vector = {bytes.data(), bytes.size()};
    Io io;
    io.operation = StorageOperation::write;
    io.tag = IoTag::l2;
    io.offset = 65'536;
    io.vectors = &vector;
    io.vector_count = 1;
    Result<void> result = run(*storage, io);
    EXPECT_IN_CHILD(!result && result.error().code == ErrorCode::no_space);
    EXPECT_IN_CHILD(result.error().os_errno == ENOSPC && result.error().tag == IoTag::l2);
    EXPECT_IN_CHILD(result.error().offset == 65'536);
    io.operation = StorageOperation::read;
    result = run(*storage, io);
    EXPECT_IN_CHILD(!result && result.error().code == ErrorCode::io);
    return 0;
  });
  EXPECT_EQ(answer, 0);
}

}  // namespace
}  // namespace varve::test
