// The command line of convert.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "image_argument.h"
#include "options.h"

namespace varve::tool {

struct ConvertRequest {
  bool help = false;          // --help was given ...
  bool options_help = false;  // ... or -o help.
  ImageArgument source;       // Its text is set for each source in turn.
  std::vector<std::string> sources;
  std::string target;
  std::optional<std::string> target_format;
  bool target_image_opts = false;
  KeyValueList target_options;
  bool has_target_options = false;
  std::optional<std::string> backing;
  std::optional<std::string> backing_format;
  std::string target_cache = "unsafe";
  std::string source_cache = "writeback";
  std::optional<std::string> snapshot;
  std::optional<std::uint64_t> sparse;
  std::uint64_t parallel = 8;
  std::uint64_t rate = 0;
  std::uint64_t max_output = 0;  // 0: no limit.
  bool compress = false;
  bool progress = false;
  bool quiet = false;
  bool skip_create = false;
  bool target_is_zero = false;
  bool out_of_order = false;
  bool copy_range = false;
  bool salvage = false;
  bool bitmaps = false;
  bool skip_broken_bitmaps = false;
};

// Reads the command line. Nothing after a message.
[[nodiscard]] std::optional<ConvertRequest> parse_convert(Context& context, int argc, char** argv);

void print_convert_help(const Context& context);

}  // namespace varve::tool
