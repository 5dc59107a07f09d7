// Image locks between storages of ours, and between us and QEMU's own qemu-io: each refuses the
// other's writers, and readers that share everything are let through.
#include "io/image_lock.h"

#include <cstdlib>

#include <fcntl.h>
#include <gtest/gtest.h>

#include "io/io_fixture.h"
#include "io/qemu_io.h"
#include "model/qemu_img.h"

namespace varve::test {
namespace {

class ImageLock : public ::testing::Test {
 protected:
  ImageLock() { VARVE_EXPECT_OK(open(true, true)); }
  Result<std::unique_ptr<Storage>> open(bool writable, bool create = false) {
    FileOptions options;
    options.writable = writable;
    options.create = create;
    return open_file(*engine, path, options);
  }
  Folder folder;
  std::string path = folder.file("image");
  std::unique_ptr<Engine> engine = make_engine(AioBackend::automatic);
};

void expect_busy(const Result<void>& result, const std::string& message) {
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::busy);
  EXPECT_EQ(std::string(result.error().what), message);
}

TEST_F(ImageLock, AWriterRefusesWritersAndReaders) {
  const auto writer = std::move(*open(true));
  const auto other = std::move(*open(true));
  const auto reader = std::move(*open(false));
  VARVE_ASSERT_OK(writer->lock(true, false));
  expect_busy(other->lock(true, false), "Failed to get \"write\" lock");
  expect_busy(reader->lock(false, false), "Failed to get shared \"write\" lock");
  VARVE_EXPECT_OK(reader->lock(false, true));
  reader->unlock();
  writer->unlock();
  VARVE_EXPECT_OK(other->lock(true, false));
}

TEST_F(ImageLock, ReadersShareAndRefuseWriters) {
  const auto writer = std::move(*open(true));
  const auto reader = std::move(*open(false));
  const auto other = std::move(*open(false));
  VARVE_ASSERT_OK(reader->lock(false, false));
  VARVE_ASSERT_OK(other->lock(false, false));
  expect_busy(writer->lock(true, false), "Failed to get \"write\" lock");
  reader->unlock();
  expect_busy(writer->lock(true, false), "Failed to get \"write\" lock");
  other->unlock();
  VARVE_EXPECT_OK(writer->lock(true, false));
}

TEST_F(ImageLock, AFailedChangeKeepsWhatWasHeld) {
  const auto one = std::move(*open(true));
  const auto two = std::move(*open(true));
  VARVE_ASSERT_OK(one->lock(false, false));
  VARVE_ASSERT_OK(two->lock(false, false));
  expect_busy(one->lock(true, false), "Failed to get \"write\" lock");
  // Still a reader, and no more than that.
  const auto third = std::move(*open(true));
  VARVE_EXPECT_OK(third->lock(false, false));
  third->unlock();
  two->unlock();
  expect_busy(two->lock(true, false), "Failed to get \"write\" lock");
  VARVE_EXPECT_OK(one->lock(true, false));
}

TEST_F(ImageLock, DestroyingAStorageReleasesItsLocks) {
  const auto other = std::move(*open(true));
  for (int i = 0; i < 20; ++i) {
    auto writer = std::move(*open(true));
    VARVE_ASSERT_OK(write(*writer, 0, pattern(1000, 1)));
    VARVE_ASSERT_OK(writer->lock(true, false));
    writer.reset();
    VARVE_ASSERT_OK(other->lock(true, false));
    other->unlock();
  }
}

TEST_F(ImageLock, CreatingOverALockedImageIsRefusedAndKeepsIt) {
  const auto writer = std::move(*open(true));
  VARVE_ASSERT_OK(write(*writer, 0, pattern(1000, 2)));
  VARVE_ASSERT_OK(writer->lock(true, false));
  FileOptions options;
  options.writable = true;
  options.create = true;
  options.truncate = true;
  const auto created = open_file(*engine, path, options);
  ASSERT_FALSE(created.has_value());
  EXPECT_EQ(created.error().code, ErrorCode::busy);
  EXPECT_EQ(read(*writer, 0, 1000), pattern(1000, 2));
}

TEST_F(ImageLock, MemoryHasNone) {
  const auto memory = std::move(*make_memory_storage(*engine, 0));
  VARVE_EXPECT_OK(memory->lock(true, false));
  memory->unlock();
}

// --- With QEMU ---

class ImageLockWithQemu : public ImageLock, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    const std::string folder_of_qemu = *GetParam() == '\0' ? "" : peer_folder();
    if (*GetParam() != '\0' && folder_of_qemu.empty()) {
      GTEST_SKIP() << "no second QEMU";
    }
    const std::string prefix = folder_of_qemu.empty() ? "" : folder_of_qemu + "/";
    program = prefix + "qemu-io";
    if (!model::has_program("qemu-img") || !model::has_program(program)) {
      VARVE_MISSING("qemu-io is missing");
    }
    ASSERT_EQ(model::run_command({"qemu-img", "create", "-f", "qcow2", path, "1M"}).status, 0);
  }
  static std::string peer_folder() {
    const char* folder = std::getenv("VARVE_QEMU10");
    return folder == nullptr ? "" : folder;
  }
  std::string program;
};

TEST_P(ImageLockWithQemu, ItsWriterRefusesUs) {
  const QemuIo qemu(program, {"-f", "qcow2", path});
  ASSERT_TRUE(qemu.is_open()) << qemu.said;
  const auto writer = std::move(*open(true));
  const auto reader = std::move(*open(false));
  expect_busy(writer->lock(true, false), "Failed to get \"write\" lock");
  expect_busy(reader->lock(false, false), "Failed to get shared \"write\" lock");
  VARVE_EXPECT_OK(reader->lock(false, true));
}

TEST_P(ImageLockWithQemu, ItsReaderRefusesOurWriterOnly) {
  const QemuIo qemu(program, {"-r", "-f", "qcow2", path});
  ASSERT_TRUE(qemu.is_open()) << qemu.said;
  const auto writer = std::move(*open(true));
  const auto reader = std::move(*open(false));
  expect_busy(writer->lock(true, false), "Failed to get \"write\" lock");
  VARVE_EXPECT_OK(reader->lock(false, false));
}

TEST_P(ImageLockWithQemu, OurWriterRefusesIt) {
  const auto writer = std::move(*open(true));
  VARVE_ASSERT_OK(writer->lock(true, false));
  {
    const QemuIo qemu(program, {"-f", "qcow2", path});
    EXPECT_FALSE(qemu.is_open());
    EXPECT_NE(qemu.said.find("Failed to get \"write\" lock"), std::string::npos) << qemu.said;
  }
  {
    const QemuIo qemu(program, {"-r", "-f", "qcow2", path});
    EXPECT_FALSE(qemu.is_open());
    EXPECT_NE(qemu.said.find("Failed to get shared \"write\" lock"), std::string::npos)
        << qemu.said;
  }
  {
    const QemuIo qemu(program, {"-r", "-U", "-f", "qcow2", path});
    EXPECT_TRUE(qemu.is_open()) << qemu.said;
  }
  writer->unlock();
  const QemuIo qemu(program, {"-f", "qcow2", path});
  EXPECT_TRUE(qemu.is_open()) << qemu.said;
}

TEST_P(ImageLockWithQemu, OurReaderRefusesItsWriterOnly) {
  const auto reader = std::move(*open(false));
  VARVE_ASSERT_OK(reader->lock(false, false));
  {
    const QemuIo qemu(program, {"-f", "qcow2", path});
    EXPECT_FALSE(qemu.is_open());
    EXPECT_NE(qemu.said.find("Failed to get \"write\" lock"), std::string::npos) << qemu.said;
  }
  const QemuIo qemu(program, {"-r", "-f", "qcow2", path});
  EXPECT_TRUE(qemu.is_open()) << qemu.said;
}

TEST_P(ImageLockWithQemu, OurSharingReaderRefusesNobody) {
  const auto reader = std::move(*open(false));
  VARVE_ASSERT_OK(reader->lock(false, true));
  const QemuIo qemu(program, {"-f", "qcow2", path});
  EXPECT_TRUE(qemu.is_open()) << qemu.said;
}

INSTANTIATE_TEST_SUITE_P(Versions, ImageLockWithQemu, ::testing::Values("", "10"),
                         [](const auto& parameter) {
                           return *parameter.param == '\0' ? "installed" : "qemu10";
                         });

}  // namespace
}  // namespace varve::test
