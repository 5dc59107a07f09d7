// The same command lines given to QEMU's qemu-img and to the tool called by that name; output,
// errors and exit codes must be the same, byte for byte.
//
// QEMU 10 is named by VARVE_QEMU10 or is the one installed. Where it is missing or older, tests
// skip what needs it: its words have changed from version to version.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model/missing.h"

namespace varve::tool {

struct Outcome {
  std::string output;
  std::string errors;
  int status = -1;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// What of every file in a folder tells of a change.
struct FileState {
  std::uint64_t inode = 0;
  std::uint64_t mode = 0;
  std::uint64_t size = 0;
  std::int64_t written[2] = {};  // Seconds and nanoseconds.
  std::int64_t changed[2] = {};
  friend bool operator==(const FileState&, const FileState&) = default;
};
using FolderState = std::map<std::string, FileState>;

// A folder with images in it, and the two programs to run there.
class SideBySide : public ::testing::Test {
 protected:
  void SetUp() override;

  // Makes images with QEMU, in the folder that every command starts from.
  void prepare(const std::string& script);

  // Runs a shell script in a copy of the folder. In it qemu-img is the program under test and $QEMU
  // always QEMU's.
  [[nodiscard]] Outcome run_ours(const std::string& script);
  [[nodiscard]] Outcome run_theirs(const std::string& script);

  // Each script gives the same with both.
  void expect_same(const std::vector<std::string>& scripts);

  // The script succeeds with the tool, and says exactly this.
  void expect_output(const std::string& script, const std::string& output);

  [[nodiscard]] const std::string& folder() const { return images_; }
  // The program under its own name.
  [[nodiscard]] static std::string tool_path();

 private:
  [[nodiscard]] Outcome run(const std::string& script, const std::string& programs);
  // A copy of the images in `work`, made anew when a script has changed it.
  [[nodiscard]] bool copy_images(const std::string& work);

  model::TemporaryFolder temporary_;
  FolderState copied_;
  std::chrono::steady_clock::time_point copied_at_;
  std::string images_;
  std::string ours_;    // Folder with the tool as qemu-img.
  std::string theirs_;  // Folder with QEMU's.
};

}  // namespace varve::tool
