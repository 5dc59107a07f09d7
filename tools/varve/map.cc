// varve map: which parts of a disk hold data, and where.

#include <algorithm>
#include <vector>

#include "host_holes.h"
#include "image_argument.h"
#include "messages.h"
#include "options.h"
#include "printable.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kMapHelp = R"(Show where a disk's data stands.  Usage:

  {0} map [-f FMT | --image-opts] [--output human|json] [--start-offset OFFSET]
        [--max-length LENGTH] [-U] [--untrusted] FILENAME

  -f, --format FMT              raw or qcow2; detected otherwise
  --image-opts                  FILENAME is a list of key=value pairs
  -s, --start-offset OFFSET     first byte to tell about
  -l, --max-length LENGTH       and how many
  --output human|json           form of the answer
  -U, --force-share             also while another program writes it
  --untrusted                   refuse an image that names another file, or whose tables lie
                                outside the file or over each other

Examples:
  {0} map disk.qcow2
  {0} map --output json --start-offset 1G --max-length 64M disk.qcow2
)";

constexpr option kMapLongOptions[] = {kHelpOption,
                                      kObjectOption,
                                      kFormatOption,
                                      kOutputOption,
                                      kImageOptsOption,
                                      kForceShareOption,
                                      kUntrustedOption,
                                      {"start-offset", required_argument, nullptr, 's'},
                                      {"max-length", required_argument, nullptr, 'l'},
                                      kEndOfOptions};

struct MapRequest {
  ImageArgument image;
  bool json = false;
  std::uint64_t start = 0;
  std::uint64_t length = kNumberMax;
};

// As printf's %#x: zero has no prefix.
std::string hexadecimal(std::uint64_t value) {
  return value == 0 ? "0" : fmt::format("{:#x}", value);
}

// A run of the disk with one description.
struct MapRun {
  std::uint64_t start = 0;
  BlockStatus status;
};

// The files of the chain, by depth.
std::vector<std::string> data_files(const OpenedImage& opened) {
  std::vector<std::string> names;
  for (Image* image = opened.image.get(); image != nullptr; image = image->backing()) {
    const std::string data_file = image->facts().data_file_name;
    names.push_back(data_file.empty() ? image->name() : resolve_name(image->name(), data_file));
  }
  return names;
}

class Printer {
 public:
  Printer(const Context& context, bool json, std::uint64_t start, std::vector<std::string> files)
      : context_(context), json_(json), files_(std::move(files)), last_{start, {}} {}

  // False after a message: the run cannot be told in this form.
  [[nodiscard]] bool add(const MapRun& run) {
    const BlockStatus& a = last_.status;
    const BlockStatus& b = run.status;
    const bool joins = a.length != 0 && a.data == b.data && a.zero == b.zero &&
                       a.allocated == b.allocated && a.compressed == b.compressed &&
                       a.depth == b.depth && a.has_host_offset == b.has_host_offset &&
                       (!a.has_host_offset || a.host_offset + a.length == b.host_offset);
    if (joins) {
      last_.status.length += b.length;
      return true;
    }
    if (a.length != 0 && !print_run(false)) {
      return false;
    }
    last_ = run;
    return true;
  }

  [[nodiscard]] bool finish() { return print_run(true); }

 private:
  bool print_run(bool final) {
    const BlockStatus& status = last_.status;
    if (json_) {
      print_json(final);
      return true;
    }
    if (!status.data || status.zero) {
      return true;
    }
    if (!status.has_host_offset || status.compressed) {
      context_.error("File contains external, encrypted or compressed clusters.");
      return false;
    }
    print("{:<16}{:<16}{:<16}{}\n", hexadecimal(last_.start), hexadecimal(status.length),
          hexadecimal(status.host_offset),
          printable(files_[std::min<std::size_t>(status.depth, files_.size() - 1)]));
    return true;
  }

  void print_json(bool final) {
    const BlockStatus& status = last_.status;
    print(
        "{}{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, "
        "\"data\": {}, \"compressed\": {}",
        first_ ? "[" : "", last_.start, status.length, status.depth, status.allocated, status.zero,
        status.data, status.compressed);
    if (status.has_host_offset) {
      print(", \"offset\": {}", status.host_offset);
    }
    print("{}", final ? "}]\n" : "},\n");
    first_ = false;
  }

  const Context& context_;
  bool json_;
  std::vector<std::string> files_;
  MapRun last_;
  bool first_ = true;
};

// What the run beginning at `offset` is. A raw image lies in its file byte for byte, also where the
// file ends within the last sector.
Result<BlockStatus> status_at(Image& image, std::uint64_t offset, std::uint64_t end, bool raw) {
  BlockStatus status{.length = end - offset, .zero = true, .allocated = true};
  if (offset < image.size()) {
    Result<BlockStatus> told = image.status(offset, end - offset, true);
    if (!told) {
      return told;
    }
    status = *told;
  }
  if (raw && !status.has_host_offset) {
    status.has_host_offset = true;
    status.host_offset = offset;
  }
  return status;
}

int print_map(Context& context, const MapRequest& request, OpenedImage& opened) {
  if (!request.json) {
    print("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
  }
  Image& image = *opened.image;
  const bool raw = image.facts().format == Format::raw;
  const HostHoles holes(context, image);
  Printer printer(context, request.json, request.start, data_files(opened));
  const std::uint64_t size = (image.size() + 511) / 512 * 512;
  const std::uint64_t end =
      size - std::min(request.start, size) > request.length ? request.start + request.length : size;
  for (std::uint64_t offset = request.start; offset < end;) {
    const Result<BlockStatus> status = status_at(image, offset, end, raw);
    if (!status) {
      context.error("Failed to read image metadata: {}", short_words(status.error()));
      return 1;
    }
    MapRun run{offset, *status};
    holes.refine(run.status);
    if (!printer.add(run)) {
      return 1;
    }
    offset += run.status.length;
  }
  return printer.finish() ? 0 : 1;
}

}  // namespace

int run_map(Context& context, int argc, char** argv) {
  MapRequest request;
  OptionParser parser(context, "map", argc, argv, "hf:s:l:U", kMapLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    switch (letter) {
      case 'h':
        print(kMapHelp, context.program);
        return 0;
      case 's':
      case 'l': {
        const std::optional<std::uint64_t> number = parse_number(
            context, letter == 's' ? "start offset" : "max length", parser.value(), 0, kNumberMax);
        if (!number) {
          return 1;
        }
        (letter == 's' ? request.start : request.length) = *number;
        break;
      }
      case kOptionOutput:
        if (!parse_output(context, "map", parser.value(), request.json)) {
          return 1;
        }
        break;
      default:
        if (!take_image_option(letter, parser, request.image)) {
          return context.print_try_help("map");
        }
        break;
    }
  }
  if (!take_only_image(context, "map", parser, request.image)) {
    return 1;
  }
  std::optional<OpenedImage> opened = open_image(context, request.image);
  if (!opened) {
    return 1;
  }
  const int code = print_map(context, request, *opened);
  return close_image(context, *opened) ? code : 1;
}

}  // namespace varve::tool
