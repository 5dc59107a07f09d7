// varve snapshot create | list | apply | delete | rename | read-state: Varve's own actions, which
// name a snapshot by id or by name and refuse a name that several share.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <ctime>

#include <varve/inspect.h>
#include <varve/snapshot.h>

#include "image_argument.h"
#include "json_text.h"
#include "messages.h"
#include "own_verb.h"
#include "size_text.h"
#include "snapshot_table.h"
#include "verbs.h"

#include <CLI/CLI.hpp>

namespace varve::tool {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::optional<OpenedImage> open_own(Context& context, const std::string& name, bool writable) {
  ImageArgument argument;
  argument.text = name;
  argument.format = "qcow2";
  argument.writable = writable;
  argument.open_backing = writable;
  return open_image(context, argument);
}

int fail(const Context& context, const OpenedImage& opened, const std::string& what,
         const Error& error) {
  context.error("{}: {}: {}", opened.filename, what, describe(error));
  return 1;
}

// Nothing after a message; a name that several snapshots share is one.
std::optional<std::size_t> find_own(const Context& context, const OpenedImage& opened,
                                    const std::string& text) {
  const Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(*opened.image);
  if (!snapshots) {
    fail(context, opened, "cannot list the snapshots", snapshots.error());
    return std::nullopt;
  }
  const Result<std::size_t> index = find_snapshot(*opened.image, {.text = text});
  if (index) {
    return *index;
  }
  std::string ids;
  for (const SnapshotInfo& snapshot : *snapshots) {
    if (snapshot.name == text) {
      ids += (ids.empty() ? "" : ", ") + snapshot.id;
    }
  }
  if (ids.empty()) {
    context.error("{}: there is no snapshot '{}'", opened.filename, text);
  } else {
    context.error("{}: several snapshots are named '{}': say which by id ({})", opened.filename,
                  text, ids);
  }
  return std::nullopt;
}

// One image of a create.
struct Taken {
  OpenedImage opened;
  SnapshotCreated created;
  double total_milliseconds = 0;
};

// Deletes again what was taken, so that all images have the snapshot or none.
void undo(const Context& context, std::vector<Taken>& taken) {
  for (Taken& one : taken) {
    if (one.created.id.empty()) {
      continue;
    }
    const Result<std::size_t> index =
        find_snapshot(*one.opened.image, {.text = one.created.id, .by = SnapshotReference::By::id});
    const Result<void> deleted =
        index ? delete_snapshot(*one.opened.image, *index) : Result<void>(index.error());
    if (!deleted) {
      fail(context, one.opened, fmt::format("snapshot {} could not be taken back", one.created.id),
           deleted.error());
    }
  }
}

int create(Context& context, const std::vector<std::string>& images, const std::string& name) {
  std::vector<Taken> taken;
  for (const std::string& image : images) {
    std::optional<OpenedImage> opened = open_own(context, image, true);
    if (!opened) {
      return 1;
    }
    taken.push_back(Taken{std::move(*opened), {}, 0});
  }
  std::timespec now{};
  std::timespec_get(&now, TIME_UTC);
  SnapshotCreateOptions options;
  options.name = name;
  options.date_seconds = static_cast<std::uint32_t>(now.tv_sec);
  options.date_nanoseconds = static_cast<std::uint32_t>(now.tv_nsec);
  for (Taken& one : taken) {
    const Clock::time_point start = Clock::now();
    const Result<SnapshotCreated> created = create_snapshot(*one.opened.image, options);
    if (!created) {
      fail(context, one.opened, "cannot take the snapshot", created.error());
      undo(context, taken);
      return 1;
    }
    one.created = *created;
    one.total_milliseconds = milliseconds_since(start);
  }
  int code = 0;
  for (Taken& one : taken) {
    print("{}: snapshot {} '{}', pause {:.3f} ms, total {:.3f} ms\n", one.opened.filename,
          one.created.id, name, static_cast<double>(one.created.pause_nanoseconds) / 1e6,
          one.total_milliseconds);
    code = close_image(context, one.opened) ? code : 1;
  }
  return code;
}

Json layer_json(const LayerReport& layer) {
  Json node;
  node["id"] = layer.snapshot.id;
  node["name"] = layer.snapshot.name;
  node["date-sec"] = layer.snapshot.date_seconds;
  node["date-nsec"] = layer.snapshot.date_nanoseconds;
  node["virtual-size"] = layer.disk_size;
  node["vm-state-size"] = layer.snapshot.vm_state_size;
  node["unique-bytes"] = layer.unique_bytes;
  node["shared-bytes"] = layer.shared_bytes;
  return node;
}

int list(Context& context, const std::string& image, bool json) {
  std::optional<OpenedImage> opened = open_own(context, image, false);
  if (!opened) {
    return 1;
  }
  const Result<InspectReport> report = inspect(*opened->image);
  if (!report) {
    return fail(context, *opened, "cannot list the snapshots", report.error());
  }
  constexpr const char* kRow = "{:<7} {:<24} {:<20} {:>10} {:>10} {:>10} {:>10}\n";
  Json nodes = Json::array();
  if (!json) {
    print(kRow, "ID", "NAME", "DATE", "DISK", "UNIQUE", "SHARED", "VM STATE");
  }
  for (const LayerReport& layer : report->layers) {
    if (layer.active) {
      continue;
    }
    if (json) {
      nodes.push_back(layer_json(layer));
    } else {
      print(kRow, layer.snapshot.id, layer.snapshot.name, format_date(layer.snapshot.date_seconds),
            format_size(layer.disk_size), format_size(layer.unique_bytes),
            format_size(layer.shared_bytes), format_size(layer.snapshot.vm_state_size));
    }
  }
  if (json) {
    print("{}\n", format_json(nodes));
  }
  return close_image(context, *opened) ? 0 : 1;
}

// apply, delete and rename: one snapshot of one image.
int change(Context& context, const std::string& action, const std::string& image,
           const std::string& name, const std::string& new_name) {
  std::optional<OpenedImage> opened = open_own(context, image, true);
  if (!opened) {
    return 1;
  }
  const std::optional<std::size_t> index = find_own(context, *opened, name);
  if (!index) {
    return 1;
  }
  const Clock::time_point start = Clock::now();
  Result<void> changed;
  if (action == "apply") {
    changed = apply_snapshot(*opened->image, *index);
  } else if (action == "delete") {
    changed = delete_snapshot(*opened->image, *index);
  } else {
    changed = rename_snapshot(*opened->image, *index, new_name);
  }
  if (!changed) {
    return fail(context, *opened, fmt::format("cannot {} snapshot '{}'", action, name),
                changed.error());
  }
  const double milliseconds = milliseconds_since(start);
  if (!close_image(context, *opened)) {
    return 1;
  }
  print("{}: {} '{}' done in {:.3f} ms\n", opened->filename, action, name, milliseconds);
  return 0;
}

int read_state(Context& context, const std::string& image, const std::string& name) {
  constexpr std::size_t kBlockBytes = 1 << 20;
  std::optional<OpenedImage> opened = open_own(context, image, false);
  if (!opened) {
    return 1;
  }
  const std::optional<std::size_t> index = find_own(context, *opened, name);
  if (!index) {
    return 1;
  }
  const Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(*opened->image);
  const std::uint64_t size = snapshots ? (*snapshots)[*index].vm_state_size : 0;
  if (size == 0) {
    context.error("{}: snapshot '{}' holds no machine state", opened->filename, name);
    return 1;
  }
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t offset = 0; offset < size;) {
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(kBlockBytes, size - offset));
    const std::span<std::byte> target(block.data(), length);
    const Result<void> read = read_vm_state(*opened->image, *index, offset, target);
    if (!read) {
      return fail(context, *opened, "cannot read the state", read.error());
    }
    if (std::fwrite(block.data(), 1, length, stdout) != length) {
      context.error("cannot write the state to standard output: {}", system_words(errno));
      return 1;
    }
    offset += length;
  }
  return std::fflush(stdout) == 0 && close_image(context, *opened) ? 0 : 1;
}

constexpr std::array<const char*, 6> kActions = {"create", "list",   "apply",
                                                 "delete", "rename", "read-state"};

}  // namespace

bool is_own_snapshot_action(const char* word) {
  return std::any_of(kActions.begin(), kActions.end(),
                     [word](const char* action) { return std::strcmp(action, word) == 0; });
}

int run_own_snapshot(Context& context, int argc, char** argv) {
  const std::string action = argv[0];
  std::vector<std::string> images;
  std::string image;
  std::string name;
  std::string new_name;
  bool json = false;
  CLI::App app("Work on the snapshots inside an image.",
               fmt::format("{} snapshot {}", context.program, action));
  if (action == "create") {
    app.add_option("images", images, "The images; all get the snapshot, or none")->required();
    app.add_option("--name", name, "The snapshot's name")->required();
  } else {
    app.add_option("image", image, "The image")->required();
  }
  if (action == "list") {
    app.add_flag("--json", json, "Answer as JSON");
  } else if (action != "create") {
    app.add_option("name", name, "The snapshot: its name or its id")->required();
  }
  if (action == "rename") {
    app.add_option("new-name", new_name, "The new name")->required();
  }
  if (const std::optional<int> code = parse_own(context, "snapshot", app, argc, argv)) {
    return *code;
  }
  if (action == "create") {
    return create(context, images, name);
  }
  if (action == "list") {
    return list(context, image, json);
  }
  if (action == "read-state") {
    return read_state(context, image, name);
  }
  return change(context, action, image, name, new_name);
}

}  // namespace varve::tool
