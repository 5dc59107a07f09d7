// What Varve's own verbs share: their command lines are read by CLI11.
#pragma once

#include <optional>

#include "context.h"
#include "image_argument.h"

namespace CLI {
class App;
}

namespace varve::tool {

// -f, --format. Own verbs work on qcow2 images and never guess.
void add_format_option(CLI::App& app, ImageArgument& argument);

// Reads the arguments after argv[0]. The exit code where the verb ends here: after --help, or a
// message about a bad command line.
[[nodiscard]] std::optional<int> parse_own(const Context& context, std::string_view verb,
                                           CLI::App& app, int argc, char** argv);

}  // namespace varve::tool
