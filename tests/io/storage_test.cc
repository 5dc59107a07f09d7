// Every storage keeps the same promises: one suite, run over memory, io_uring and threads, cached
// and direct, with 512-byte and with 4 KiB device blocks, and over a loop device where root has
// one.
#include <algorithm>
#include <array>
#include <cstdio>
#include <random>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include "io/file_storage.h"
#include "io/io_fixture.h"

namespace varve::testing {
namespace {

struct Kind {
  const char* name;
  AioBackend backend;
  bool memory = false;
  bool direct = false;
  std::uint32_t block = 1;
  bool loop = false;
  unsigned depth = 256;
};

// A loop device over a file; -1 where there are none or no right to make one.
class LoopDevice {
 public:
  LoopDevice() = default;
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice() {
    if (device_ >= 0) {
      ::ioctl(device_, LOOP_CLR_FD, 0);
      ::close(device_);
    }
  }
  bool attach(const std::string& file, std::uint64_t size, unsigned sector) {
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) {
      return false;
    }
    const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
    ::close(control);
    const int backing = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    path_ = "/dev/loop" + std::to_string(number);
    device_ = number < 0 ? -1 : ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    loop_config config = {};
    config.fd = static_cast<__u32>(backing);
    config.block_size = sector;
    const bool made = backing >= 0 && device_ >= 0 &&
                      ::ftruncate(backing, static_cast<off_t>(size)) == 0 &&
                      ::ioctl(device_, LOOP_CONFIGURE, &config) == 0;
    ::close(backing);
    if (!made && device_ >= 0) {
      ::close(device_);
      device_ = -1;
    }
    return made;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  int device_ = -1;
  std::string path_;
};

constexpr std::uint64_t kLoopBytes = 8 << 20;

class StorageSuite : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    const Kind& kind = GetParam();
    engine = make_engine(kind.backend, kind.depth);
    if (engine == nullptr) {
      GTEST_SKIP() << "io_uring is refused here";
    }
    if (kind.memory) {
      storage = std::move(*make_memory_storage(*engine, 0));
      return;
    }
    FileOptions options;
    options.writable = true;
    options.direct = kind.direct;
    std::string path = folder.file("disk");
    if (kind.loop) {
      if (!device.attach(folder.file("backing"), kLoopBytes, kind.block)) {
        GTEST_SKIP() << "no loop device";
      }
      path = device.path();
    } else {
      options.create = true;
    }
    Result<std::unique_ptr<Storage>> opened =
        open_file_with_blocks(*engine, path, options, kind.direct && !kind.loop ? kind.block : 1);
    if (!opened && opened.error().code == ErrorCode::unsupported) {
      GTEST_SKIP() << describe(opened.error());
    }
    ASSERT_TRUE(opened.has_value()) << describe(opened.error());
    storage = std::move(*opened);
  }
  [[nodiscard]] bool is_device() const { return GetParam().loop; }
  [[nodiscard]] std::uint64_t end_of(std::uint64_t size) const {
    return is_device() ? kLoopBytes : size;
  }

  Folder folder;
  LoopDevice device;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Storage> storage;
};

TEST_P(StorageSuite, ReadsBackWhatWasWritten) {
  const ByteVector bytes = pattern(100'000, 1);
  VARVE_ASSERT_OK(write(*storage, 0, bytes));
  EXPECT_EQ(read(*storage, 0, bytes.size()), bytes);
  EXPECT_EQ(storage->size(), end_of(bytes.size()));
}

TEST_P(StorageSuite, ReadsZerosPastTheEnd) {
  const ByteVector bytes = pattern(1000, 2);
  VARVE_ASSERT_OK(write(*storage, 0, bytes));
  ByteVector expected = bytes;
  expected.resize(10'000);
  EXPECT_EQ(read(*storage, 0, 10'000), expected);
  EXPECT_EQ(read(*storage, end_of(1000) + 5000, 3000), ByteVector(3000));
  EXPECT_EQ(storage->size(), end_of(1000));
}

INSTANTIATE_TEST_SUITE_P(
    All, StorageSuite,
    ::testing::Values(
        Kind{.name = "memory", .backend = AioBackend::automatic, .memory = true},
        Kind{.name = "uring", .backend = AioBackend::io_uring},
        Kind{.name = "uring_narrow", .backend = AioBackend::io_uring, .depth = 2},
        Kind{.name = "uring_direct", .backend = AioBackend::io_uring, .direct = true},
        Kind{.name = "uring_direct_4k",
             .backend = AioBackend::io_uring,
             .direct = true,
             .block = 4096},
        Kind{.name = "threads", .backend = AioBackend::threads},
        Kind{.name = "threads_direct", .backend = AioBackend::threads, .direct = true},
        Kind{.name = "threads_direct_4k",
             .backend = AioBackend::threads,
             .direct = true,
             .block = 4096},
        Kind{.name = "uring_loop", .backend = AioBackend::io_uring, .block = 512, .loop = true},
        Kind{.name = "uring_direct_loop_4k",
             .backend = AioBackend::io_uring,
             .direct = true,
             .block = 4096,
             .loop = true},
        Kind{.name = "threads_direct_loop",
             .backend = AioBackend::threads,
             .direct = true,
             .block = 512,
             .loop = true}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace varve::testing
