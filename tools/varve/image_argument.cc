#include "image_argument.h"

#include <cerrno>

#include <sys/stat.h>

#include "json_text.h"
#include "messages.h"
#include "printable.h"

namespace varve::tool {

namespace {

bool is_on(const std::string& value) {
  return value == "on" || value == "true" || value == "yes";
}

// One option of a block node. False when nobody knows it.
bool take_node_option(const std::string& key, const std::string& value, ResolvedImage& image) {
  if (key == "driver" || key == "file.driver") {
    return true;
  }
  if (key == "file.filename" || key == "filename") {
    image.filename = value;
  } else if (key == "cache.direct" || key == "file.cache.direct") {
    image.options.file.direct = is_on(value);
  } else if (key == "cache.no-flush" || key == "file.cache.no-flush") {
    image.options.file.fsync = !is_on(value);
  } else if (key == "force-share" || key == "file.force-share") {
    image.options.force_share = is_on(value);
  } else if (key == "file.locking" || key == "locking") {
    image.options.lock = value != "off";
  } else if (key == "discard" || key == "file.discard") {
    image.options.discard =
        value == "unmap" || value == "on" ? DiscardMode::unmap : DiscardMode::ignore;
  } else if (key == "read-only" || key == "auto-read-only" || key == "file.aio" ||
             key == "node-name" || key == "file.node-name") {
    return true;  // The verb decides how the image is opened.
  } else {
    return false;
  }
  return true;
}

// json:{...} and --image-opts. Only the drivers file, raw and qcow2 are known.
bool resolve_node(const KeyValueList& list, ResolvedImage& image, std::string& reason) {
  const std::optional<std::string> driver = find_value(list, "driver");
  const std::optional<std::string> file_driver = find_value(list, "file.driver");
  if (!driver && !find_value(list, "file.filename") && !file_driver) {
    reason = "Must specify either driver or file";
    return false;
  }
  for (const std::optional<std::string>& name : {driver, file_driver}) {
    if (name && *name != "file" && *name != "raw" && *name != "qcow2") {
      reason = fmt::format("Unknown driver '{}'", *name);
      return false;
    }
  }
  if (file_driver && *file_driver != "file") {
    reason = fmt::format("the driver '{}' cannot stand below another one here", *file_driver);
    return false;
  }
  const bool protocol = driver && *driver == "file";
  for (const auto& [key, value] : list) {
    const bool belongs = (key == "filename") == protocol || key.find("ilename") == key.npos;
    if (!belongs || !take_node_option(key, value, image)) {
      reason = fmt::format("Block format '{}' does not support the option '{}'",
                           driver.value_or("qcow2"), key);
      return false;
    }
  }
  if (image.filename.empty()) {
    reason = protocol ? "The 'file' block driver requires a file name"
                      : "A block device must be specified for \"file\"";
    return false;
  }
  if (driver) {
    image.format = protocol ? "raw" : *driver;
  }
  return true;
}

bool resolve_plain(const std::string& text, ResolvedImage& image, std::string& reason) {
  const std::optional<std::string> filename = plain_filename(text, reason);
  image.filename = filename.value_or("");
  if (filename && image.filename.empty()) {
    reason = "The 'file' block driver requires a file name";
    return false;
  }
  return filename.has_value();
}

bool resolve_text(const ImageArgument& argument, ResolvedImage& image, std::string& reason) {
  if (argument.image_opts) {
    return resolve_node(parse_key_values(argument.text, "file"), image, reason);
  }
  if (!argument.text.starts_with("json:")) {
    return resolve_plain(argument.text, image, reason);
  }
  const Json parsed = Json::parse(argument.text.substr(5), nullptr, false);
  if (!parsed.is_object()) {
    reason = parsed.is_discarded() ? "Could not parse the JSON options: JSON parse error"
                                   : "Invalid JSON object given";
    return false;
  }
  return resolve_node(key_values_of(parsed), image, reason);
}

bool check_regular(const std::string& filename, bool writable, std::string& reason) {
  struct stat status {};
  if (::stat(filename.c_str(), &status) != 0) {
    reason = fmt::format("Could not open '{}': {}", filename, system_words(errno));
    return false;
  }
  if (S_ISDIR(status.st_mode) && writable) {
    reason = fmt::format("Could not open '{}': {}", filename, system_words(EISDIR));
    return false;
  }
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    reason = fmt::format("'file' driver requires '{}' to be a regular file", filename);
    return false;
  }
  return true;
}

bool detect_format(Context& context, bool writable, ResolvedImage& image, std::string& reason) {
  if (context.strict_format && writable) {
    reason = "the format is not given and guessing it is refused: add -f qcow2 or -f raw";
    return false;
  }
  Result<std::unique_ptr<Storage>> storage =
      open_file(*context.engine(), image.filename, FileOptions{});
  if (!storage) {
    reason = open_words(storage.error(), image.filename, false);
    return false;
  }
  const Result<ProbeReport> report = probe(**storage);
  if (!report) {
    reason = fmt::format("Could not read image for determining its format: {}",
                         short_words(report.error()));
    return false;
  }
  image.format = report->format;
  if (!format_by_name(image.format)) {
    reason = fmt::format("Unknown file format '{}'", image.format);
    return false;
  }
  return true;
}

// Finds out which file of the chain made an open fail, one layer after the other.
std::string explain_failure(Context& context, ResolvedImage image, Error error) {
  std::string prefix;
  if (error.code == ErrorCode::over_budget) {
    return describe(error);
  }
  for (unsigned depth = 0; depth <= image.options.chain_depth_max; ++depth) {
    const bool writable = image.options.writable && depth == 0;
    OpenOptions alone;
    alone.format = *format_by_name(image.format);
    alone.force_share = true;
    alone.open_backing = false;
    alone.open_data_file = false;
    alone.untrusted = image.options.untrusted;
    alone.allow_corrupt = image.options.allow_corrupt;
    alone.budget = image.options.budget;
    Result<std::unique_ptr<Image>> layer = Image::open(*context.engine(), image.filename, alone);
    if (!layer) {
      return prefix + open_words(layer.error(), printable(image.filename), writable);
    }
    const ImageFacts facts = (*layer)->facts();
    (void)(*layer)->close();
    layer->reset();
    if (writable && facts.corrupt) {
      return "qcow2: Image is corrupt; cannot be opened read/write";
    }
    if (error.code == ErrorCode::busy) {
      Result<std::unique_ptr<Storage>> storage =
          open_file(*context.engine(), image.filename, FileOptions{.writable = writable});
      if (storage && !(*storage)->lock(writable, false)) {
        return prefix + open_words(error, printable(image.filename), writable);
      }
    }
    if (!facts.data_file_name.empty() && image.options.open_data_file) {
      const std::string name = resolve_name(image.filename, facts.data_file_name);
      std::string reason;
      if (!check_regular(name, false, reason)) {
        return prefix + printable(reason);
      }
    }
    if (facts.backing_name.empty() || !image.options.open_backing) {
      return prefix + open_words(error, printable(image.filename), writable);
    }
    prefix += "Could not open backing file: ";
    image.filename = resolve_name(image.filename, facts.backing_name);
    image.format = facts.backing_format;
    if (!format_by_name(image.format)) {
      return prefix + (image.format.empty()
                           ? "the image does not say in which format it is"
                           : fmt::format("Unknown driver '{}'", printable(image.format)));
    }
  }
  return prefix + describe(error);
}

void warn_guessed_raw(const std::string& filename) {
  std::fflush(stdout);
  fmt::print(stderr,
             "WARNING: Image format was not specified for '{}' and probing guessed raw.\n"
             "         Automatically detecting the format is dangerous for raw images, write "
             "operations on block 0 will be restricted.\n"
             "         Specify the 'raw' format explicitly to remove the restrictions.\n",
             filename);
}

}  // namespace

std::optional<std::string> plain_filename(const std::string& text, std::string& reason) {
  const std::size_t stop = text.find_first_of(":/");
  if (stop == std::string::npos || text[stop] != ':') {
    return text;
  }
  if (text.substr(0, stop) != "file") {
    reason = fmt::format("Unknown protocol '{}'", text.substr(0, stop));
    return std::nullopt;
  }
  return text.substr(stop + 1);
}

std::optional<Format> format_by_name(std::string_view name) {
  if (name == "qcow2") {
    return Format::qcow2;
  }
  // The protocol layer of a local file has the file's own content, which is what raw means.
  if (name == "raw" || name == "file") {
    return Format::raw;
  }
  return std::nullopt;
}

const char* format_name(Format format) {
  return format == Format::qcow2 ? "qcow2" : "raw";
}

std::string resolve_name(const std::string& referrer, const std::string& name) {
  const std::size_t slash = referrer.rfind('/');
  if (name.empty() || name.front() == '/' || slash == std::string::npos) {
    return name;
  }
  return referrer.substr(0, slash + 1) + name;
}

std::optional<ResolvedImage> resolve_image(Context& context, const ImageArgument& argument,
                                           std::string& reason) {
  ResolvedImage image;
  image.options.writable = argument.writable;
  image.options.force_share = argument.force_share;
  image.options.allow_corrupt = argument.allow_corrupt;
  image.options.open_backing = argument.open_backing;
  image.options.open_data_file = argument.open_data_file;
  image.options.untrusted = argument.untrusted;
  if (argument.on_budget) {
    image.options.budget = Budget::standard();
  }
  image.options.file.direct = argument.cache.direct;
  image.options.file.fsync = !argument.cache.flush_ignored;
  image.options.discard = argument.discard_unmap ? DiscardMode::unmap : DiscardMode::ignore;
  if (context.engine() == nullptr) {
    reason = "there is no I/O engine";
    return std::nullopt;
  }
  if (argument.force_share && argument.writable) {
    reason = "force-share=on can only be used with read-only images";
    return std::nullopt;
  }
  if (!resolve_text(argument, image, reason)) {
    return std::nullopt;
  }
  if (argument.format) {
    if (!format_by_name(*argument.format)) {
      reason = fmt::format("Unknown driver '{}'", *argument.format);
      return std::nullopt;
    }
    image.format = *argument.format;
  }
  if (!check_regular(image.filename, argument.writable, reason)) {
    return std::nullopt;
  }
  if (image.format.empty() && !detect_format(context, argument.writable, image, reason)) {
    return std::nullopt;
  }
  image.options.format = *format_by_name(image.format);
  return image;
}

std::optional<OpenedImage> open_image_quietly(Context& context, const ImageArgument& argument,
                                              std::string& reason) {
  const std::optional<ResolvedImage> resolved = resolve_image(context, argument, reason);
  if (!resolved) {
    return std::nullopt;
  }
  Result<std::unique_ptr<Image>> image =
      Image::open(*context.engine(), resolved->filename, resolved->options);
  if (!image) {
    reason = explain_failure(context, *resolved, image.error());
    return std::nullopt;
  }
  const bool guessed = !argument.format && !argument.image_opts &&
                       !argument.text.starts_with("json:") && resolved->format == "raw";
  if (guessed && argument.writable) {
    warn_guessed_raw(resolved->filename);
  }
  return OpenedImage{std::move(*image), resolved->filename, resolved->format};
}

std::optional<OpenedImage> open_image(Context& context, const ImageArgument& argument) {
  std::string reason;
  std::optional<OpenedImage> opened = open_image_quietly(context, argument, reason);
  if (!opened) {
    context.error("Could not open '{}': {}", argument.text, reason);
  }
  return opened;
}

bool take_image_option(int letter, const OptionParser& parser, ImageArgument& argument) {
  switch (letter) {
    case 'f':
      argument.format = parser.value();
      return true;
    case 'U':
      argument.force_share = true;
      return true;
    case kOptionImageOpts:
      argument.image_opts = true;
      return true;
    case kOptionUntrusted:
      argument.untrusted = true;
      return true;
    case kOptionNoBudget:
      argument.on_budget = false;
      return true;
    default:
      return letter == kOptionObject;
  }
}

bool take_only_image(const Context& context, std::string_view verb, const OptionParser& parser,
                     ImageArgument& argument) {
  const std::vector<std::string> operands = parser.operands();
  if (operands.size() != 1) {
    context.usage_error(verb, "Expecting one image file name");
    return false;
  }
  argument.text = operands[0];
  return check_image_opts(context, argument);
}

bool check_image_opts(const Context& context, const ImageArgument& argument) {
  if (argument.image_opts && argument.format) {
    context.error("--image-opts and --format are mutually exclusive");
    return false;
  }
  return true;
}

bool close_image(Context& context, OpenedImage& opened) {
  const Result<void> closed = opened.image->close();
  opened.image.reset();
  if (!closed) {
    context.error("{}: {}", opened.filename, describe(closed.error()));
    return false;
  }
  return true;
}

}  // namespace varve::tool
