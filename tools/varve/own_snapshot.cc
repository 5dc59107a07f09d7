// varve snapshot create | list | apply | delete | rename: Varve's own actions, which name a
// snapshot by name, id or UUID and refuse a name that several share. read-state is in
// own_snapshot_state.cc; diff, export and import are in own_snapshot_stream.cc.

#include "own_snapshot.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include <varve/group.h>
#include <varve/snapshot.h>
#include <varve/snapshot_operation.h>

#include "control/new_snapshot.h"
#include "image_argument.h"
#include "messages.h"
#include "own_verb.h"
#include "snapshot_tree.h"
#include "verbs.h"

#include <CLI/CLI.hpp>

namespace varve::tool {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// One snapshot of one image, or a group of several.
Result<std::vector<SnapshotCreated>> take(const std::vector<OpenedImage>& opened,
                                          const SnapshotCreateOptions& options) {
  if (opened.size() == 1) {
    const Result<SnapshotCreated> created = create_snapshot(*opened.front().image, options);
    if (!created) {
      return created.error();
    }
    return std::vector<SnapshotCreated>{*created};
  }
  std::vector<Image*> images;
  images.reserve(opened.size());
  for (const OpenedImage& one : opened) {
    images.push_back(one.image.get());
  }
  Result<GroupCreated> created = create_group_snapshot(images, options);
  if (!created) {
    return created.error();
  }
  return std::move(created->members);
}

int create(Context& context, const std::vector<std::string>& images, const std::string& name,
           const std::string& state_file) {
  std::vector<OpenedImage> opened;
  for (const std::string& image : images) {
    std::optional<OpenedImage> one = open_own(context, image, true);
    if (!one) {
      return 1;
    }
    opened.push_back(std::move(*one));
  }
  std::unique_ptr<StateWriter> state;
  if (!state_file.empty()) {
    state = load_state(context, opened.front(), state_file);
    if (state == nullptr) {
      return 1;
    }
  }
  SnapshotCreateOptions options = new_snapshot(name);
  options.state = state.get();
  const Clock::time_point start = Clock::now();
  const Result<std::vector<SnapshotCreated>> created = take(opened, options);
  if (!created) {
    return fail_own(context, opened.front(), "cannot take the snapshot", created.error());
  }
  const double total = milliseconds_since(start);
  state.reset();
  int code = 0;
  for (std::size_t i = 0; i < opened.size(); ++i) {
    const SnapshotCreated& one = (*created)[i];
    print("{}: snapshot {} '{}' {}, pause {:.3f} ms, total {:.3f} ms\n", opened[i].filename, one.id,
          name, one.uuid.text(), static_cast<double>(one.pause_nanoseconds) / 1e6, total);
    code = close_image(context, opened[i]) ? code : 1;
  }
  return code;
}

int list(Context& context, const std::string& image, bool json) {
  std::optional<OpenedImage> opened = open_own(context, image, false);
  if (!opened) {
    return 1;
  }
  const bool told = print_snapshot_tree(context, *opened, json);
  return close_image(context, *opened) && told ? 0 : 1;
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
  std::string details;
  if (action == "rename") {
    changed = rename_snapshot(*opened->image, *index, new_name);
  } else {
    const bool is_apply = action == "apply";
    const Result<std::unique_ptr<SnapshotOperation>> operation =
        is_apply ? start_apply(*opened->image, *index) : start_delete(*opened->image, *index);
    changed = operation ? (*operation)->wait() : Result<void>(operation.error());
    if (changed) {
      const SnapshotTimes times = (*operation)->times();
      details = is_apply ? fmt::format(", pause {:.3f} ms, usable after {:.3f} ms",
                                       static_cast<double>(times.pause_nanoseconds) / 1e6,
                                       static_cast<double>(times.usable_nanoseconds) / 1e6)
                         : fmt::format(", gone after {:.3f} ms",
                                       static_cast<double>(times.usable_nanoseconds) / 1e6);
    }
  }
  if (!changed) {
    return fail_own(context, *opened, fmt::format("cannot {} snapshot '{}'", action, name),
                    changed.error());
  }
  const double milliseconds = milliseconds_since(start);
  if (!close_image(context, *opened)) {
    return 1;
  }
  print("{}: {} '{}' done in {:.3f} ms{}\n", opened->filename, action, name, milliseconds, details);
  return 0;
}

struct Action {
  const char* name;
  const char* example;  // What follows "varve snapshot NAME".
};
constexpr std::array<Action, 9> kActions = {{
    {"create", "disk.qcow2 data.qcow2 --name before-upgrade"},
    {"list", "disk.qcow2 --json"},
    {"apply", "disk.qcow2 before-upgrade"},
    {"delete", "disk.qcow2 before-upgrade"},
    {"rename", "disk.qcow2 before-upgrade old"},
    {"read-state", "disk.qcow2 suspended >state"},
    {"diff", ""},  // These three explain themselves in own_snapshot_stream.cc.
    {"export", ""},
    {"import", ""},
}};

const Action* find_action(const char* word) {
  const auto* const found =
      std::find_if(kActions.begin(), kActions.end(),
                   [word](const Action& action) { return std::strcmp(action.name, word) == 0; });
  return found == kActions.end() ? nullptr : found;
}

}  // namespace

std::optional<OpenedImage> open_own(Context& context, const std::string& name, bool writable) {
  ImageArgument argument;
  argument.text = name;
  argument.format = "qcow2";
  argument.writable = writable;
  argument.open_backing = writable;
  return open_image(context, argument);
}

int fail_own(const Context& context, const OpenedImage& opened, const std::string& what,
             const Error& error) {
  context.error("{}: {}: {}", opened.filename, what, describe(error));
  return 1;
}

std::optional<std::size_t> find_own(const Context& context, const OpenedImage& opened,
                                    const std::string& text) {
  const Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(*opened.image);
  if (!snapshots) {
    fail_own(context, opened, "cannot list the snapshots", snapshots.error());
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

bool is_own_snapshot_action(const char* word) {
  return find_action(word) != nullptr;
}

int run_own_snapshot(Context& context, int argc, char** argv) {
  const std::string action = argv[0];
  if (action == "diff" || action == "export" || action == "import") {
    return run_own_snapshot_stream(context, argc, argv);
  }
  std::vector<std::string> images;
  std::string image;
  std::string name;
  std::string new_name;
  std::string state;
  bool full = false;
  bool json = false;
  CLI::App app("Work on the snapshots inside an image.",
               fmt::format("{} snapshot {}", context.program, action));
  app.footer(fmt::format("Example:\n  {} snapshot {} {}", context.program, action,
                         find_action(argv[0])->example));
  if (action == "create") {
    app.add_option("images", images, "The images; all get the snapshot, or none")->required();
    app.add_option("--name", name, "The snapshot's name")->required();
    CLI::Option* state_option =
        app.add_option("--state", state, "The machine's state, into the first image (-: stdin)");
    app.add_flag("--full", full, "Keep the machine's state with the snapshot")->needs(state_option);
    state_option->needs("--full");
  } else {
    app.add_option("image", image, "The image")->required();
  }
  if (action == "list") {
    app.add_flag("--json", json, "Answer as JSON");
  } else if (action != "create") {
    app.add_option("name", name, "The snapshot: its name, id or UUID")->required();
  }
  if (action == "rename") {
    app.add_option("new-name", new_name, "The new name")->required();
  }
  if (const std::optional<int> code = parse_own(context, "snapshot", app, argc, argv)) {
    return *code;
  }
  if (action == "create") {
    return create(context, images, name, state);
  }
  if (action == "list") {
    return list(context, image, json);
  }
  if (action == "read-state") {
    return run_read_state(context, image, name);
  }
  return change(context, action, image, name, new_name);
}

}  // namespace varve::tool
