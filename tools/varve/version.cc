// varve version: what was built, and which engine runs here.

#include <array>
#include <cstring>

#include <varve/version.h>

#include "json_text.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr std::array<const char*, 2> kFormats = {"qcow2", "raw"};
constexpr std::array<const char*, 2> kCompressions = {"zlib", "zstd"};

template <std::size_t Count>
std::string join(const std::array<const char*, Count>& words) {
  std::string text;
  for (const char* word : words) {
    text += text.empty() ? "" : " ";
    text += word;
  }
  return text;
}

}  // namespace

int run_version(Context& context, int argc, char** argv) {
  const bool json = argc == 2 && std::strcmp(argv[1], "--json") == 0;
  if (argc > 1 && !json) {
    const bool help = argc == 2 && (std::strcmp(argv[1], "--help") == 0);
    print(
        "Show the version, the features built in and the engine.  Usage:\n\n  {0} version "
        "[--json]\n\nExample:\n  {0} version --json\n",
        context.program);
    return help ? 0 : 1;
  }
  Engine* engine = context.engine();
  const char* running = engine == nullptr ? "none" : engine_name(engine->backend());
  if (json) {
    Json node;
    node["version"] = version();
    node["formats"] = kFormats;
    node["compression"] = kCompressions;
    node["engine"] = running;
    print("{}\n", format_json(node));
  } else {
    print("{} version {}\n", context.program, version());
    print("formats: {}\ncompression: {}\nengine: {}\n", join(kFormats), join(kCompressions),
          running);
  }
  return engine == nullptr ? 1 : 0;
}

}  // namespace varve::tool
