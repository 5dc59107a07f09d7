#include "side_by_side.h"

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include <sys/stat.h>
#include <sys/wait.h>

#include "sim/random.h"

namespace varve::tool {

namespace {

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

int run_shell(const std::string& line) {
  const int status = std::system(line.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string shell_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return result + "'";
}

FolderState state_of(const std::string& folder) {
  FolderState found;
  std::error_code failed;
  std::filesystem::recursive_directory_iterator entries(folder, failed);
  for (; !failed && entries != std::filesystem::recursive_directory_iterator();
       entries.increment(failed)) {
    struct stat facts {};
    const std::string name = entries->path().string();
    if (lstat(name.c_str(), &facts) == 0) {
      found[name] = {facts.st_ino,
                     facts.st_mode,
                     static_cast<std::uint64_t>(facts.st_size),
                     {facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec},
                     {facts.st_ctim.tv_sec, facts.st_ctim.tv_nsec}};
    }
  }
  return found;
}

// The folder of a qemu-img of version 10 or later; empty when there is none.
std::string find_qemu() {
  const char* named = std::getenv("VARVE_QEMU10");
  std::string program = named == nullptr ? "" : std::string(named) + "/qemu-img";
  if (program.empty()) {
    std::istringstream path(std::getenv("PATH") == nullptr ? "" : std::getenv("PATH"));
    for (std::string folder; program.empty() && std::getline(path, folder, ':');) {
      if (std::filesystem::exists(folder + "/qemu-img")) {
        program = folder + "/qemu-img";
      }
    }
  }
  const std::string version = model::run_command({program, "--version"}).output;
  const std::size_t number = version.find("version ");
  int major = 0;
  if (number != std::string::npos) {
    std::from_chars(version.data() + number + 8, version.data() + version.size(), major);
  }
  if (major < 10) {
    return {};
  }
  return std::filesystem::path(program).parent_path().string();
}

}  // namespace

std::string SideBySide::tool_path() {
#ifdef VARVE_TOOL
  return VARVE_TOOL;
#else
  return {};
#endif
}

void SideBySide::SetUp() {
  if (tool_path().empty() || !std::filesystem::exists(tool_path())) {
    VARVE_MISSING("the tool is not built");
  }
  theirs_ = find_qemu();
  if (theirs_.empty()) {
    GTEST_SKIP() << "there is no qemu-img of QEMU 10: tests/run.sh says where it cannot be had";
  }
  ours_ = temporary_.file("ours");
  std::filesystem::create_directories(ours_);
  std::filesystem::create_symlink(tool_path(), ours_ + "/qemu-img");
}

bool SideBySide::copy_images(const std::string& work) {
  // The file system writes out what is older, and then counts its blocks anew.
  constexpr std::chrono::seconds kOldest{20};
  const auto now = std::chrono::steady_clock::now();
  if (!copied_.empty() && now - copied_at_ < kOldest && state_of(work) == copied_) {
    return true;
  }
  const bool is_copied = run_shell("rm -rf " + shell_quoted(work) + " && cp -a --sparse=always " +
                                   shell_quoted(images_) + " " + shell_quoted(work)) == 0;
  copied_ = is_copied ? state_of(work) : FolderState();
  copied_at_ = now;
  return is_copied;
}

Outcome SideBySide::run(const std::string& script, const std::string& programs) {
  // The same path for both, so that names in messages agree.
  const std::string work = temporary_.file("work");
  const std::string output = temporary_.file("output");
  const std::string errors = temporary_.file("errors");
  Outcome outcome;
  if (!copy_images(work)) {
    ADD_FAILURE() << "the images cannot be copied";
    return outcome;
  }
  outcome.status = run_shell(
      "cd " + shell_quoted(work) + " && QEMU=" + shell_quoted(theirs_ + "/qemu-img") +
      " PATH=" + shell_quoted(programs) + ":\"$PATH\" exec bash -c " + shell_quoted(script) + " >" +
      shell_quoted(output) + " 2>" + shell_quoted(errors) + " </dev/null");
  outcome.output = read_text(output);
  outcome.errors = read_text(errors);
  return outcome;
}

void SideBySide::prepare(const std::string& script) {
  // QEMU flushes every image it makes, so each script runs once for all tests of the program.
  static std::map<std::string, std::unique_ptr<model::TemporaryFolder>> prepared;
  std::unique_ptr<model::TemporaryFolder>& folder = prepared[script];
  if (folder == nullptr) {
    folder = std::make_unique<model::TemporaryFolder>();
    ASSERT_EQ(run_shell("cd " + shell_quoted(folder->path()) + " && PATH=" + shell_quoted(theirs_) +
                        ":\"$PATH\" bash -ec " + shell_quoted(script) + " >/dev/null"),
              0)
        << script;
  }
  images_ = folder->path();
  copied_.clear();
}

Outcome SideBySide::run_ours(const std::string& script) {
  return run(script, ours_);
}
Outcome SideBySide::run_theirs(const std::string& script) {
  return run(script, theirs_);
}

void SideBySide::expect_same(const std::vector<std::string>& scripts) {
  for (const std::string& script : sim::share_of(scripts, "VARVE_TOOL_SHARE")) {
    const Outcome theirs = run_theirs(script);
    const Outcome ours = run_ours(script);
    EXPECT_EQ(ours.output, theirs.output) << script;
    EXPECT_EQ(ours.errors, theirs.errors) << script;
    EXPECT_EQ(ours.status, theirs.status) << script;
  }
}

void SideBySide::expect_output(const std::string& script, const std::string& output) {
  const Outcome ours = run_ours(script);
  EXPECT_EQ(ours.output, output) << script << "\n" << ours.errors;
  EXPECT_EQ(ours.status, 0) << script << "\n" << ours.errors;
}

}  // namespace varve::tool
