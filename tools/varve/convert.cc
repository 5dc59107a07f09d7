// varve convert: copies one or several images into a new or an existing one.

#include <sys/stat.h>
#include <varve/convert.h>
#include <varve/snapshot.h>

#include "create_options.h"
#include "image_argument.h"
#include "messages.h"
#include "options.h"
#include "progress.h"
#include "size_text.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kHelp = R"(Copy one image to another with optional format conversion.  Usage:

  {0} convert [-f SRC_FMT | --image-opts] [-O TGT_FMT] [-c] [-p] [-q] [-n] [-U]
        [-l SNAPSHOT] [-B BACKING [-F BACKING_FMT]] [-o TGT_OPTS] [-S SIZE]
        [-t CACHE] [-T SRC_CACHE] [-m N] [-W] [-r RATE] [-C]
        SRC_FILENAME [SRC_FILENAME2 ...] TGT_FILENAME

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
  -U, --force-share             also while another program writes the source
  -p, --progress                show progress
  -q, --quiet                   say nothing

Examples:
  {0} convert -O qcow2 disk.raw disk.qcow2
  {0} convert -p -c -O qcow2 -o compression_type=zstd disk.qcow2 small.qcow2
  {0} convert -l before-upgrade -O raw disk.qcow2 then.raw
)";

constexpr option kLongOptions[] = {
    {"help", no_argument, nullptr, 'h'},
    {"quiet", no_argument, nullptr, 'q'},
    {"progress", no_argument, nullptr, 'p'},
    {"object", required_argument, nullptr, kOptionObject},
    {"source-image-opts", no_argument, nullptr, kOptionImageOpts},
    {"image-opts", no_argument, nullptr, kOptionImageOpts},
    {"source-format", required_argument, nullptr, 'f'},
    {"source-cache", required_argument, nullptr, 'T'},
    {"source-snapshot", required_argument, nullptr, 'l'},
    {"force-share", no_argument, nullptr, 'U'},
    {"target-image-opts", no_argument, nullptr, kOptionTargetImageOpts},
    {"target-format", required_argument, nullptr, 'O'},
    {"target-cache", required_argument, nullptr, 't'},
    {"target-options", required_argument, nullptr, 'o'},
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
    {nullptr, 0, nullptr, 0}};

constexpr std::uint64_t kSparseMax = 16777216;  // qemu-img's limit for -S.
constexpr std::size_t kChunkBytes = 1 << 20;

struct Request {
  ImageArgument source;  // Its text is set for each source in turn.
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

// A source, and the snapshot of it that is read where one was asked for.
struct Source {
  OpenedImage opened;
  std::unique_ptr<Image> snapshot;
  [[nodiscard]] Image& image() { return snapshot != nullptr ? *snapshot : *opened.image; }
};

// Options that exclude each other. False after a message.
bool check_request(const Context& context, const Request& request) {
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
  } else if (request.salvage) {
    text = "--salvage is not supported by this version";
  }
  if (text != nullptr) {
    context.error("{}", text);
  }
  return text == nullptr;
}

// The snapshot -l asks for, by its rules: a bare word is a name or an id.
std::optional<std::size_t> find_snapshot_index(const std::vector<SnapshotInfo>& snapshots,
                                               const std::string& wanted) {
  const bool keyed = wanted.starts_with("snapshot.");
  const KeyValueList keys = keyed ? parse_key_values(wanted) : KeyValueList{};
  const std::optional<std::string> id = find_value(keys, "snapshot.id");
  const std::optional<std::string> name = find_value(keys, "snapshot.name");
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    const SnapshotInfo& snapshot = snapshots[i];
    const bool matches =
        keyed ? (id || name) && (!id || snapshot.id == *id) && (!name || snapshot.name == *name)
              : snapshot.id == wanted || snapshot.name == wanted;
    if (matches) {
      return i;
    }
  }
  return std::nullopt;
}

// False after a message.
bool load_snapshot(const Context& context, Source& source, const std::string& wanted) {
  const Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(*source.opened.image);
  std::optional<std::size_t> index;
  if (snapshots) {
    index = find_snapshot_index(*snapshots, wanted);
  }
  if (!index) {
    context.error("Failed to load snapshot: Can't find snapshot");
    return false;
  }
  Result<std::unique_ptr<Image>> image = open_snapshot(*source.opened.image, *index);
  if (!image) {
    context.error("Failed to load snapshot: {}", short_words(image.error()));
    return false;
  }
  source.snapshot = std::move(*image);
  return true;
}

// False after a message.
bool open_sources(Context& context, const Request& request, std::vector<Source>& sources) {
  if (request.snapshot && request.sources.size() > 1) {
    context.error("No support for concatenating multiple snapshot");
    return false;
  }
  const std::optional<CacheMode> cache = parse_cache_mode(request.source_cache);
  if (!cache) {
    context.error("Invalid source cache option: {}", request.source_cache);
    return false;
  }
  for (const std::string& name : request.sources) {
    ImageArgument argument = request.source;
    argument.text = name;
    argument.cache = *cache;
    std::optional<OpenedImage> opened = open_image(context, argument);
    if (!opened) {
      return false;
    }
    sources.push_back(Source{std::move(*opened), nullptr});
    if (request.snapshot && !load_snapshot(context, sources.back(), *request.snapshot)) {
      return false;
    }
  }
  return true;
}

// What the target stands on, as the options of the new image say it. False after a message.
bool settle_target(const Context& context, const Request& request, CreateValues& values) {
  const std::string format = *request.target_format;
  std::string reason;
  if (!values.add(request.target_options, reason)) {
    context.error("{}", reason);
    return false;
  }
  if (request.backing && format != "qcow2") {
    reason = fmt::format("Backing file not supported for file format '{}'", format);
  } else if (request.backing_format && format != "qcow2") {
    reason = fmt::format("Backing file format not supported for file format '{}'", format);
  }
  if (request.backing) {
    values.set("backing_file", *request.backing);
  }
  if (request.backing_format) {
    values.set("backing_fmt", *request.backing_format);
  }
  if (reason.empty() && values.find("backing_file")) {
    if (request.sources.size() > 1) {
      reason =
          "Having a backing file for the target makes no sense when concatenating multiple "
          "input images";
    } else if (!values.find("backing_fmt")) {
      reason = "Use of backing file requires explicit backing format";
    }
  }
  if (reason.empty() && request.compress) {
    if (format != "qcow2") {
      reason = "Compression not supported for this file format";
    } else if (values.find("preallocation").value_or("off") != "off") {
      reason = "Compression and preallocation not supported at the same time";
    }
  }
  if (!reason.empty()) {
    context.error("{}", reason);
  }
  return reason.empty();
}

// False after a message.
bool create_target(Context& context, const Request& request, CreateValues& values,
                   std::uint64_t size) {
  values.set("size", std::to_string(size));
  std::string reason;
  const std::optional<CreateOptions> options = values.to_options(reason);
  if (options) {
    const Result<void> created = create_image(*context.engine(), request.target, *options);
    if (created) {
      return true;
    }
    reason = create_words(created.error(), request.target, *request.target_format);
  }
  context.error("{}: error while converting {}: {}", request.target, *request.target_format,
                reason);
  return false;
}

std::optional<OpenedImage> open_target(Context& context, const Request& request) {
  const std::optional<CacheMode> cache = parse_cache_mode(request.target_cache);
  if (!cache) {
    context.error("Invalid cache option: {}", request.target_cache);
    return std::nullopt;
  }
  ImageArgument argument;
  argument.text = request.target;
  argument.image_opts = request.target_image_opts;
  if (!request.target_image_opts) {
    argument.format = request.target_format;
  }
  argument.writable = true;
  argument.cache = *cache;
  return open_image(context, argument);
}

bool is_block_device(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
}

// The library's options for this target.
ConvertOptions convert_options(const Request& request, const OpenedImage& target,
                               bool has_backing) {
  ConvertOptions options;
  const ImageFacts facts = target.image->facts();
  options.compressed = request.compress;
  options.chunk_bytes = kChunkBytes;
  if (request.compress) {
    options.cluster_bytes = facts.cluster_bytes;
    options.chunk_bytes = std::max<std::size_t>(kChunkBytes, facts.cluster_bytes);
  }
  options.sparse_bytes = static_cast<std::size_t>(request.sparse.value_or(4096));
  options.parallel = static_cast<unsigned>(request.parallel);
  options.out_of_order = request.out_of_order;
  options.rate_bytes_per_second = request.rate;
  options.cancel = &interrupted();
  options.skip_backing = has_backing;
  if (has_backing && target.image->backing() != nullptr) {
    options.target_backing_size = target.image->backing()->size();
  }
  const bool fresh = !request.skip_create && !is_block_device(target.filename);
  options.target_is_zero = request.target_is_zero || (fresh && facts.backing_name.empty());
  return options;
}

int tell_failure(const Context& context, const Error& error, const ConvertReport& report) {
  if (error.code == ErrorCode::unsupported) {
    context.error("error while writing at byte {}: {}", report.failed_offset,
                  system_words(ENOTSUP));
  } else {
    context.error("error while {} at byte {}: {}",
                  report.failed_side == CopySide::target ? "writing" : "reading",
                  report.failed_offset, short_words(error));
  }
  return 1;
}

int copy(Context& context, const Request& request, std::vector<Source>& sources,
         OpenedImage& target, bool has_backing, std::uint64_t total) {
  Progress progress(request.progress && !request.quiet, 1);
  ConvertOptions options = convert_options(request, target, has_backing);
  std::uint64_t done_before = 0;
  options.progress = [&](std::uint64_t done, std::uint64_t) {
    progress.report(done_before + done, total);
  };
  catch_interrupts();
  for (Source& source : sources) {
    ConvertReport report;
    options.target_offset = done_before;
    const Result<void> converted = convert(source.image(), *target.image, options, &report);
    if (!converted && converted.error().code == ErrorCode::cancelled) {
      // What was copied stays, in a consistent image.
      (void)target.image->close();
      exit_by_signal();
    }
    if (!converted) {
      return tell_failure(context, converted.error(), report);
    }
    done_before += source.image().size();
  }
  progress.report(total, total);
  const Result<void> closed = target.image->close();
  if (!closed) {
    context.error("error while writing to {}: {}", target.filename, short_words(closed.error()));
    return 1;
  }
  return 0;
}

// False after a message: bitmaps cannot be copied.
bool check_bitmaps(const Context& context, const Request& request,
                   const std::vector<Source>& sources) {
  if (!request.bitmaps) {
    return true;
  }
  if (sources.front().opened.format != "qcow2") {
    context.error("Source lacks bitmap support");
  } else if (*request.target_format != "qcow2") {
    context.error("Format driver '{}' does not support bitmaps", *request.target_format);
  } else {
    context.error("--bitmaps is not supported by this version");
  }
  return false;
}

int convert_images(Context& context, Request& request) {
  std::vector<Source> sources;
  if (!open_sources(context, request, sources)) {
    return 1;
  }
  std::uint64_t total = 0;
  for (Source& source : sources) {
    total += source.image().size();
  }
  if (!request.target_format) {
    request.target_format = "raw";
  }
  if (*request.target_format == "file" || !format_by_name(*request.target_format)) {
    context.error("Unknown file format '{}'", *request.target_format);
    return 1;
  }
  CreateValues values(*request.target_format);
  if (!request.skip_create && !settle_target(context, request, values)) {
    return 1;
  }
  if (!check_bitmaps(context, request, sources)) {
    return 1;
  }
  if (request.target_is_zero && request.backing) {
    context.error("Cannot use --target-is-zero when the destination image has a backing file");
    return 1;
  }
  if (!request.skip_create && !create_target(context, request, values, total)) {
    return 1;
  }
  std::optional<OpenedImage> target = open_target(context, request);
  if (!target) {
    return 1;
  }
  if (request.compress && target->image->facts().format != Format::qcow2) {
    context.error("Compression not supported for this file format");
    return 1;
  }
  if (target->image->size() < total) {
    context.error("output file is smaller than input file");
    return 1;
  }
  const bool has_backing = request.backing || values.find("backing_file");
  return copy(context, request, sources, *target, has_backing, total);
}

// Options with a number. False after a message.
bool take_number(const Context& context, int letter, const std::string& text, Request& request) {
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
  const std::optional<std::uint64_t> number =
      letter == 'm' ? parse_number(context, "number of coroutines", text, 1, 16)
                    : parse_number(context, "rate limit", text, 0, kNumberMax);
  if (number) {
    (letter == 'm' ? request.parallel : request.rate) = *number;
  }
  return number.has_value();
}

// False after a message.
bool take_target_options(const Context& context, const std::string& text, Request& request) {
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
bool take_flag(int letter, Request& request) {
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
    case kOptionSkipBroken:
      request.skip_broken_bitmaps = true;
      break;
    default:
      return letter == kOptionObject;
  }
  return true;
}

// Options with a value. False after a message.
bool take_value(const Context& context, int letter, const char* value, Request& request) {
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
      return true;
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
      return take_number(context, letter, value, request);
    default:
      context.print_try_help("convert");
      return false;
  }
}

}  // namespace

int run_convert(Context& context, int argc, char** argv) {
  Request request;
  OptionParser parser(context, "convert", argc, argv,
                      "hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:", kLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    if (letter == 'h') {
      print(kHelp, context.program);
      return 0;
    }
    if (!take_flag(letter, request) && !take_value(context, letter, parser.value(), request)) {
      return 1;
    }
  }
  request.sources = parser.operands();
  if (asks_for_help(request.target_options)) {
    print_create_help(request.target_format.value_or("raw"), !request.sources.empty());
    return 0;
  }
  if (!check_request(context, request) || !check_image_opts(context, request.source)) {
    return 1;
  }
  if (request.sources.size() < 2) {
    context.error("Must specify image file name");
    return 1;
  }
  request.target = request.sources.back();
  request.sources.pop_back();
  return convert_images(context, request);
}

}  // namespace varve::tool
