// Where a test's image stands: a file on every kind of engine, in a container that refuses
// io_uring, past the page cache, or a block device. A body written once runs on all of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <varve/create.h>
#include <varve/engine.h>
#include <varve/image.h>

#include "io/io_fixture.h"
#include "io/loop_device.h"
#include "io/sandbox.h"
#include "model/missing.h"

namespace varve::test {

enum class GroundKind : std::uint8_t { uring, uring_direct, threads, refused_uring, loop_device };

inline std::string name_of(GroundKind kind) {
  switch (kind) {
    case GroundKind::uring:
      return "uring";
    case GroundKind::uring_direct:
      return "uring_direct";
    case GroundKind::threads:
      return "threads";
    case GroundKind::refused_uring:
      return "refused_uring";
    case GroundKind::loop_device:
      return "loop_device";
  }
  return "";
}

class Ground {
 public:
  explicit Ground(GroundKind kind) : kind_(kind) {
    const bool by_threads = kind == GroundKind::threads;
    engine_ = make_engine(by_threads ? AioBackend::threads : AioBackend::automatic);
    EXPECT_NE(engine_, nullptr);
    path_ = folder_.file("image.qcow2");
    if (kind == GroundKind::loop_device) {
      constexpr std::uint64_t kDeviceBytes = 64u << 20;
      has_place_ = device_.attach(folder_.file("disk"), kDeviceBytes, 512);
      path_ = device_.path();
    }
  }

  [[nodiscard]] bool has_place() const { return has_place_; }
  [[nodiscard]] Engine& engine() { return *engine_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string file(const std::string& name) const { return folder_.file(name); }

  void create(const CreateOptions& options) {
    VARVE_EXPECT_OK(create_image(engine(), path(), options));
  }
  [[nodiscard]] OpenOptions open_options(bool writable) const {
    OpenOptions options;
    options.writable = writable;
    options.file.direct = kind_ == GroundKind::uring_direct;
    return options;
  }
  [[nodiscard]] std::unique_ptr<Image> open(bool writable) {
    Result<std::unique_ptr<Image>> image = Image::open(engine(), path(), open_options(writable));
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    return image ? std::move(*image) : nullptr;
  }

 private:
  GroundKind kind_;
  Folder folder_;
  std::unique_ptr<Engine> engine_;
  LoopDevice device_;
  std::string path_;
  bool has_place_ = true;
};

// Runs `body` on a new ground; in a child process where the ground needs a filter of its own.
inline void run_on(GroundKind kind, const std::function<void(Ground&)>& body) {
  if (kind == GroundKind::refused_uring) {
    const int answer = run_in_sandbox({{SYS_io_uring_setup, EPERM}}, [&] {
      Ground ground(kind);
      EXPECT_EQ(ground.engine().backend(), AioBackend::threads);
      body(ground);
      std::fflush(nullptr);
      return ::testing::Test::HasFailure() ? 1 : 0;
    });
    EXPECT_EQ(answer, 0) << "in a child without io_uring";
    return;
  }
  Ground ground(kind);
  if (!ground.has_place()) {
    VARVE_MACHINE_LACKS("no loop device can be made here (it takes root and a free /dev/loop)");
  }
  body(ground);
}

inline const auto kEveryGround =
    ::testing::Values(GroundKind::uring, GroundKind::uring_direct, GroundKind::threads,
                      GroundKind::refused_uring, GroundKind::loop_device);
inline const auto kNameGround = [](const auto& parameter) { return name_of(parameter.param); };

// Skips the test, or fails it under VARVE_REQUIRE, where QEMU's programs are missing.
#define VARVE_NEED_QEMU()                                                                      \
  do {                                                                                         \
    if (!::varve::model::has_program("qemu-img") || !::varve::model::has_program("qemu-io")) { \
      VARVE_MISSING("qemu-img or qemu-io is missing");                                         \
    }                                                                                          \
  } while (false)

// What QEMU says of an image, beside what the test itself expects.
inline void expect_qemu_clean(const std::string& path) {
  if (model::has_program("qemu-img")) {
    EXPECT_EQ(model::qemu_check(path, true).value_or(""), "");
  }
}

inline void expect_error(const Result<void>& result, ErrorCode code) {
  ASSERT_FALSE(result.has_value()) << "no error";
  EXPECT_EQ(result.error().code, code) << describe(result.error());
}

inline ByteVector read_all(Image& image) {
  ByteVector bytes(image.size(), std::byte{0xee});
  VARVE_EXPECT_OK(image.read(0, bytes));
  return bytes;
}

}  // namespace varve::test
