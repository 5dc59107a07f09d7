// varve snapshot diff | export | import.

#include <varve/diff.h>

#include "json_text.h"
#include "own_snapshot.h"
#include "own_verb.h"
#include "stream_file.h"

#include <CLI/CLI.hpp>

namespace varve::tool {

namespace {

// An empty name is the disk as it is now. Nothing after a message.
std::optional<DiffSide> find_side(const Context& context, const OpenedImage& opened,
                                  const std::string& name) {
  if (name.empty()) {
    return DiffSide();
  }
  const std::optional<std::size_t> index = find_own(context, opened, name);
  return index ? std::optional(DiffSide{*index}) : std::nullopt;
}

int run_diff(Context& context, const std::string& image, const std::string& from,
             const std::string& to, bool json) {
  std::optional<OpenedImage> opened = open_own(context, image, false);
  const auto from_side = opened ? find_side(context, *opened, from) : std::nullopt;
  const auto to_side = from_side ? find_side(context, *opened, to) : std::nullopt;
  if (!to_side) {
    return 1;
  }
  Json nodes = Json::array();
  if (!json) {
    print("{:<16}{}\n", "Offset", "Length");
  }
  const Result<void> done = for_each_difference(
      *opened->image, *from_side, *to_side, [&](const DiffRange& range) -> Result<void> {
        if (json) {
          Json node;
          node["start"] = range.start;
          node["length"] = range.length;
          nodes.push_back(node);
        } else {
          print("{:<16}{}\n", fmt::format("{:#x}", range.start),
                fmt::format("{:#x}", range.length));
        }
        return {};
      });
  if (!done) {
    return fail_own(context, *opened, "cannot compare", done.error());
  }
  if (json) {
    print("{}\n", format_json(nodes));
  }
  return close_image(context, *opened) ? 0 : 1;
}

int run_export(Context& context, const std::string& image, const std::string& name,
               const std::string& from, const std::string& output) {
  ImageArgument argument;
  argument.text = image;
  argument.format = "qcow2";  // The backing chain is part of what a whole disk shows.
  std::optional<OpenedImage> opened = open_image(context, argument);
  const auto to_side = opened ? find_side(context, *opened, name) : std::nullopt;
  const auto from_side = to_side ? find_side(context, *opened, from) : std::nullopt;
  if (!from_side) {
    return 1;
  }
  StreamFile sink(context, output, true);
  if (!sink.is_open()) {
    return 1;
  }
  const Result<StreamInfo> exported = from.empty()
                                          ? export_disk(*opened->image, *to_side, sink)
                                          : export_diff(*opened->image, *from_side, *to_side, sink);
  const Result<void> done = exported ? sink.finish() : Result<void>(exported.error());
  if (!done) {
    return fail_own(context, *opened, "cannot export", done.error());
  }
  return close_image(context, *opened) ? 0 : 1;
}

int run_import(Context& context, const std::string& image, const std::string& input) {
  StreamFile source(context, input, false);
  if (!source.is_open()) {
    return 1;
  }
  std::optional<OpenedImage> opened = open_own(context, image, true);
  if (!opened) {
    return 1;
  }
  const Result<StreamInfo> imported = import_stream(*opened->image, source);
  if (!imported) {
    return fail_own(context, *opened, "cannot import", imported.error());
  }
  print("{}: {} bytes of data, {} bytes of zeros imported{}\n", opened->filename,
        imported->data_bytes, imported->zero_bytes,
        imported->is_diff ? "; right only where the disk was the stream's base" : "");
  return close_image(context, *opened) ? 0 : 1;
}

}  // namespace

int run_own_snapshot_stream(Context& context, int argc, char** argv) {
  const std::string action = argv[0];
  std::string image;
  std::string name;
  std::string other;
  std::string file = "-";
  bool json = false;
  CLI::App app("Compare the disks inside an image, and carry them elsewhere.",
               fmt::format("{} snapshot {}", context.program, action));
  app.add_option("image", image, "The image")->required();
  if (action == "diff") {
    app.add_option("from", name, "A snapshot: its name, id or UUID")->required();
    app.add_option("to", other, "Another one; without it, the disk as it is now");
    app.add_flag("--json", json, "Answer as JSON");
  } else if (action == "export") {
    app.add_option("name", name, "The snapshot; without it, the disk as it is now");
    app.add_option("--from", other, "Only what differs from this snapshot");
    app.add_option("--output", file, "The file to write; else standard output");
  } else {
    app.add_option("--input", file, "The file to read; else standard input");
  }
  const char* example = action == "diff"     ? "diff disk.qcow2 before-upgrade --json"
                        : action == "export" ? "export disk.qcow2 before-upgrade >stream"
                                             : "import copy.qcow2 <stream";
  app.footer(fmt::format("Example:\n  {} snapshot {}", context.program, example));
  if (const std::optional<int> code = parse_own(context, "snapshot", app, argc, argv)) {
    return *code;
  }
  if (action == "diff") {
    return run_diff(context, image, name, other, json);
  }
  return action == "export" ? run_export(context, image, name, other, file)
                            : run_import(context, image, file);
}

}  // namespace varve::tool
