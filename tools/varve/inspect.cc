// varve inspect: the layers of an image and what each snapshot costs.

#include <varve/inspect.h>

#include "image_argument.h"
#include "json_text.h"
#include "messages.h"
#include "own_verb.h"
#include "printable.h"
#include "progress.h"
#include "size_text.h"
#include "snapshot_table.h"
#include "verbs.h"

#include <CLI/CLI.hpp>

namespace varve::tool {

namespace {

std::string layer_name(const LayerReport& layer) {
  return layer.active ? "(active disk)" : printable(layer.snapshot.id + " " + layer.snapshot.name);
}

void print_human(const OpenedImage& opened, const ImageFacts& facts, const InspectReport& report) {
  constexpr const char* kRow = "{:<24} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n";
  print("image: {}\n", opened.filename);
  print("guest data: {}, tables: {}, in a file of {}, {} layers\n", format_size(report.data_bytes),
        format_size(report.table_bytes), format_size(facts.file_size), report.layers.size());
  print(kRow, "LAYER", "REFERS TO", "UNIQUE", "SHARED", "TABLES", "VM STATE", "FREED");
  for (const LayerReport& layer : report.layers) {
    print(kRow, layer_name(layer), format_size(layer.referenced_bytes),
          format_size(layer.unique_bytes), format_size(layer.shared_bytes),
          format_size(layer.table_bytes),
          layer.active ? "" : format_size(layer.snapshot.vm_state_size),
          layer.active ? "" : format_size(layer.freed_by_delete_bytes));
  }
  print(
      "Clusters of the file, tables included. UNIQUE: no other layer refers to them. FREED: what "
      "deleting the snapshot gives back.\n");
}

void print_json(const OpenedImage& opened, const ImageFacts& facts, const InspectReport& report) {
  Json layers = Json::array();
  for (const LayerReport& layer : report.layers) {
    Json node;
    node["active"] = layer.active;
    if (!layer.active) {
      node["id"] = layer.snapshot.id;
      node["name"] = layer.snapshot.name;
      node["date-sec"] = layer.snapshot.date_seconds;
      node["vm-state-size"] = layer.snapshot.vm_state_size;
    }
    node["virtual-size"] = layer.disk_size;
    node["referenced-bytes"] = layer.referenced_bytes;
    node["unique-bytes"] = layer.unique_bytes;
    node["shared-bytes"] = layer.shared_bytes;
    node["table-bytes"] = layer.table_bytes;
    node["compressed-bytes"] = layer.compressed_bytes;
    node["zero-bytes"] = layer.zero_bytes;
    node["runs"] = layer.runs;
    if (!layer.active) {
      node["freed-by-delete-bytes"] = layer.freed_by_delete_bytes;
    }
    layers.push_back(std::move(node));
  }
  Json root;
  root["filename"] = opened.filename;
  root["file-bytes"] = facts.file_size;
  root["cluster-size"] = facts.cluster_bytes;
  root["data-bytes"] = report.data_bytes;
  root["table-bytes"] = report.table_bytes;
  root["layers"] = std::move(layers);
  print("{}\n", format_json(root));
}

}  // namespace

int run_inspect(Context& context, int argc, char** argv) {
  ImageArgument argument;
  argument.open_backing = false;
  bool json = false;
  CLI::App app(
      "Show the layers of an image: what each refers to, alone and with others, and what "
      "deleting each snapshot would give back.",
      context.program + " inspect");
  app.add_option("image", argument.text, "The image")->required();
  app.add_flag("--json", json, "Answer as JSON");
  app.add_flag("-U,--force-share", argument.force_share, "Also while another program writes it");
  add_format_option(app, argument);
  app.footer(fmt::format("Example:\n  {} inspect disk.qcow2", context.program));
  if (const std::optional<int> code = parse_own(context, "inspect", app, argc, argv)) {
    return *code;
  }
  std::optional<OpenedImage> opened = open_image(context, argument);
  if (!opened) {
    return 1;
  }
  catch_interrupts();
  InspectOptions options;
  options.cancel = &interrupted();
  const Result<InspectReport> report = inspect(*opened->image, options);
  if (!report && report.error().code == ErrorCode::cancelled) {
    exit_by_signal();
  }
  if (!report) {
    context.error("{}: {}", opened->filename, describe(report.error()));
  } else if (json) {
    print_json(*opened, opened->image->facts(), *report);
  } else {
    print_human(*opened, opened->image->facts(), *report);
  }
  return close_image(context, *opened) && report ? 0 : 1;
}

}  // namespace varve::tool
