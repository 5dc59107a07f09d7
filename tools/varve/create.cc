// varve create: a new image.

#include <varve/create.h>

#include "create_options.h"
#include "image_argument.h"
#include "messages.h"
#include "options.h"
#include "size_text.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kCreateHelp = R"(Make a new image.  Usage:

  {0} create [-f FMT] [-o FMT_OPTS] [-b BACKING_FILENAME [-F BACKING_FMT]]
        [-u] [-q] FILENAME [SIZE[bkKMGTPE]]

  -f, --format FMT              raw (default) or qcow2
  -o, --options FMT_OPTS        key=value,...; -o help lists them
  -b, --backing FILENAME        stack the new image on top of this one
  -F, --backing-format FMT      and this is its format
  -u, --backing-unsafe          do not look at the backing file
  -q, --quiet                   say nothing

Examples:
  {0} create -f qcow2 disk.qcow2 20G
  {0} create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
  {0} create -f qcow2 -o cluster_size=128k,compression_type=zstd disk.qcow2 1.5T
)";

constexpr option kCreateLongOptions[] = {kHelpOption,
                                         kQuietOption,
                                         kObjectOption,
                                         kFormatOption,
                                         {"options", required_argument, nullptr, 'o'},
                                         {"backing", required_argument, nullptr, 'b'},
                                         {"backing-format", required_argument, nullptr, 'F'},
                                         {"backing-unsafe", no_argument, nullptr, 'u'},
                                         kEndOfOptions};

struct CreateRequest {
  std::string format = "raw";
  KeyValueList options;
  std::optional<std::string> backing;
  std::optional<std::string> backing_format;
  std::optional<std::uint64_t> size;
  bool unsafe = false;
  bool quiet = false;
  std::string filename;
};

int fail(const Context& context, const CreateRequest& request, const std::string& reason) {
  context.error("{}: {}", request.filename, reason);
  return 1;
}

// The backing file's size; nothing, with the reason, when it cannot be opened.
std::optional<std::uint64_t> backing_size(Context& context, const CreateRequest& request,
                                          const std::string& backing,
                                          const std::optional<std::string>& backing_format,
                                          std::string& reason) {
  ImageArgument argument;
  argument.text = resolve_name(request.filename, backing);
  argument.format = backing_format;
  std::optional<OpenedImage> opened = open_image_quietly(context, argument, reason);
  if (!opened) {
    reason += "\nCould not open backing image.";
    return std::nullopt;
  }
  const std::uint64_t size = opened->image->size();
  const std::string detected = opened->format;
  (void)opened->image->close();
  if (!backing_format) {
    reason = fmt::format("Backing file specified without backing format\nDetected format of {}.",
                         detected);
    return std::nullopt;
  }
  return size;
}

// Everything qemu-img settles before it names the new image: the backing file and the size.
bool settle_backing(Context& context, const CreateRequest& request, CreateValues& values,
                    std::string& reason) {
  if (request.backing && request.format != "qcow2") {
    reason = fmt::format("Backing file not supported for file format '{}'", request.format);
    return false;
  }
  if (request.backing_format && request.format != "qcow2") {
    reason = fmt::format("Backing file format not supported for file format '{}'", request.format);
    return false;
  }
  if (request.backing) {
    values.set("backing_file", *request.backing);
  }
  if (request.backing_format) {
    values.set("backing_fmt", *request.backing_format);
  }
  const std::optional<std::string> backing = values.find("backing_file");
  const std::optional<std::string> backing_format = values.find("backing_fmt");
  if (backing && backing->empty()) {
    reason = "Expected backing file name, got empty string";
    return false;
  }
  if (backing && *backing == request.filename) {
    reason = "Error: Trying to create an image with the same filename as the backing file";
    return false;
  }
  if (!backing) {
    return true;
  }
  if (request.unsafe) {
    if (!backing_format) {
      reason = "Backing file specified without backing format";
      return false;
    }
    return true;
  }
  const std::optional<std::uint64_t> size =
      backing_size(context, request, *backing, backing_format, reason);
  if (!size) {
    return false;
  }
  values.set_default("size", std::to_string(*size));
  return true;
}

int create(Context& context, const CreateRequest& request) {
  if (request.format == "file" || !format_by_name(request.format)) {
    return fail(context, request, fmt::format("Unknown file format '{}'", request.format));
  }
  CreateValues values(request.format);
  std::string reason;
  const std::optional<std::string> path = plain_filename(request.filename, reason);
  if (!path) {
    return fail(context, request, reason);
  }
  if (!values.add(request.options, reason)) {
    return fail(context, request, reason);
  }
  if (request.size && values.find("size")) {
    return fail(context, request, "The image size must be specified only once");
  }
  if (request.size) {
    values.set("size", std::to_string(*request.size));
  }
  if (!settle_backing(context, request, values, reason)) {
    return fail(context, request, reason);
  }
  if (!values.find("size")) {
    return fail(context, request, "Image creation needs a size parameter");
  }
  if (!request.quiet) {
    print("Formatting '{}', fmt={}{}\n", request.filename, request.format, values.listing());
  }
  const std::optional<CreateOptions> options = values.to_options(reason);
  if (!options) {
    return fail(context, request, reason);
  }
  Engine* engine = context.engine();
  if (engine == nullptr) {
    return 1;
  }
  const Result<void> created = create_image(*engine, *path, *options);
  if (!created) {
    return fail(context, request, create_words(created.error(), *path, request.format));
  }
  return 0;
}

// False after a message: what `-o TEXT` adds.
bool add_options(const Context& context, const std::string& text, KeyValueList& list) {
  if (!is_option_list(text)) {
    context.error("Invalid option list: {}", text);
    return false;
  }
  const KeyValueList added = parse_key_values(text);
  list.insert(list.end(), added.begin(), added.end());
  return true;
}

}  // namespace

int run_create(Context& context, int argc, char** argv) {
  CreateRequest request;
  OptionParser parser(context, "create", argc, argv, "hqf:o:b:F:u", kCreateLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    switch (letter) {
      case 'h':
        print(kCreateHelp, context.program);
        return 0;
      case 'q':
        request.quiet = true;
        break;
      case 'f':
        request.format = parser.value();
        break;
      case 'o':
        if (!add_options(context, parser.value(), request.options)) {
          return 1;
        }
        break;
      case 'b':
        request.backing = parser.value();
        break;
      case 'F':
        request.backing_format = parser.value();
        break;
      case 'u':
        request.unsafe = true;
        break;
      case kOptionObject:
        break;
      default:
        return context.print_try_help("create");
    }
  }
  const std::vector<std::string> operands = parser.operands();
  const bool help = asks_for_help(request.options);
  if (operands.empty() && !help) {
    return context.usage_error("create", "Expecting image file name");
  }
  if (operands.size() > 1) {
    request.size = parse_number(context, "image size", operands[1], 0, kNumberMax);
    if (!request.size) {
      return 1;
    }
  }
  if (operands.size() > 2) {
    return context.usage_error("create", "Unexpected argument: {}", operands[2]);
  }
  if (help) {
    if (!format_by_name(request.format)) {
      context.error("Unknown file format '{}'", request.format);
      return 1;
    }
    print_create_help(request.format, !operands.empty());
    return 0;
  }
  request.filename = operands[0];
  return create(context, request);
}

}  // namespace varve::tool
