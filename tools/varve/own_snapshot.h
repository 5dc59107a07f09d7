// What the files of Varve's own snapshot actions share.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <varve/state.h>

#include "context.h"
#include "image_argument.h"

namespace varve::tool {

// Opens a qcow2 image for an action. Nothing after a message.
[[nodiscard]] std::optional<OpenedImage> open_own(Context& context, const std::string& name,
                                                  bool writable);
// "PROGRAM: FILE: what: error"; always 1.
int fail_own(const Context& context, const OpenedImage& opened, const std::string& what,
             const Error& error);
// By name, id or UUID. Nothing after a message; a name that several snapshots share is one.
[[nodiscard]] std::optional<std::size_t> find_own(const Context& context, const OpenedImage& opened,
                                                  const std::string& text);

// --- own_snapshot_state.cc

// Writes the file (or standard input, "-") into the image as the state of a snapshot to come. Null
// after a message.
[[nodiscard]] std::unique_ptr<StateWriter> load_state(Context& context, const OpenedImage& opened,
                                                      const std::string& file);
int run_read_state(Context& context, const std::string& image, const std::string& name);

// --- own_snapshot_stream.cc

// diff, export and import, with argv[0] being that word.
int run_own_snapshot_stream(Context& context, int argc, char** argv);

}  // namespace varve::tool
