// varve resize: a larger disk.

#include "image_argument.h"
#include "messages.h"
#include "options.h"
#include "size_text.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kResizeHelp = R"(Make a disk larger.  Usage:

  {0} resize [-f FMT | --image-opts] [--preallocation PREALLOC] [--shrink]
        [-q] FILENAME [+-]SIZE[bkKMGTPE]

  -f, --format FMT              raw or qcow2; detected otherwise
  --image-opts                  FILENAME is a list of key=value pairs
  --preallocation PREALLOC      off, metadata, falloc or full, for the new part
  --shrink                      allow a smaller disk
  -q, --quiet                   say nothing

Examples:
  {0} resize disk.qcow2 40G
  {0} resize -f raw disk.raw +512M
)";

constexpr option kResizeLongOptions[] = {
    kHelpOption,
    kQuietOption,
    kObjectOption,
    kFormatOption,
    kImageOptsOption,
    {"preallocation", required_argument, nullptr, kOptionPreallocation},
    {"shrink", no_argument, nullptr, kOptionShrink},
    kEndOfOptions};

struct ResizeRequest {
  ImageArgument image;
  Preallocation preallocation = Preallocation::off;
  std::string preallocation_name = "off";
  bool shrink = false;
  bool quiet = false;
  char sign = 0;  // '+', '-' or none.
  std::uint64_t size = 0;
};

// False after a message.
bool take_preallocation(const Context& context, const std::string& name, ResizeRequest& request) {
  constexpr const char* kNames[] = {"off", "metadata", "falloc", "full"};
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) {
      request.preallocation = static_cast<Preallocation>(i);
      request.preallocation_name = name;
      return true;
    }
  }
  context.error("Invalid preallocation mode '{}'", name);
  return false;
}

bool is_negative_number(std::string_view text) {
  return text.size() >= 2 && text[0] == '-' && text[1] >= '0' && text[1] <= '9';
}

// False after a message.
bool take_size(const Context& context, std::string text, ResizeRequest& request) {
  if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
    request.sign = text.front();
    text.erase(0, 1);
  }
  // A sign behind the sign, or white space, would pass as a size.
  const bool begins_as_number =
      !text.empty() && ((text.front() >= '0' && text.front() <= '9') || text.front() == '.');
  const ParsedSize parsed = parse_size(text);
  if (!begins_as_number || parsed.status == SizeStatus::malformed) {
    context.error(
        "Parameter 'size' expects a non-negative number below 2^64\n"
        "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
        "and exabytes, respectively.");
    return false;
  }
  if (parsed.status == SizeStatus::out_of_range) {
    context.error("Value '{}' is out of range for parameter 'size'", text);
    return false;
  }
  request.size = parsed.bytes;
  return true;
}

// The size asked for; nothing after a message.
std::optional<std::uint64_t> target_size(const Context& context, const ResizeRequest& request,
                                         std::uint64_t current) {
  std::uint64_t target = request.size;
  if (request.sign == '+') {
    target = current + request.size;
  } else if (request.sign == '-') {
    target = request.size >= current ? 0 : current - request.size;
  }
  if (target == 0 || target > kNumberMax) {
    context.error("New image size must be positive");
    return std::nullopt;
  }
  if (target <= current && request.preallocation != Preallocation::off) {
    context.error("Preallocation can only be used for growing images");
    return std::nullopt;
  }
  if (target < current && !request.shrink) {
    context.error("Use the --shrink option to perform a shrink operation.");
    context.error(
        "warning: Shrinking an image will delete all data beyond the shrunken image's end. Before "
        "performing such an operation, make sure there is no important data there.");
    return std::nullopt;
  }
  return target;
}

int resize(Context& context, const ResizeRequest& request, OpenedImage& opened) {
  const std::uint64_t current = opened.image->size();
  const std::optional<std::uint64_t> target = target_size(context, request, current);
  if (!target) {
    return 1;
  }
  const bool qcow2 = opened.image->facts().format == Format::qcow2;
  if (qcow2 && *target % 512 != 0) {
    context.error("The new size must be a multiple of 512");
    return 1;
  }
  if (*target < current) {
    context.error("{}: shrinking is not supported by this version; nothing was changed",
                  opened.filename);
    return 1;
  }
  if (!qcow2 && request.preallocation == Preallocation::metadata) {
    context.error("Unsupported preallocation mode: metadata");
    return 1;
  }
  if (*target > current) {
    const Result<void> grown = opened.image->grow(*target, request.preallocation);
    if (!grown && grown.error().code == ErrorCode::out_of_range) {
      context.error("Failed to grow the L1 table: {}", system_words(EFBIG));
      return 1;
    }
    if (!grown) {
      context.error("Failed to resize the image: {}", short_words(grown.error()));
      return 1;
    }
  }
  return 0;
}

}  // namespace

int run_resize(Context& context, int argc, char** argv) {
  ResizeRequest request;
  request.image.writable = true;
  std::vector<std::string> operands;
  // The leading '-' hands operands over in their order, as 1.
  OptionParser parser(context, "resize", argc, argv, "-hf:q", kResizeLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    switch (letter) {
      case 'h':
        print(kResizeHelp, context.program);
        return 0;
      case 1:
        operands.emplace_back(parser.value());
        // Right behind the file's name -1M is a size; elsewhere it would be options.
        if (operands.size() == 1 && is_negative_number(parser.peek())) {
          operands.emplace_back(parser.take());
        }
        break;
      case 'q':
        request.quiet = true;
        break;
      case kOptionPreallocation:
        if (!take_preallocation(context, parser.value(), request)) {
          return 1;
        }
        break;
      case kOptionShrink:
        request.shrink = true;
        break;
      default:
        if (!take_image_option(letter, parser, request.image)) {
          return context.print_try_help("resize");
        }
        break;
    }
  }
  for (std::string& operand : parser.operands()) {
    operands.push_back(std::move(operand));
  }
  if (operands.size() > 2) {
    return context.usage_error("resize", "Extra argument(s) in command line");
  }
  if (operands.size() < 2) {
    return context.usage_error("resize", "Expecting image file name and size");
  }
  request.image.text = operands[0];
  if (!check_image_opts(context, request.image) || !take_size(context, operands[1], request)) {
    return 1;
  }
  std::optional<OpenedImage> opened = open_image(context, request.image);
  if (!opened) {
    return 1;
  }
  const int code = resize(context, request, *opened);
  if (!close_image(context, *opened) || code != 0) {
    return 1;
  }
  if (!request.quiet) {
    print("Image resized.\n");
  }
  return 0;
}

}  // namespace varve::tool
