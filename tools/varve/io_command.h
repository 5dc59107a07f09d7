// The commands of `varve io`: a table of them, and running one line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io_session.h"

namespace varve::tool {

// The words of a line as getopt wants them.
class IoArguments {
 public:
  explicit IoArguments(std::vector<std::string> words);
  IoArguments(const IoArguments&) = delete;
  IoArguments& operator=(const IoArguments&) = delete;

  [[nodiscard]] int count() const { return static_cast<int>(words_.size()); }
  [[nodiscard]] const std::string& word(int index) const {
    return words_[static_cast<std::size_t>(index)];
  }

  // The next option's letter, -1 at the end, '?' after a complaint. The C library moves options
  // before operands.
  int next_option(const char* letters);

  // The argument at `index` in the order getopt has made.
  [[nodiscard]] std::string moved(int index) const {
    return pointers_[static_cast<std::size_t>(index)];
  }

  // What is left once next_option has answered -1.
  [[nodiscard]] std::vector<std::string> operands() const;

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

struct IoCommand;
// False when the command failed, which makes the exit code 1.
using IoFunction = bool (*)(IoSession&, const IoCommand&, IoArguments&);

inline constexpr int kAnyCount = -1;

struct IoCommand {
  const char* name;
  const char* alias;  // Or null.
  IoFunction run;
  int minimum;  // How many words may follow the name.
  int maximum;
  bool needs_image;
  bool writes;            // Needs an image opened for writing.
  const char* arguments;  // For the usage line; null where there are none.
  const char* summary;
};

// By name or alias; null when there is none.
[[nodiscard]] const IoCommand* find_io_command(std::string_view name);

// All commands, sorted by name.
[[nodiscard]] std::span<const IoCommand> io_commands();

// Prints "NAME ARGUMENTS -- SUMMARY"; false, as a command answers that was called wrongly.
bool print_io_usage(const IoCommand& command);

// Runs one line. False when it failed; an empty line succeeds.
bool run_io_line(IoSession& session, const std::string& line);

// A number of bytes; nothing after a message.
[[nodiscard]] std::optional<std::uint64_t> take_count(const std::string& text);

}  // namespace varve::tool
