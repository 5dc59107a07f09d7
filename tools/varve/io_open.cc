#include "io_open.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <unistd.h>
#include <varve/create.h>

#include "io_parse.h"
#include "messages.h"

namespace varve::tool {

namespace {

bool is_on(const std::optional<std::string>& value) {
  return value && *value == "on";
}

// Combinations qemu refuses before it looks at the file.
bool check_combination(const IoSettings& settings, std::string& reason) {
  const bool base_writable = !settings.read_only && !settings.snapshot;
  if (settings.force_share && base_writable) {
    reason = "force-share=on can only be used with read-only images";
  } else if (!settings.read_only && is_on(find_value(settings.options, "read-only"))) {
    reason = "Block node is read-only";
  } else {
    return true;
  }
  return false;
}

// Combinations qemu refuses once it has found the file.
bool check_opened(const IoSettings& settings, std::string& reason) {
  const bool direct = settings.cache.direct || is_on(find_value(settings.options, "cache.direct"));
  if (settings.native_aio && !direct) {
    reason = kNativeNeedsDirect;
    return false;
  }
  if (settings.copy_on_read && settings.read_only) {
    reason = "Can't use copy-on-read on read-only device";
    return false;
  }
  return true;
}

std::string node_text(const IoSettings& settings) {
  std::string text;
  if (settings.name) {
    const bool protocol = find_value(settings.options, "driver") == "file";
    text = (protocol ? "filename=" : "file.filename=") + escape_commas(*settings.name);
  }
  for (const auto& [key, value] : settings.options) {
    if (!is_tuning_option(key)) {
      text += (text.empty() ? "" : ",") + key + "=" + escape_commas(value);
    }
  }
  return text;
}

ImageArgument make_argument(const IoSettings& settings) {
  ImageArgument argument;
  argument.image_opts = !settings.options.empty() || !settings.name;
  argument.text = argument.image_opts ? node_text(settings) : *settings.name;
  argument.format = settings.format;
  argument.writable = !settings.read_only && !settings.snapshot;
  argument.force_share = settings.force_share;
  argument.cache = settings.cache;
  argument.discard_unmap = settings.discard;
  return argument;
}

// A file without a name, gone when it is closed.
Result<std::unique_ptr<Storage>> make_temporary(Engine& engine) {
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder == nullptr ? "/var/tmp" : folder) + "/varve-io.XXXXXX";
  const int fd = ::mkstemp(path.data());
  if (fd < 0) {
    Error error;
    error.os_errno = errno;
    error.what = "cannot make a temporary file";
    return error;
  }
  (void)::unlink(path.c_str());
  FileOptions options;
  options.writable = true;
  options.fsync = false;  // Nothing here outlives the process.
  Result<std::unique_ptr<Storage>> storage = adopt_file(engine, fd, options);
  if (!storage) {
    (void)::close(fd);
  }
  return storage;
}

// An empty qcow2 image over `base`, in a temporary file.
Result<std::unique_ptr<Image>> open_overlay(Engine& engine, const OpenedImage& base,
                                            const IoSettings& settings) {
  CreateOptions create;
  create.size_bytes = base.image->size();
  create.backing_name = std::filesystem::absolute(base.filename).string();
  create.backing_format = format_name(base.image->facts().format);
  Result<std::unique_ptr<Storage>> storage = make_temporary(engine);
  if (!storage) {
    return storage.error();
  }
  if (const Result<void> created = create_image_in(**storage, nullptr, create); !created) {
    return created.error();
  }
  OpenOptions open;
  open.writable = !settings.read_only;
  open.file.fsync = false;
  open.discard = settings.discard ? DiscardMode::unmap : DiscardMode::ignore;
  return Image::open(std::move(*storage), "/", open);
}

// -i. The engine is chosen before the first image is opened; later on it stays what it is.
bool take_engine(Context& context, IoSettings& settings, std::string_view name) {
  settings.native_aio = name == "native";
  if (name == "threads") {
    context.engine_options.backend = AioBackend::threads;
  } else if (name == "io_uring") {
    context.engine_options.backend = AioBackend::io_uring;
  } else if (!settings.native_aio) {
    print_io_error(context, fmt::format("Invalid aio option: {}", name));
    return false;
  }
  return true;
}

}  // namespace

std::optional<OpenedImage> open_io_image(Context& context, const IoSettings& settings,
                                         std::string& reason) {
  if (!settings.name && settings.options.empty()) {
    reason = "Must specify either driver or file";
    return std::nullopt;
  }
  if (!check_combination(settings, reason)) {
    return std::nullopt;
  }
  std::optional<OpenedImage> opened = open_image_quietly(context, make_argument(settings), reason);
  if (!opened) {
    return opened;
  }
  if (!check_opened(settings, reason)) {
    (void)opened->image->close();
    return std::nullopt;
  }
  if (!settings.snapshot) {
    return opened;
  }
  Result<std::unique_ptr<Image>> overlay = open_overlay(*context.engine(), *opened, settings);
  (void)opened->image->close();
  if (!overlay) {
    reason = describe(overlay.error());
    return std::nullopt;
  }
  return OpenedImage{std::move(*overlay), opened->filename, "qcow2"};
}

void add_node_options(const Context& context, std::string_view text, KeyValueList& list) {
  for (const std::string& element : find_short_booleans(text)) {
    const bool off = element.starts_with("no");
    print_io_error(context,
                   fmt::format("warning: short-form boolean option '{}' deprecated\n"
                               "Please use {}={} instead",
                               element, off ? element.substr(2) : element, off ? "off" : "on"));
  }
  const KeyValueList parsed = parse_key_values(text);
  list.insert(list.end(), parsed.begin(), parsed.end());
}

bool parse_discard_mode(std::string_view text, bool& discard) {
  discard = text == "on" || text == "unmap";
  return discard || text == "off" || text == "ignore";
}

bool take_open_option(Context& context, IoSettings& settings, int letter, const char* value) {
  switch (letter) {
    case 'r':
      settings.read_only = true;
      return true;
    case 's':
      settings.snapshot = true;
      return true;
    case 'C':
      settings.copy_on_read = true;
      return true;
    case 'U':
      settings.force_share = true;
      return true;
    case 'k':
      settings.native_aio = true;
      return true;
    case 'n':
      settings.cache.direct = true;
      settings.cache.write_through = false;
      return true;
    case 'i':
      return take_engine(context, settings, value);
    case 'd':
      if (!parse_discard_mode(value, settings.discard)) {
        print_io_error(context, fmt::format("Invalid discard option: {}", value));
        return false;
      }
      return true;
    default:
      break;
  }
  const std::optional<CacheMode> cache = parse_cache_mode(value);
  if (!cache) {
    print_io_error(context, fmt::format("Invalid cache option: {}", value));
    return false;
  }
  settings.cache = *cache;
  return true;
}

bool is_tuning_option(std::string_view key) {
  static constexpr std::string_view kNames[] = {
      "lazy-refcounts",      "pass-discard-request", "pass-discard-snapshot",
      "pass-discard-other",  "discard-no-unref",     "overlap-check",
      "cache-size",          "l2-cache-size",        "l2-cache-entry-size",
      "refcount-cache-size", "cache-clean-interval", "detect-zeroes",
  };
  return key.starts_with("overlap-check.") ||
         std::find(std::begin(kNames), std::end(kNames), key) != std::end(kNames);
}

void print_io_error(const Context& context, std::string_view text) {
  (void)std::fputs(fmt::format("{}: {}\n", context.program, text).c_str(), stderr);
}

}  // namespace varve::tool
