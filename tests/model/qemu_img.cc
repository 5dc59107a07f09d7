#include "model/qemu_img.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <sys/wait.h>

namespace varve::model {

CommandResult run_command(const std::vector<std::string>& arguments) {
  std::string line = "exec ";  // The shell itself becomes the program.
  for (const std::string& argument : arguments) {
    line += "'";
    for (const char c : argument) {
      line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    line += "' ";
  }
  CommandResult result;
  std::FILE* pipe = popen((line + "2>&1 </dev/null").c_str(), "r");
  if (pipe == nullptr) {
    return result;
  }
  std::array<char, 4096> chunk{};
  while (std::fgets(chunk.data(), static_cast<int>(chunk.size()), pipe) != nullptr) {
    result.output += chunk.data();
  }
  const int status = pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

bool has_program(const std::string& program) {
  return run_command({program, "--version"}).status == 0;
}

bool programs_are_required() {
  const char* require = std::getenv("VARVE_REQUIRE");
  return require != nullptr && *require != '\0';
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "varve-test-XXXXXX").string();
  const char* made = mkdtemp(pattern.data());
  path_ = made == nullptr ? std::string(".") : std::string(made);
}

TemporaryFolder::~TemporaryFolder() {
  if (path_ != ".") {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
}

std::optional<sim::SparseBytes> load_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return std::nullopt;
  }
  sim::SparseBytes bytes;
  std::vector<char> chunk(1u << 16);
  std::uint64_t offset = 0;
  while (file) {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    const auto length = static_cast<std::size_t>(file.gcount());
    const ConstBytes read = std::as_bytes(std::span(chunk).first(length));
    if (!is_all_zero(read)) {
      bytes.write(offset, read);
    }
    offset += length;
  }
  bytes.resize(offset);
  return bytes;
}

std::optional<std::string> qemu_check(const std::string& path, bool leaks_too) {
  const CommandResult result = run_command({"qemu-img", "check", "-f", "qcow2", path});
  constexpr int kLeaksOnly = 3;
  if (result.status == 0 || (result.status == kLeaksOnly && !leaks_too)) {
    return std::nullopt;
  }
  return "qemu-img check: status " + std::to_string(result.status) + "\n" + result.output;
}

}  // namespace varve::model
