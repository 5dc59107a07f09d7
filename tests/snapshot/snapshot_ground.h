// A qcow2 image on a simulated disk that is opened, closed and opened again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <varve/check.h>
#include <varve/create.h>
#include <varve/snapshot.h>

#include "image/qcow2_image.h"
#include "io/io_fixture.h"
#include "model/lab.h"
#include "model/missing.h"
#include "sim/random.h"
#include "sim/sim_disk.h"

namespace varve::test {

#define VARVE_MUST(expression)                                                                  \
  do {                                                                                          \
    const auto& varve_must = (expression);                                                      \
    ASSERT_TRUE(varve_must.has_value()) << #expression << ": " << describe(varve_must.error()); \
  } while (false)

class SnapshotGround : public ::testing::Test {
 protected:
  static CreateOptions options_of(std::uint64_t size, std::uint32_t cluster_bytes = 65536) {
    CreateOptions options;
    options.size_bytes = size;
    options.cluster_bytes = cluster_bytes;
    return options;
  }
  void make(const CreateOptions& options) {
    image_.reset();
    disk_.content = sim::SparseBytes();
    sim::SimStorage storage(*engine_, disk_);
    VARVE_MUST(create_image_in(storage, nullptr, options));
    open();
  }
  void open(bool writable = true) {
    image_.reset();
    OpenOptions options;
    options.writable = writable;
    options.open_backing = false;
    auto opened = Image::open(std::make_unique<sim::SimStorage>(*engine_, disk_), "/lab", options);
    VARVE_MUST(opened);
    image_ = std::move(*opened);
  }
  void reopen() {
    VARVE_MUST(image_->close());
    open();
  }
  // Closed and judged by the reference. `leaks_too`: leaks are errors.
  void close_and_judge(bool leaks_too) {
    VARVE_MUST(image_->close());
    image_.reset();
    std::string why;
    const auto reference = model::ReferenceQcow2::open(disk_.content, why);
    ASSERT_TRUE(reference.has_value()) << why;
    EXPECT_EQ(model::check_bytes(*reference, false, leaks_too).value_or(""), "");
  }
  // The same, by QEMU as well, and opened again.
  void check(bool ask_qemu = true) {
    ASSERT_NO_FATAL_FAILURE(close_and_judge(true));
    if (ask_qemu && model::has_program("qemu-img")) {
      const std::string path = folder_.file("check.qcow2");
      ASSERT_TRUE(disk_.content.save(path));
      ASSERT_TRUE(sim::SparseBytes().save(folder_.file("below.raw")));
      EXPECT_EQ(model::qemu_check(path, true).value_or(""), "");
    }
    open();
  }
  // Runs a shell command on the image, closed, as file image.qcow2; opens it again.
  void by_qemu(const std::string& command) {
    VARVE_MUST(image_->close());
    image_.reset();
    const std::string path = folder_.file("image.qcow2");
    ASSERT_TRUE(disk_.content.save(path));
    const auto done = model::run_command({"sh", "-c", "cd " + folder_.path() + " && " + command});
    ASSERT_EQ(done.status, 0) << command << ": " << done.output;
    auto content = model::load_file(path);
    ASSERT_TRUE(content.has_value());
    disk_.content = std::move(*content);
    open();
  }
  SnapshotCreated take(const std::string& name, const SnapshotCreateOptions& with = {}) {
    SnapshotCreateOptions options = with;
    options.name = name;
    const auto created = create_snapshot(*image_, options);
    EXPECT_TRUE(created.has_value()) << describe(created.error());
    return created ? *created : SnapshotCreated();
  }
  std::vector<SnapshotInfo> list() { return list_snapshots(*image_).value(); }
  std::size_t find(const std::string& name) {
    const auto found = find_snapshot(*image_, {.text = name});
    EXPECT_TRUE(found.has_value()) << name;
    return found ? *found : 0;
  }
  Metadata& metadata() { return dynamic_cast<Qcow2Image&>(image_->core()).metadata(); }

  model::TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_ = model::make_test_engine();
  sim::SimDisk disk_;
  std::unique_ptr<Image> image_;
};

// Skips the test, or fails it under VARVE_REQUIRE, where qemu-img is missing.
#define VARVE_NEED_QEMU_TOOLS()                     \
  do {                                              \
    if (!::varve::model::has_program("qemu-img")) { \
      VARVE_MISSING("qemu-img is missing");         \
    }                                               \
  } while (false)

}  // namespace varve::test
