// Programs of QEMU that run beside the test and take commands.
#pragma once

#include <array>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace varve::test {

// A program spoken to over its input and output, until it goes out of scope or ends.
class Dialogue {
 public:
  explicit Dialogue(std::vector<std::string> arguments) {
    std::array<int, 2> input{};
    std::array<int, 2> output{};
    if (::pipe2(input.data(), O_CLOEXEC) != 0 || ::pipe2(output.data(), O_CLOEXEC) != 0) {
      return;
    }
    std::vector<char*> pointers;
    for (std::string& argument : arguments) {
      pointers.push_back(argument.data());
    }
    pointers.push_back(nullptr);
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(input[0], 0);
      ::dup2(output[1], 1);
      ::dup2(output[1], 2);
      ::execvp(pointers[0], pointers.data());
      ::_exit(127);
    }
    ::close(input[0]);
    ::close(output[1]);
    input_ = input[1];
    output_ = output[0];
  }
  Dialogue(const Dialogue&) = delete;
  Dialogue& operator=(const Dialogue&) = delete;
  ~Dialogue() {
    ::close(input_);
    static_cast<void>(read_until(""));
    ::close(output_);
    ::waitpid(child_, nullptr, 0);
  }

  // What it says up to one of these words, or to its end.
  [[nodiscard]] std::string read_until(const std::string& word, const std::string& other = "") {
    std::string text;
    char c = 0;
    const auto has = [&](const std::string& end) { return !end.empty() && text.ends_with(end); };
    while (!has(word) && !has(other) && ::read(output_, &c, 1) == 1) {
      text += c;
    }
    return text;
  }
  // False: it has ended.
  bool say(const std::string& line) {
    const std::string text = line + "\n";
    return ::write(input_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }

 private:
  pid_t child_ = -1;
  int input_ = -1;
  int output_ = -1;
};

// A qemu-io that has an image open.
class QemuIo {
 public:
  QemuIo(const std::string& program, const std::vector<std::string>& arguments)
      : dialogue_(with(program, arguments)) {
    // Its prompt comes once the image is open; the end of its output when it gave up.
    said = dialogue_.read_until(kPrompt);
  }
  [[nodiscard]] bool is_open() const { return said.ends_with(kPrompt); }
  // What it answers to a command.
  std::string run(const std::string& command) {
    return dialogue_.say(command) ? dialogue_.read_until(kPrompt) : "gone";
  }
  std::string said;

 private:
  static constexpr const char* kPrompt = "qemu-io> ";
  static std::vector<std::string> with(const std::string& program,
                                       std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program);
    return arguments;
  }

  Dialogue dialogue_;
};

}  // namespace varve::test
