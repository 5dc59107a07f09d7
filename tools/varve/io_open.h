// Opening images for `varve io`: the combinations of options that qemu refuses, options of block
// nodes, and the overlay of -s.
#pragma once

#include <optional>
#include <string>

#include "image_argument.h"
#include "io_session.h"

namespace varve::tool {

// Opens what `settings` names. On failure `reason` is what follows "can't open device NAME: ".
[[nodiscard]] std::optional<OpenedImage> open_io_image(Context& context, const IoSettings& settings,
                                                       std::string& reason);

// The options in `text` added to `list`, with qemu's warning for keys without a value.
void add_node_options(const Context& context, std::string_view text, KeyValueList& list);

// One of the letters that `varve io` and the command `open` share: r s C n U k i t d. False after a
// message.
bool take_open_option(Context& context, IoSettings& settings, int letter, const char* value);

// What -d and the option `discard` say: off, ignore, on, unmap.
[[nodiscard]] bool parse_discard_mode(std::string_view text, bool& discard);

// Options of a qcow2 node that only tune QEMU's caches and checks: taken and ignored.
[[nodiscard]] bool is_tuning_option(std::string_view key);

// "PROGRAM: text" on stderr. Unlike Context::error this leaves standard output alone, whose order
// beside stderr scripts know from qemu-io.
void print_io_error(const Context& context, std::string_view text);

}  // namespace varve::tool
