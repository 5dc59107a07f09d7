#include <map>
#include <new>

#include <varve/lineage.h>

#include "base/failure.h"
#include "image/qcow2_image.h"
#include "snapshot/facts_table.h"

namespace varve {
namespace {

static_assert(Lineage::kNone == kNoSnapshot);

using Facts = std::vector<std::optional<SnapshotFacts>>;

// The snapshots by UUID; those that share one are left out.
std::map<std::array<std::uint8_t, 16>, std::size_t> index_by_uuid(const Facts& facts) {
  std::map<std::array<std::uint8_t, 16>, std::size_t> indices;
  for (std::size_t i = 0; i < facts.size(); ++i) {
    if (facts[i] && !facts[i]->uuid.is_null()) {
      const bool is_new = indices.emplace(facts[i]->uuid.bytes, i).second;
      if (!is_new) {
        indices[facts[i]->uuid.bytes] = Lineage::kNone;
      }
    }
  }
  return indices;
}

std::vector<LineageNode> nodes_of(const Facts& facts) {
  const auto indices = index_by_uuid(facts);
  std::vector<LineageNode> nodes(facts.size());
  for (std::size_t i = 0; i < facts.size(); ++i) {
    if (facts[i]) {
      const auto parent = indices.find(facts[i]->parent.bytes);
      nodes[i].parent = parent == indices.end() ? Lineage::kNone : parent->second;
      nodes[i].is_known =
          nodes[i].parent != Lineage::kNone ||
          (facts[i]->parent.is_null() && facts[i]->has(SnapshotFacts::kParentKnown));
    }
  }
  return nodes;
}

// Records that contradict each other may form a circle: whoever comes back to itself has no known
// parent.
void cut_circles(std::vector<LineageNode>& nodes) {
  enum class Mark : std::uint8_t { unseen, on_path, clear };
  std::vector<Mark> marks(nodes.size(), Mark::unseen);
  for (std::size_t start = 0; start < nodes.size(); ++start) {
    std::size_t at = start;
    while (at != Lineage::kNone && marks[at] == Mark::unseen) {
      marks[at] = Mark::on_path;
      const std::size_t parent = nodes[at].parent;
      if (parent != Lineage::kNone && marks[parent] == Mark::on_path) {
        nodes[at] = LineageNode();
      }
      at = nodes[at].parent;
    }
    for (at = start; at != Lineage::kNone && marks[at] == Mark::on_path; at = nodes[at].parent) {
      marks[at] = Mark::clear;
    }
  }
}

}  // namespace

Result<Lineage> snapshot_lineage(const Image& image) noexcept {
  try {
    Lineage lineage;
    const auto* core = dynamic_cast<Qcow2Image*>(&image.core());
    if (core == nullptr) {
      return lineage;
    }
    const SnapshotTable& table = core->metadata().snapshots;
    Facts facts;
    for (const SnapshotEntry& entry : table.entries) {
      facts.push_back(facts_of(entry));
    }
    lineage.snapshots = nodes_of(facts);
    cut_circles(lineage.snapshots);
    lineage.current = current_of(table);
    lineage.is_current_known = lineage.current != Lineage::kNone || table.entries.empty();
    for (std::size_t i = 0; i < facts.size(); ++i) {
      if (facts[i] && facts[i]->has(SnapshotFacts::kApplied)) {
        lineage.last_applied = i;
      }
    }
    lineage.image = image_uuid_of(core->metadata().header, table);
    return lineage;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the lineage");
  }
}

}  // namespace varve
