#include "convert_request.h"

#include "size_text.h"

namespace varve::tool {

namespace {

constexpr const char* kConvertHelp =
    R"(Copy a disk into a new image, of any format.  Usage:

  {0} convert [-f SRC_FMT | --image-opts] [-O TGT_FMT] [-c] [-p] [-q] [-n] [-U]
        [-l SNAPSHOT] [-B BACKING [-F BACKING_FMT]] [-o TGT_OPTS] [-S SIZE]
        [-t CACHE] [-T SRC_CACHE] [-m N] [-W] [-r RATE] [-C] [--salvage] [--untrusted]
        [--max-output SIZE] SRC_FILENAME [SRC_FILENAME2 ...] TGT_FILENAME

  -f, --source-format FMT       format of the sources; detected otherwise
  -O, --target-format FMT       raw (default) or qcow2
  -o, --target-options OPTS     as create's -o
  -c, --compress                write compressed clusters (qcow2)
  -l, --source-snapshot NAME    copy this snapshot: a name, an id, snapshot.id=ID or
                                snapshot.name=NAME
  -B, --backing BACKING         the target stands on this image; only what lies above is copied
  -F, --backing-format FMT      and this is its format
  -n, --no-create               write into an existing target
  --target-is-zero              which reads as zeros everywhere (with -n)
  -S, --sparse-size SIZE        runs of zeros this long are left out (4k); 0 writes everything
  -t, --target-cache CACHE      unsafe (default), none, writeback, writethrough, directsync
  -T, --source-cache CACHE      writeback (default), none, ...
  -m, --parallel N              chunks in flight, 1 to 16 (8)
  -W, --oob-writes              write chunks as they arrive
  -r, --rate RATE               bytes per second at most
  -C, --copy-range-offloading   let the file system copy where it can
  --salvage                     take what cannot be read for zeros, and go on
  -U, --force-share             also while another program writes the source
  --untrusted                   refuse sources that name another file, or whose tables lie
                                outside the file or over each other
  --max-output SIZE             end with an error before more data than this is written
  -p, --progress                show progress
  -q, --quiet                   say nothing

Examples:
  {0} convert -O qcow2 disk.raw disk.qcow2
  {0} convert -p -c -O qcow2 -o compression_type=zstd disk.qcow2 small.qcow2
  {0} convert -l before-upgrade -O raw disk.qcow2 then.raw
)";

constexpr option kConvertLongOptions[] = {
    kHelpOption,
    kQuietOption,
    kProgressOption,
    kObjectOption,
    {"source-image-opts", no_argument, nullptr, kOptionImageOpts},
    kImageOptsOption,
    {"source-format", required_argument, nullptr, 'f'},
    {"source-cache", required_argument, nullptr, 'T'},
    {"source-snapshot", required_argument, nullptr, 'l'},
    kForceShareOption,
    {"target-image-opts", no_argument, nullptr, kOptionTargetImageOpts},
    {"target-format", required_argument, nullptr, 'O'},
    {"output-format", required_argument, nullptr, 'O'},
    {"target-cache", required_argument, nullptr, 't'},
    {"output-cache", required_argument, nullptr, 't'},
    {"target-options", required_argument, nullptr, 'o'},
    {"options", required_argument, nullptr, 'o'},
    {"target-is-zero", no_argument, nullptr, kOptionTargetIsZero},
    {"compress", no_argument, nullptr, 'c'},
    {"backing", required_argument, nullptr, 'B'},
    {"backing-format", required_argument, nullptr, 'F'},
    {"sparse-size", required_argument, nullptr, 'S'},
    {"no-create", no_argument, nullptr, 'n'},
    {"bitmaps", no_argument, nullptr, kOptionBitmaps},
    {"skip-broken-bitmaps", no_argument, nullptr, kOptionSkipBroken},
    {"rate", required_argument, nullptr, 'r'},
    {"parallel", required_argument, nullptr, 'm'},
    {"oob-writes", no_argument, nullptr, 'W'},
    {"copy-range-offloading", no_argument, nullptr, 'C'},
    {"salvage", no_argument, nullptr, kOptionSalvage},
    kUntrustedOption,
    {"max-output", required_argument, nullptr, kOptionMaxOutput},
    kEndOfOptions};

constexpr std::uint64_t kSparseMax = 16777216;  // qemu-img's limit for -S.

// Options that exclude each other. False after a message.
bool check_request(const Context& context, const ConvertRequest& request) {
  const char* text = nullptr;
  if (request.copy_range && request.sparse) {
    text = "Cannot enable copy offloading when -S is used";
  } else if (request.copy_range && request.salvage) {
    text = "Cannot use copy offloading in salvaging mode";
  } else if (request.copy_range && request.compress) {
    text = "Cannot enable copy offloading when -c is used";
  } else if (request.target_image_opts && !request.skip_create) {
    text = "--target-image-opts requires use of -n flag";
  } else if (request.skip_broken_bitmaps && !request.bitmaps) {
    text = "Use of --skip-broken-bitmaps requires --bitmaps";
  } else if (request.skip_create && request.has_target_options) {
    text = "-o has no effect when skipping image creation";
  } else if (request.target_is_zero && !request.skip_create) {
    text = "--target-is-zero requires use of -n flag";
  }
  if (text != nullptr) {
    context.error("{}", text);
  }
  return text == nullptr;
}

// Options with a number. False after a message.
bool take_number(const Context& context, int letter, const std::string& text,
                 ConvertRequest& request) {
  if (letter == 'S') {
    const ParsedSize size = parse_size(text);
    if (size.status == SizeStatus::malformed) {
      context.error("Invalid buffer size for sparse output specified: '{}'.", text);
      return false;
    }
    if (size.status != SizeStatus::ok || size.bytes % 512 != 0 || size.bytes > kSparseMax) {
      context.error(
          "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up "
          "to {}. Select 0 to disable sparse detection (fully allocates output).",
          kSparseMax);
      return false;
    }
    request.sparse = size.bytes;
    return true;
  }
  if (letter == kOptionMaxOutput) {
    const ParsedSize size = parse_size(text);
    if (size.status != SizeStatus::ok || size.bytes == 0) {
      context.error("Invalid output limit: '{}'", text);
      return false;
    }
    request.max_output = size.bytes;
    return true;
  }
  const std::optional<std::uint64_t> number =
      letter == 'm' ? parse_number(context, "number of coroutines", text, 1, 16)
                    : parse_number(context, "rate limit", text, 0, kNumberMax);
  if (number) {
    (letter == 'm' ? request.parallel : request.rate) = *number;
  }
  return number.has_value();
}

// False after a message.
bool take_target_options(const Context& context, const std::string& text, ConvertRequest& request) {
  if (!is_option_list(text)) {
    context.error("Invalid option list: {}", text);
    return false;
  }
  const KeyValueList added = parse_key_values(text);
  request.target_options.insert(request.target_options.end(), added.begin(), added.end());
  request.has_target_options = true;
  return true;
}

// Options without a value. False for letters that are none of them.
bool take_flag(int letter, ConvertRequest& request) {
  switch (letter) {
    case 'c':
      request.compress = true;
      break;
    case 'p':
      request.progress = true;
      break;
    case 'q':
      request.quiet = true;
      break;
    case 'n':
      request.skip_create = true;
      break;
    case 'W':
      request.out_of_order = true;
      break;
    case 'U':
      request.source.force_share = true;
      break;
    case 'C':
      request.copy_range = true;
      break;
    case kOptionSalvage:
      request.salvage = true;
      break;
    case kOptionTargetIsZero:
      request.target_is_zero = true;
      break;
    case kOptionTargetImageOpts:
      request.target_image_opts = true;
      break;
    case kOptionImageOpts:
      request.source.image_opts = true;
      break;
    case kOptionBitmaps:
      request.bitmaps = true;
      break;
    case kOptionUntrusted:
      request.source.untrusted = true;
      break;
    case kOptionSkipBroken:
      request.skip_broken_bitmaps = true;
      break;
    default:
      return letter == kOptionObject;
  }
  return true;
}

// -l takes snapshot.id and snapshot.name as keys. False after a message about another one.
bool check_snapshot_keys(const Context& context, std::string_view text) {
  if (!text.starts_with("snapshot.")) {
    return true;
  }
  for (const auto& [key, value] : parse_key_values(text)) {
    if (key != "snapshot.id" && key != "snapshot.name") {
      context.error("Invalid parameter '{}'", key);
      context.error("Failed in parsing snapshot param '{}'", text);
      return false;
    }
  }
  return true;
}

// Options with a value. False after a message.
bool take_value(const Context& context, int letter, const char* value, ConvertRequest& request) {
  switch (letter) {
    case 'f':
      request.source.format = value;
      return true;
    case 'O':
      request.target_format = value;
      return true;
    case 'B':
      request.backing = value;
      return true;
    case 'F':
      request.backing_format = value;
      return true;
    case 'l':
      request.snapshot = value;
      return check_snapshot_keys(context, value);
    case 't':
      request.target_cache = value;
      return true;
    case 'T':
      request.source_cache = value;
      return true;
    case 'o':
      return take_target_options(context, value, request);
    case 'S':
    case 'm':
    case 'r':
    case kOptionMaxOutput:
      return take_number(context, letter, value, request);
    default:
      context.print_try_help("convert");
      return false;
  }
}

}  // namespace

void print_convert_help(const Context& context) {
  print(kConvertHelp, context.program);
}

std::optional<ConvertRequest> parse_convert(Context& context, int argc, char** argv) {
  ConvertRequest request;
  OptionParser parser(context, "convert", argc, argv,
                      "hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:", kConvertLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    if (letter == 'h') {
      request.help = true;
      return request;
    }
    if (!take_flag(letter, request) && !take_value(context, letter, parser.value(), request)) {
      return std::nullopt;
    }
  }
  request.sources = parser.operands();
  request.options_help = asks_for_help(request.target_options);
  if (request.options_help) {
    return request;
  }
  if (!check_request(context, request) || !check_image_opts(context, request.source)) {
    return std::nullopt;
  }
  if (request.sources.size() < 2) {
    context.error("Must specify image file name");
    return std::nullopt;
  }
  request.target = request.sources.back();
  request.sources.pop_back();
  return request;
}

}  // namespace varve::tool
