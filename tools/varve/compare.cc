// varve compare: whether two images have the same content.

#include <algorithm>

#include <varve/compare.h>

#include "image_argument.h"
#include "messages.h"
#include "options.h"
#include "progress.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kCompareHelp = R"(Compare the disks in two images.  Usage:

  {0} compare [--image-opts | [-f FMT] [-F FMT]] [-s] [-p] [-q]
        [-T CACHE] [-U] [--untrusted] FILENAME1 FILENAME2

  -f, --a-format FMT            format of FILENAME1; detected otherwise
  -F, --b-format FMT            format of FILENAME2; detected otherwise
  --image-opts                  the names are lists of key=value pairs
  -s, --strict                  sizes and allocation must agree too
  -p, --progress                show progress
  -q, --quiet                   the exit code only
  -T, --cache CACHE_MODE        none, writeback (default), ...
  -U, --force-share             also while another program writes them
  --untrusted                   refuse images that name another file, or whose tables lie
                                outside the file or over each other

Exit codes: 0 the same, 1 different, 2 cannot be opened, 3 or 4 cannot be read

Example:
  {0} compare -f raw -F qcow2 disk.raw disk.qcow2
)";

constexpr option kCompareLongOptions[] = {kHelpOption,
                                          kQuietOption,
                                          kProgressOption,
                                          kObjectOption,
                                          {"cache", required_argument, nullptr, 'T'},
                                          {"a-format", required_argument, nullptr, 'f'},
                                          {"b-format", required_argument, nullptr, 'F'},
                                          {"strict", no_argument, nullptr, 's'},
                                          kForceShareOption,
                                          kImageOptsOption,
                                          kUntrustedOption,
                                          kEndOfOptions};

enum CompareExitCode : int {
  kSame = 0,
  kDifferent = 1,
  kCannotOpen = 2,
  kCannotReadStatus = 3,
  kCannotRead = 4
};

struct CompareRequest {
  ImageArgument first;
  ImageArgument second;
  std::string cache = "writeback";
  bool strict = false;
  bool quiet = false;
  bool progress = false;
};

int tell_difference(const CompareRequest& request, const CompareReport& report) {
  std::string text;
  switch (report.result) {
    case Comparison::identical:
      text = "Images are identical.";
      break;
    case Comparison::content_differs:
      text = fmt::format("Content mismatch at offset {}!", report.offset);
      break;
    case Comparison::size_differs:
      text = "Strict mode: Image size mismatch!";
      break;
    case Comparison::status_differs:
      text = fmt::format("Strict mode: Offset {} block status mismatch!", report.offset);
      break;
  }
  if (!request.quiet) {
    print("{}\n", text);
  }
  return report.result == Comparison::identical ? kSame : kDifferent;
}

int compare_images(Context& context, const CompareRequest& request, OpenedImage& first,
                   OpenedImage& second) {
  const auto sectors = [](const OpenedImage& opened) { return (opened.image->size() + 511) / 512; };
  Progress progress(request.progress, 2);
  CompareOptions options;
  options.strict = request.strict;
  options.cancel = &interrupted();
  options.progress = [&progress](std::uint64_t done, std::uint64_t total) {
    progress.report(done, total);
  };
  CompareReport report;
  const Result<void> compared = compare(*first.image, *second.image, options, report);
  if (!compared && compared.error().code == ErrorCode::cancelled) {
    exit_by_signal();
  }
  if (!compared) {
    context.error("Error while reading offset {} of {}: {}", report.failed_offset,
                  report.failed_image == 2 ? second.filename : first.filename,
                  short_words(compared.error()));
    return kCannotRead;
  }
  // As qemu-img: told once what both disks have has been compared.
  const bool common_part_agrees = report.result == Comparison::identical ||
                                  report.offset >= std::min(sectors(first), sectors(second)) * 512;
  if (!request.strict && !request.quiet && sectors(first) != sectors(second) &&
      common_part_agrees) {
    print("Warning: Image size mismatch!\n");
  }
  return tell_difference(request, report);
}

int open_and_compare(Context& context, CompareRequest& request) {
  const std::optional<CacheMode> cache = parse_cache_mode(request.cache);
  if (!cache) {
    context.error("Invalid source cache option: {}", request.cache);
    return kCannotOpen;
  }
  request.first.cache = *cache;
  request.second.cache = *cache;
  std::optional<OpenedImage> first = open_image(context, request.first);
  if (!first) {
    return kCannotOpen;
  }
  std::optional<OpenedImage> second = open_image(context, request.second);
  int code = kCannotOpen;
  if (second) {
    catch_interrupts();
    code = compare_images(context, request, *first, *second);
    (void)second->image->close();
  }
  (void)first->image->close();
  return code;
}

}  // namespace

int run_compare(Context& context, int argc, char** argv) {
  CompareRequest request;
  OptionParser parser(context, "compare", argc, argv, "hf:F:T:pqsU", kCompareLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    switch (letter) {
      case 'h':
        print(kCompareHelp, context.program);
        return 0;
      case 'f':
        request.first.format = parser.value();
        break;
      case 'F':
        request.second.format = parser.value();
        break;
      case 'T':
        request.cache = parser.value();
        break;
      case 'p':
        request.progress = true;
        break;
      case 'q':
        request.quiet = true;
        break;
      case 's':
        request.strict = true;
        break;
      case 'U':
        request.first.force_share = request.second.force_share = true;
        break;
      case kOptionImageOpts:
        request.first.image_opts = request.second.image_opts = true;
        break;
      case kOptionUntrusted:
        request.first.untrusted = request.second.untrusted = true;
        break;
      case kOptionObject:
        break;
      default:
        return context.print_try_help("compare");
    }
  }
  const std::vector<std::string> operands = parser.operands();
  if (operands.size() != 2) {
    return context.usage_error("compare", "Expecting two image file names");
  }
  request.first.text = operands[0];
  request.second.text = operands[1];
  request.progress = request.progress && !request.quiet;
  if (!check_image_opts(context, request.first) || !check_image_opts(context, request.second)) {
    return kCannotOpen;
  }
  return open_and_compare(context, request);
}

}  // namespace varve::tool
