// varve convert: copies one or several images into a new or an existing one.

#include <algorithm>
#include <thread>

#include <sys/stat.h>
#include <varve/convert.h>
#include <varve/snapshot.h>

#include "convert_request.h"
#include "create_options.h"
#include "image_argument.h"
#include "messages.h"
#include "progress.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr std::size_t kChunkBytes = 1 << 20;
constexpr unsigned kCompressThreadsMax = 16;

// A source, and the snapshot of it that is read where one was asked for.
struct Source {
  OpenedImage opened;
  std::unique_ptr<Image> snapshot;
  [[nodiscard]] Image& image() { return snapshot != nullptr ? *snapshot : *opened.image; }
};

// The snapshot -l asks for: snapshot.id= and snapshot.name= must both fit; a bare word is an id,
// else a name.
std::optional<std::size_t> find_snapshot_index(const std::vector<SnapshotInfo>& snapshots,
                                               const std::string& wanted) {
  const bool keyed = wanted.starts_with("snapshot.");
  const KeyValueList keys = keyed ? parse_key_values(wanted) : KeyValueList{};
  const std::optional<std::string> id = find_value(keys, "snapshot.id");
  const std::optional<std::string> name = find_value(keys, "snapshot.name");
  std::optional<std::size_t> named;
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    const SnapshotInfo& snapshot = snapshots[i];
    if (keyed ? (id || name) && (!id || snapshot.id == *id) && (!name || snapshot.name == *name)
              : snapshot.id == wanted) {
      return i;
    }
    if (!keyed && !named && snapshot.name == wanted) {
      named = i;
    }
  }
  return named;
}

// False after a message.
bool load_snapshot(const Context& context, Source& source, const std::string& wanted) {
  if (source.opened.image->facts().format == Format::raw) {
    context.error(
        "Failed to load snapshot: Block format '{}' used by device '' does not support temporarily "
        "loading internal snapshots",
        source.opened.format);
    return false;
  }
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
bool open_sources(Context& context, const ConvertRequest& request, std::vector<Source>& sources) {
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
bool settle_target(const Context& context, const ConvertRequest& request, CreateValues& values) {
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
bool create_target(Context& context, const ConvertRequest& request, CreateValues& values,
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

std::optional<OpenedImage> open_target(Context& context, const ConvertRequest& request) {
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
ConvertOptions convert_options(const ConvertRequest& request, const OpenedImage& target,
                               bool has_backing) {
  ConvertOptions options;
  const ImageFacts facts = target.image->facts();
  options.compressed = request.compress;
  options.chunk_bytes = kChunkBytes;
  if (request.compress) {
    options.cluster_bytes = facts.cluster_bytes;
    options.chunk_bytes = std::max<std::size_t>(kChunkBytes, facts.cluster_bytes);
    options.threads = std::clamp(std::thread::hardware_concurrency(), 1u, kCompressThreadsMax);
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
  if (error.code == ErrorCode::over_budget) {
    context.error("error while writing at byte {}: more than --max-output would be written",
                  report.failed_offset);
  } else if (error.code == ErrorCode::unsupported) {
    context.error("error while writing at byte {}: {}", report.failed_offset,
                  system_words(ENOTSUP));
  } else {
    context.error("error while {} at byte {}: {}",
                  report.failed_side == CopySide::target ? "writing" : "reading",
                  report.failed_offset, short_words(error));
  }
  return 1;
}

// qemu-img's warning about a sector that is taken for zeros.
void warn_unreadable(const Context& context, std::uint64_t offset, const Error& error,
                     bool is_status) {
  const std::string words = system_words(error.os_errno != 0 ? error.os_errno : EIO);
  context.error("warning: error while reading {}offset {}: {}", is_status ? "block status at " : "",
                offset, words);
}

int copy(Context& context, const ConvertRequest& request, std::vector<Source>& sources,
         OpenedImage& target, bool has_backing, std::uint64_t total) {
  Progress progress(request.progress && !request.quiet, 1);
  ConvertOptions options = convert_options(request, target, has_backing);
  std::uint64_t done_before = 0;
  options.progress = [&](std::uint64_t done, std::uint64_t) {
    progress.report(done_before + done, total);
  };
  options.salvage = request.salvage;
  if (!request.quiet) {
    options.unreadable = [&](std::uint64_t offset, const Error& error, bool is_status) {
      warn_unreadable(context, offset, error, is_status);
    };
  }
  catch_interrupts();
  std::uint64_t left = request.max_output;
  for (Source& source : sources) {
    ConvertReport report;
    options.target_offset = done_before;
    options.output_bytes_max = left;
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
    // One byte is less than anything that could be written: nothing more may be.
    left = left == 0 ? 0 : std::max<std::uint64_t>(left - report.written_bytes, 1);
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
bool check_bitmaps(const Context& context, const ConvertRequest& request,
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

int convert_images(Context& context, ConvertRequest& request) {
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

}  // namespace

int run_convert(Context& context, int argc, char** argv) {
  std::optional<ConvertRequest> request = parse_convert(context, argc, argv);
  if (!request) {
    return 1;
  }
  if (request->help) {
    print_convert_help(context);
    return 0;
  }
  if (request->options_help) {
    print_create_help(request->target_format.value_or("raw"), !request->sources.empty());
    return 0;
  }
  return convert_images(context, *request);
}

}  // namespace varve::tool
