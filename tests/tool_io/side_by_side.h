// Runs QEMU's qemu-io and `varve io` with the same arguments on equal images, and compares what
// they say, their exit codes and the disks they leave behind.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/qemu_img.h"

namespace varve::test {

// Where the programs are. QEMU 10 is named by VARVE_QEMU10 or is the one installed.
struct Programs {
  std::string qemu_folder;  // Holds qemu-io and qemu-img.
  std::string varve;
};

// Why scripts cannot be compared here; empty when they can.
[[nodiscard]] std::string find_programs(Programs& programs);

struct Outcome {
  std::string output;
  std::string errors;
  int status = -1;  // As the shell has it: 128 + signal for a killed program.
};

struct Script {
  std::string name;
  std::string setup;  // Shell commands in an empty folder; $IMG creates images, $IO fills them.
  std::vector<std::string> arguments;
  std::string input;  // Standard input.
};

enum class Maker { qemu, varve };

// Times and throughput replaced by words.
[[nodiscard]] std::string normalise(const std::string& text);

// Folders of images, made once for every setup.
class Preparation {
 public:
  Preparation(const Programs& programs, Maker maker);
  ~Preparation();
  Preparation(const Preparation&) = delete;
  Preparation& operator=(const Preparation&) = delete;
  // The folder that `setup` fills.
  [[nodiscard]] std::string images(const std::string& setup);

 private:
  const Programs& programs_;
  Maker maker_;
  std::map<std::string, std::unique_ptr<model::TemporaryFolder>> folders_;
};

// What differs between the two programs, each run beside a copy of the folder `images`; empty when
// nothing does. The disks named `disk.*` must be equal afterwards and QEMU must find nothing wrong
// with ours.
[[nodiscard]] std::string compare(const Programs& programs, const Script& script,
                                  const std::string& images);

// Runs every script on images of either maker.
void expect_same(const std::vector<Script>& scripts);

// A script on a qcow2 image of 4 MiB, "disk.qcow2", that runs `commands` by -c.
[[nodiscard]] Script on_qcow2(const std::string& name, const std::vector<std::string>& commands);
// The same on a raw one, "disk.raw", with -f raw.
[[nodiscard]] Script on_raw(const std::string& name, const std::vector<std::string>& commands);
// With the arguments spelled out.
[[nodiscard]] Script with_arguments(const std::string& name,
                                    const std::vector<std::string>& arguments);

}  // namespace varve::test
