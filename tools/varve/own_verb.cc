#include "own_verb.h"

#include <CLI/CLI.hpp>

namespace varve::tool {

void add_format_option(CLI::App& app, ImageArgument& argument) {
  argument.format = "qcow2";
  app.add_option_function<std::string>(
      "-f,--format", [&argument](const std::string& name) { argument.format = name; },
      "The image's format (qcow2)");
}

std::optional<int> parse_own(const Context& context, std::string_view verb, CLI::App& app, int argc,
                             char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print("{}", app.help());
    return 0;
  } catch (const CLI::ParseError& problem) {
    return context.usage_error(verb, "{}", problem.what());
  }
  return std::nullopt;
}

}  // namespace varve::tool
