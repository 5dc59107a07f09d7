// What every verb is given: the name the program was called by, and how to make an engine.
//
// Messages go through here, so that each begins with that name, as scripts expect of qemu-img.
// This is the one file that includes fmt.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <varve/engine.h>
#include <varve/result.h>

namespace varve::tool {

class Context {
 public:
  std::string program = "varve";
  EngineOptions engine_options;
  bool strict_format = false;  // A guessed format is an error on verbs that write.

  // The engine, made on first use; null after a message when there is none.
  Engine* engine();

  // "PROGRAM: text" on stderr.
  template <class... Arguments>
  void error(fmt::format_string<Arguments...> text, Arguments&&... arguments) const {
    print_error(fmt::format(text, std::forward<Arguments>(arguments)...));
  }
  void print_error(std::string_view text) const;

  // The same, followed by where to find help. Always 1, the exit code for bad command lines.
  template <class... Arguments>
  int usage_error(std::string_view verb, fmt::format_string<Arguments...> text,
                  Arguments&&... arguments) const {
    print_error(fmt::format(text, std::forward<Arguments>(arguments)...));
    return print_try_help(verb);
  }
  int print_try_help(std::string_view verb) const;

 private:
  std::unique_ptr<Engine> engine_;
};

// The word for a backend: "io_uring", "threads".
[[nodiscard]] const char* engine_name(AioBackend backend);

template <class... Arguments>
void print(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  fmt::print(stdout, text, std::forward<Arguments>(arguments)...);
}

}  // namespace varve::tool
