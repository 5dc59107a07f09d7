// Images named on the command line: plain names, file: names, json:{...} and --image-opts, with
// the format given or detected as qemu-img detects it; and the messages when opening fails.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <varve/image.h>

#include "context.h"
#include "options.h"

namespace varve::tool {

struct ImageArgument {
  std::string text;                   // As given.
  std::optional<std::string> format;  // -f.
  bool image_opts = false;            // `text` is a list of key=value pairs.
  bool writable = false;
  bool force_share = false;
  bool allow_corrupt = false;  // Written although marked corrupt: to repair it.
  bool open_backing = true;
  bool open_data_file = true;
  bool untrusted = false;  // OpenOptions::untrusted.
  bool on_budget = false;  // Looking at it costs no more than Budget::standard().
  CacheMode cache;
  bool discard_unmap = false;
};

// Where an image is and how to open it.
struct ResolvedImage {
  std::string filename;
  std::string format;  // "raw", "qcow2".
  OpenOptions options;
};

struct OpenedImage {
  std::unique_ptr<Image> image;
  std::string filename;
  std::string format;
};

// Opens what `argument` names. Nothing after "PROGRAM: Could not open 'TEXT': reason".
[[nodiscard]] std::optional<OpenedImage> open_image(Context& context,
                                                    const ImageArgument& argument);

// As open_image; the reason goes to `reason` instead of stderr (without the leading "Could not open
// 'TEXT': ").
[[nodiscard]] std::optional<OpenedImage> open_image_quietly(Context& context,
                                                            const ImageArgument& argument,
                                                            std::string& reason);

// Finds the file and the format without opening the image. Prints the warning about a guessed raw
// format where the image is to be written.
[[nodiscard]] std::optional<ResolvedImage> resolve_image(Context& context,
                                                         const ImageArgument& argument,
                                                         std::string& reason);

// The file that a plain name stands for: "file:" is dropped. Nothing, with the reason, for other
// protocols.
[[nodiscard]] std::optional<std::string> plain_filename(const std::string& text,
                                                        std::string& reason);

// The name of a format as the command line spells it.
[[nodiscard]] std::optional<Format> format_by_name(std::string_view name);
[[nodiscard]] const char* format_name(Format format);

// `name` as found in the image `referrer`: relative names start from its folder.
[[nodiscard]] std::string resolve_name(const std::string& referrer, const std::string& name);

// Takes -f, -U, --image-opts, --untrusted, --no-budget and --object. False for every other letter.
[[nodiscard]] bool take_image_option(int letter, const OptionParser& parser,
                                     ImageArgument& argument);

// Takes the one operand of a verb that works on one image, and checks what was said of it. False
// after a message.
[[nodiscard]] bool take_only_image(const Context& context, std::string_view verb,
                                   const OptionParser& parser, ImageArgument& argument);

// Whether -f and --image-opts were not both given; says so otherwise.
[[nodiscard]] bool check_image_opts(const Context& context, const ImageArgument& argument);

// Closes the image and says when that fails. False then.
bool close_image(Context& context, OpenedImage& opened);

}  // namespace varve::tool
