#include "tool_io/side_by_side.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "model/missing.h"
#include "sim/random.h"

namespace varve::test {

namespace {

namespace fs = std::filesystem;

std::string read_text(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string quoted(const std::string& text) {
  return "'" + std::regex_replace(text, std::regex("'"), "'\\''") + "'";
}

// Runs a shell line in `folder`; programs are looked up in `path` first.
Outcome run_line(const std::string& folder, const std::string& path, const std::string& line) {
  const std::string command = "cd " + quoted(folder) + " && PATH=" + quoted(path) + ":$PATH && { " +
                              line + "\n} >../output 2>../errors";
  const int status = std::system(command.c_str());
  Outcome outcome;
  outcome.output = read_text(folder + "/../output");
  outcome.errors = read_text(folder + "/../errors");
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

// One program's workplace: a folder of links named qemu-io and qemu-img, and one for the images.
struct Workplace {
  std::string programs;
  std::string images;
};

Workplace make_workplace(const std::string& root, const std::string& io, const std::string& img) {
  Workplace place{root + "/programs", root + "/images"};
  fs::create_directories(place.programs);
  fs::create_directories(place.images);
  fs::create_symlink(io, place.programs + "/qemu-io");
  fs::create_symlink(img, place.programs + "/qemu-img");
  return place;
}

std::string command_line(const Script& script) {
  std::string line = "exec qemu-io";
  for (const std::string& argument : script.arguments) {
    line += " " + quoted(argument);
  }
  return line + " <../input";
}

// Differences between the disks; empty when they are equal. Neither is worth a question where it is
// the file both began with.
std::string compare_disks(const std::string& qemu_img, const std::string& images,
                          const Workplace& qemu, const Workplace& ours) {
  std::string differences;
  for (const fs::directory_entry& entry : fs::directory_iterator(qemu.images)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("disk.", 0) != 0) {
      continue;
    }
    const std::string mine = ours.images + "/" + name;
    const std::string theirs = read_text(entry.path().string());
    const bool is_same = fs::exists(mine) && read_text(mine) == theirs;
    if (is_same && (name == "disk.raw" || read_text(images + "/" + name) == theirs)) {
      continue;
    }
    const std::string format = name == "disk.raw" ? "raw" : "qcow2";
    const model::CommandResult compared = model::run_command(
        {qemu_img, "compare", "-f", format, "-F", format, entry.path().string(), mine});
    if (compared.status != 0) {
      differences += name + ": " + compared.output;
    }
    if (format == "qcow2") {
      const model::CommandResult checked =
          model::run_command({qemu_img, "check", "-f", "qcow2", mine});
      if (checked.status != 0) {
        differences += name + ": " + checked.output;
      }
    }
  }
  return differences;
}

std::string describe(const std::string& what, const std::string& theirs, const std::string& ours) {
  return theirs == ours ? ""
                        : what + " differ\n--- qemu-io\n" + theirs + "--- varve\n" + ours + "---\n";
}

}  // namespace

std::string find_programs(Programs& programs) {
#ifdef VARVE_TOOL
  programs.varve = VARVE_TOOL;
#else
  return "the tool is not built";
#endif
  const char* folder = std::getenv("VARVE_QEMU10");
  programs.qemu_folder = folder == nullptr ? "" : folder;
  if (programs.qemu_folder.empty()) {
    const model::CommandResult found = model::run_command({"sh", "-c", "command -v qemu-io"});
    programs.qemu_folder = fs::path(found.output).parent_path().string();
  }
  const model::CommandResult version =
      model::run_command({programs.qemu_folder + "/qemu-io", "--version"});
  if (version.output.find("version 10.") == std::string::npos) {
    return "QEMU 10's qemu-io is missing";
  }
  return "";
}

std::string normalise(const std::string& text) {
  static const std::regex kReport(", 1 ops; .*ops/sec\\)");
  static const std::regex kFigures("(^|\n)([0-9]+),1,[0-9:.]*,[0-9.inf]*,[0-9.inf]*");
  return std::regex_replace(std::regex_replace(text, kReport, ", 1 ops; TIME"), kFigures,
                            "$1$2,1,TIME");
}

Preparation::Preparation(const Programs& programs, Maker maker)
    : programs_(programs), maker_(maker) {}

Preparation::~Preparation() = default;

std::string Preparation::images(const std::string& setup) {
  const auto found = folders_.find(setup);
  if (found != folders_.end()) {
    return found->second->file("images");
  }
  auto folder = std::make_unique<model::TemporaryFolder>();
  std::string images = folder->file("images");
  fs::create_directories(images);
  const bool by_qemu = maker_ == Maker::qemu;
  const std::string img = by_qemu ? programs_.qemu_folder + "/qemu-img" : programs_.varve;
  const std::string io = by_qemu ? programs_.qemu_folder + "/qemu-io" : programs_.varve + " io";
  const Outcome outcome = run_line(
      images, "/usr/bin", "set -e; IMG=" + quoted(img) + "; IO=" + quoted(io) + "; " + setup);
  EXPECT_EQ(outcome.status, 0) << setup << ": " << outcome.output << outcome.errors;
  if (const std::string disk = images + "/disk.qcow2"; fs::exists(disk)) {
    const model::CommandResult checked =
        model::run_command({programs_.qemu_folder + "/qemu-img", "check", "-f", "qcow2", disk});
    EXPECT_EQ(checked.status, 0) << setup << ": " << checked.output;
  }
  folders_.emplace(setup, std::move(folder));
  return images;
}

std::string compare(const Programs& programs, const Script& script, const std::string& images) {
  const model::TemporaryFolder folder;
  const std::string qemu_img = programs.qemu_folder + "/qemu-img";
  const Workplace qemu =
      make_workplace(folder.file("qemu"), programs.qemu_folder + "/qemu-io", qemu_img);
  const Workplace ours = make_workplace(folder.file("varve"), programs.varve, programs.varve);
  Outcome outcomes[2];
  for (const bool mine : {false, true}) {
    const Workplace& place = mine ? ours : qemu;
    fs::copy(images, place.images);
    std::ofstream(place.images + "/../input", std::ios::binary) << script.input;
    outcomes[mine ? 1 : 0] = run_line(place.images, place.programs, command_line(script));
  }
  return describe("outputs", normalise(outcomes[0].output), normalise(outcomes[1].output)) +
         describe("messages", outcomes[0].errors, outcomes[1].errors) +
         describe("exit codes", std::to_string(outcomes[0].status) + "\n",
                  std::to_string(outcomes[1].status) + "\n") +
         compare_disks(qemu_img, images, qemu, ours);
}

void expect_same(const std::vector<Script>& scripts) {
  Programs programs;
  if (const std::string missing = find_programs(programs); !missing.empty()) {
    if (programs.varve.empty()) {
      VARVE_MISSING(missing);
    }
    GTEST_SKIP() << missing << ": tests/run.sh says where it cannot be had";
  }
  Preparation by_qemu(programs, Maker::qemu);
  Preparation by_varve(programs, Maker::varve);
  for (const Script& script : sim::share_of(scripts, "VARVE_TOOL_SHARE")) {
    EXPECT_EQ(compare(programs, script, by_qemu.images(script.setup)), "")
        << script.name << ", image by qemu-img";
    if (script.setup.find("$IMG") != std::string::npos) {
      EXPECT_EQ(compare(programs, script, by_varve.images(script.setup)), "")
          << script.name << ", image by varve";
    }
  }
}

Script with_arguments(const std::string& name, const std::vector<std::string>& arguments) {
  return Script{name, "$IMG create -q -f qcow2 disk.qcow2 4M; $IMG create -q -f raw disk.raw 1M",
                arguments, ""};
}

Script on_qcow2(const std::string& name, const std::vector<std::string>& commands) {
  Script script{name, "$IMG create -q -f qcow2 disk.qcow2 4M", {}, ""};
  for (const std::string& command : commands) {
    script.arguments.insert(script.arguments.end(), {"-c", command});
  }
  script.arguments.emplace_back("disk.qcow2");
  return script;
}

Script on_raw(const std::string& name, const std::vector<std::string>& commands) {
  Script script = on_qcow2(name, commands);
  script.setup = "truncate -s 1M disk.raw";
  script.arguments.back() = "disk.raw";
  script.arguments.insert(script.arguments.begin(), {"-f", "raw"});
  return script;
}

}  // namespace varve::test
