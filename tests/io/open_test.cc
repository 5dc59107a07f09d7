// Opening: what is refused and by which kind of error, what adopting a descriptor asks for, and
// what a read-only storage keeps from happening.
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "io/directory.h"
#include "io/io_fixture.h"

namespace varve::test {
namespace {

class OpenFile : public ::testing::Test {
 protected:
  void make(const std::string& name, std::size_t size) const {
    FileOptions options;
    options.writable = true;
    options.create = true;
    auto storage = std::move(*open_file(*engine, folder.file(name), options));
    VARVE_EXPECT_OK(write(*storage, 0, pattern(size, 1)));
  }
  void expect_refusal(const std::string& path, const FileOptions& options, ErrorCode code,
                      int os_errno) const {
    const Result<std::unique_ptr<Storage>> storage = open_file(*engine, path, options);
    ASSERT_FALSE(storage.has_value());
    EXPECT_EQ(storage.error().code, code) << describe(storage.error());
    EXPECT_EQ(storage.error().os_errno, os_errno) << describe(storage.error());
  }
  std::unique_ptr<Engine> engine = make_engine(AioBackend::automatic);
  Folder folder;
};

TEST_F(OpenFile, NamesWhatIsWrong) {
  make("there", 100);
  expect_refusal(folder.file("missing"), {}, ErrorCode::not_found, ENOENT);
  expect_refusal(folder.file("there") + "/below", {}, ErrorCode::io, ENOTDIR);
  expect_refusal(folder.file(""), {}, ErrorCode::io, EISDIR);
  expect_refusal(folder.file(""), {.writable = true}, ErrorCode::io, EISDIR);
  expect_refusal(folder.file("there"), {.writable = true, .create = true}, ErrorCode::exists,
                 EEXIST);
  expect_refusal(folder.file("new"), {.writable = false, .create = true},
                 ErrorCode::invalid_argument, 0);
  expect_refusal("/dev/null", {}, ErrorCode::unsupported, 0);
}

TEST_F(OpenFile, AFifoIsRefusedWithoutHanging) {
  ASSERT_EQ(::mkfifo(folder.file("fifo").c_str(), 0600), 0);
  expect_refusal(folder.file("fifo"), {}, ErrorCode::unsupported, 0);
}

TEST_F(OpenFile, DirectWhereTheFileSystemHasNoneIsUnsupported) {
  // procfs refuses O_DIRECT.
  const Result<std::unique_ptr<Storage>> storage =
      open_file(*engine, "/proc/self/status", {.direct = true});
  ASSERT_FALSE(storage.has_value());
  EXPECT_EQ(storage.error().code, ErrorCode::unsupported);
}

TEST_F(OpenFile, TruncateEmptiesAnExistingFile) {
  make("there", 5000);
  FileOptions options = {.writable = true, .create = true, .truncate = true};
  const auto storage = std::move(*open_file(*engine, folder.file("there"), options));
  EXPECT_EQ(storage->size(), 0U);
  EXPECT_EQ(std::filesystem::file_size(folder.file("there")), 0U);
}

TEST_F(OpenFile, ReadOnlyStoragesChangeNothing) {
  make("there", 5000);
  const auto storage = std::move(*open_file(*engine, folder.file("there"), {}));
  EXPECT_TRUE(storage->capabilities().read_only);
  EXPECT_FALSE(storage->capabilities().can_discard);
  EXPECT_EQ(storage->size(), 5000U);
  EXPECT_STREQ(storage->name(), folder.file("there").c_str());
  EXPECT_EQ(read(*storage, 0, 5000), pattern(5000, 1));
  VARVE_EXPECT_OK(run(*storage, StorageOperation::flush, 0));
  const Result<void> written = write(*storage, 0, pattern(10, 2));
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, ErrorCode::read_only);
  for (const StorageOperation operation :
       {StorageOperation::write_zeroes, StorageOperation::discard, StorageOperation::allocate,
        StorageOperation::resize}) {
    const Result<void> result = run(*storage, operation, 0, 4096);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, ErrorCode::read_only);
  }
}

TEST_F(OpenFile, TheSameFileIsKnownByAnyName) {
  make("one", 10);
  make("two", 10);
  std::filesystem::create_hard_link(folder.file("one"), folder.file("link"));
  std::filesystem::create_symlink(folder.file("one"), folder.file("symlink"));
  const auto one = std::move(*open_file(*engine, folder.file("one"), {}));
  for (const char* name : {"link", "symlink"}) {
    const auto other = std::move(*open_file(*engine, folder.file(name), {.writable = true}));
    EXPECT_TRUE(one->is_same_file(*other)) << name;
  }
  const auto two = std::move(*open_file(*engine, folder.file("two"), {}));
  EXPECT_FALSE(one->is_same_file(*two));
}

TEST_F(OpenFile, FilesAreNotInherited) {
  make("one", 10);
  const auto storage = std::move(*open_file(*engine, folder.file("one"), {}));
  bool found = false;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (std::filesystem::read_symlink(entry.path(), error) == folder.file("one")) {
      found = true;
      const int flags = ::fcntl(std::stoi(entry.path().filename().string()), F_GETFD);
      EXPECT_NE(flags & FD_CLOEXEC, 0);
    }
  }
  EXPECT_TRUE(found);
}

TEST_F(OpenFile, AdoptsADescriptorOnSuccessOnly) {
  make("there", 5000);
  const int fd = ::open(folder.file("there").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const auto refused = adopt_file(*engine, fd, {.writable = true});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(::fcntl(fd, F_GETFD), -1) << "still the caller's";
  {
    const auto storage = std::move(*adopt_file(*engine, fd, {}));
    EXPECT_EQ(read(*storage, 0, 5000), pattern(5000, 1));
    EXPECT_EQ(storage->capabilities().memory_alignment, 1U);
  }
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1) << "closed with the storage";
  EXPECT_FALSE(adopt_file(*engine, -1, {}).has_value());
}

TEST_F(OpenFile, AdoptsADirectDescriptorAsDirect) {
  make("there", 8192);
  const int fd = ::open(folder.file("there").c_str(), O_RDWR | O_CLOEXEC | O_DIRECT);
  if (fd < 0) {
    VARVE_MACHINE_LACKS("no direct I/O here");
  }
  const auto storage = std::move(*adopt_file(*engine, fd, {.writable = true}));
  EXPECT_GE(storage->capabilities().request_alignment, 512U);
  VARVE_EXPECT_OK(write(*storage, 1, pattern(10, 3)));
  ByteVector expected = pattern(8192, 1);
  const ByteVector change = pattern(10, 3);
  std::copy(change.begin(), change.end(), expected.begin() + 1);
  EXPECT_EQ(read(*storage, 0, 8192), expected);
}

TEST_F(OpenFile, DirectoriesAreSyncedByAnyPath) {
  VARVE_EXPECT_OK(sync_directory_of(folder.file("new")));
  VARVE_EXPECT_OK(sync_directory_of("relative"));
  VARVE_EXPECT_OK(sync_directory_of("/at-the-root"));
  EXPECT_FALSE(sync_directory_of(folder.file("missing/new")).has_value());
}

}  // namespace
}  // namespace varve::test
