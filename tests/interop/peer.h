// QEMU's programs of one version: the installed one, and a newer one where VARVE_QEMU10 names its
// folder.
#pragma once

#include <string>
#include <vector>

#include "model/missing.h"

namespace varve::interop {

class Peer {
 public:
  Peer(std::string name, std::string folder) : name_(std::move(name)), folder_(std::move(folder)) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string program(const std::string& program) const {
    return folder_.empty() ? program : folder_ + "/" + program;
  }
  [[nodiscard]] model::CommandResult img(std::vector<std::string> arguments) const {
    return run("qemu-img", std::move(arguments));
  }
  [[nodiscard]] model::CommandResult io(std::vector<std::string> arguments) const {
    return run("qemu-io", std::move(arguments));
  }

 private:
  [[nodiscard]] model::CommandResult run(const std::string& name,
                                         std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), program(name));
    return model::run_command(arguments);
  }

  std::string name_;
  std::string folder_;
};

// Those that run here; looked up once.
[[nodiscard]] const std::vector<Peer>& peers();

// Whose turn a test of this name is, of so many; always the same.
[[nodiscard]] std::size_t turn_of(const std::string& name, std::size_t count);

}  // namespace varve::interop
