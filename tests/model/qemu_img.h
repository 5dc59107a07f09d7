// QEMU's own tools as a second judge, where they are installed. Tests skip what needs them
// otherwise, except under VARVE_REQUIRE, where missing is a failure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/sparse_bytes.h"

namespace varve::model {

struct CommandResult {
  int status = -1;  // Exit status; -1 when it did not run or was killed.
  std::string output;
};
// Runs a program with its output and errors collected.
[[nodiscard]] CommandResult run_command(const std::vector<std::string>& arguments);

// Whether `program` ("qemu-img", "qemu-io") can be run.
[[nodiscard]] bool has_program(const std::string& program);
// Whether a missing program must fail the test.
[[nodiscard]] bool programs_are_required();

// A folder of its own, removed with everything in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

// The content of a file; nothing when it cannot be read.
[[nodiscard]] std::optional<sim::SparseBytes> load_file(const std::string& path);

// What `qemu-img check` says: nothing when it is content (leaks are fine unless `leaks_too`), else
// its words. A relative name of a data file QEMU looks for where it runs: `data_file` is its path.
[[nodiscard]] std::optional<std::string> qemu_check(const std::string& path, bool leaks_too = false,
                                                    const std::string& data_file = {});

}  // namespace varve::model
