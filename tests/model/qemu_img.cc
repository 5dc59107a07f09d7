#include "model/qemu_img.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace varve::model {

CommandResult run_command(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = arguments;
  std::vector<char*> pointers;
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  CommandResult result;
  std::array<int, 2> ends{};
  if (words.empty() || pipe2(ends.data(), O_CLOEXEC) != 0) {
    return result;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  pid_t child = -1;
  const bool runs =
      posix_spawnp(&child, pointers[0], &actions, nullptr, pointers.data(), environ) == 0;
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::array<char, 4096> chunk{};
  for (ssize_t length = 0; runs && (length = read(ends[0], chunk.data(), chunk.size())) != 0;) {
    if (length > 0) {
      result.output.append(chunk.data(), static_cast<std::size_t>(length));
    } else if (errno != EINTR) {
      break;
    }
  }
  close(ends[0]);
  int status = 0;
  if (runs && waitpid(child, &status, 0) == child && WIFEXITED(status)) {
    result.status = WEXITSTATUS(status);
  }
  return result;
}

bool has_program(const std::string& program) {
  static std::map<std::string, bool> known;
  const auto found = known.find(program);
  return found != known.end()
             ? found->second
             : known.emplace(program, run_command({program, "--version"}).status == 0)
                   .first->second;
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

std::optional<std::string> qemu_check(const std::string& path, bool leaks_too,
                                      const std::string& data_file) {
  std::vector<std::string> command = {"qemu-img", "check"};
  if (data_file.empty()) {
    command.insert(command.end(), {"-f", "qcow2", path});
  } else {
    command.insert(command.end(), {"--image-opts", "driver=qcow2,file.filename=" + path +
                                                       ",data-file.filename=" + data_file});
  }
  const CommandResult result = run_command(command);
  constexpr int kLeaksOnly = 3;
  if (result.status == 0 || (result.status == kLeaksOnly && !leaks_too)) {
    return std::nullopt;
  }
  return "qemu-img check: status " + std::to_string(result.status) + "\n" + result.output;
}

}  // namespace varve::model
