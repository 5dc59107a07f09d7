#include "snapshot_tree.h"

#include <varve/inspect.h>
#include <varve/lineage.h>

#include "json_text.h"
#include "printable.h"
#include "size_text.h"
#include "snapshot_table.h"

namespace varve::tool {

namespace {

constexpr const char* kRow = "{:<7} {:<30} {:<20} {:>10} {:>10} {:>10} {:>10}\n";
constexpr std::size_t kDepthShown = 8;  // Deeper ones are not indented further.

// One line of the tree.
struct Line {
  std::size_t snapshot = Lineage::kNone;  // kNone: the active disk.
  std::size_t depth = 0;
};

// Parents before their children, children in table order; the disk below the snapshot it stands on.
std::vector<Line> lines_of(const Lineage& lineage) {
  const std::size_t count = lineage.snapshots.size();
  std::vector<std::vector<std::size_t>> children(count + 1);  // The last: of nobody.
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t parent = lineage.snapshots[i].parent;
    children[parent == Lineage::kNone ? count : parent].push_back(i);
  }
  const bool stands = lineage.is_current_known && lineage.current != Lineage::kNone;
  std::vector<Line> lines;
  // What is still to be printed, the next one last.
  std::vector<Line> open;
  const auto push_children = [&](std::size_t parent, std::size_t depth) {
    if (parent == (stands ? lineage.current : count)) {
      open.push_back({Lineage::kNone, depth});
    }
    for (std::size_t i = children[parent].size(); i-- > 0;) {
      open.push_back({children[parent][i], depth});
    }
  };
  push_children(count, 0);
  while (!open.empty()) {
    lines.push_back(open.back());
    open.pop_back();
    if (lines.back().snapshot != Lineage::kNone) {
      push_children(lines.back().snapshot, lines.back().depth + 1);
    }
  }
  return lines;
}

void print_human(const InspectReport& report, const Lineage& lineage) {
  print(kRow, "ID", "NAME", "DATE", "DISK", "UNIQUE", "SHARED", "VM STATE");
  for (const Line& line : lines_of(lineage)) {
    const std::string indent(2 * std::min(line.depth, kDepthShown), ' ');
    if (line.snapshot == Lineage::kNone) {
      const LayerReport& disk = report.layers.back();
      print(kRow, "", indent + "(active disk)", "", format_size(disk.disk_size),
            format_size(disk.unique_bytes), format_size(disk.shared_bytes), "");
      continue;
    }
    const LayerReport& layer = report.layers[line.snapshot];
    print(kRow, printable(layer.snapshot.id), indent + printable(layer.snapshot.name),
          format_date(layer.snapshot.date_seconds), format_size(layer.disk_size),
          format_size(layer.unique_bytes), format_size(layer.shared_bytes),
          format_size(layer.snapshot.vm_state_size));
  }
}

// In table order; the tree is told by the parents' ids.
void print_json(const InspectReport& report, const Lineage& lineage) {
  Json nodes = Json::array();
  for (std::size_t i = 0; i < lineage.snapshots.size(); ++i) {
    const LayerReport& layer = report.layers[i];
    const LineageNode& place = lineage.snapshots[i];
    Json node;
    node["id"] = layer.snapshot.id;
    node["name"] = layer.snapshot.name;
    node["uuid"] = layer.snapshot.uuid.is_null() ? Json() : Json(layer.snapshot.uuid.text());
    node["parent"] =
        place.parent == Lineage::kNone ? Json() : Json(report.layers[place.parent].snapshot.id);
    node["parent-known"] = place.is_known;
    node["active"] = lineage.is_current_known && lineage.current == i;
    node["date-sec"] = layer.snapshot.date_seconds;
    node["date-nsec"] = layer.snapshot.date_nanoseconds;
    node["virtual-size"] = layer.disk_size;
    node["vm-state-size"] = layer.snapshot.vm_state_size;
    node["unique-bytes"] = layer.unique_bytes;
    node["shared-bytes"] = layer.shared_bytes;
    nodes.push_back(std::move(node));
  }
  print("{}\n", format_json(nodes));
}

}  // namespace

bool print_snapshot_tree(const Context& context, const OpenedImage& opened, bool json) {
  const Result<InspectReport> report = inspect(*opened.image);
  const Result<Lineage> lineage =
      report ? snapshot_lineage(*opened.image) : Result<Lineage>(report.error());
  if (!lineage) {
    context.error("{}: cannot list the snapshots: {}", opened.filename, describe(lineage.error()));
    return false;
  }
  if (json) {
    print_json(*report, *lineage);
  } else {
    print_human(*report, *lineage);
  }
  return true;
}

}  // namespace varve::tool
