// varve snapshot -l | -c | -a | -d: qemu-img's form of the verb. Varve's own actions (create, list,
// apply ...) are in own_snapshot.cc.

#include <varve/snapshot.h>

#include "control/new_snapshot.h"
#include "image_argument.h"
#include "messages.h"
#include "options.h"
#include "snapshot_table.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kSnapshotHelp =
    R"(Take, list, apply and delete the snapshots in an image.  Usage:

  {0} snapshot [-f FMT | --image-opts] [-l | -c NAME | -a NAME | -d NAME] [-U] [-q] FILENAME
  {0} snapshot create IMAGE... --name NAME [--full --state FILE|-]
  {0} snapshot list IMAGE [--json]
  {0} snapshot apply|delete IMAGE NAME
  {0} snapshot rename IMAGE NAME NEW_NAME
  {0} snapshot diff IMAGE FROM [TO] [--json]
  {0} snapshot export IMAGE [NAME] [--from NAME] [--output FILE]
  {0} snapshot import IMAGE [--input FILE]
  {0} snapshot read-state IMAGE NAME

  -l, --list                    list the snapshots (the default)
  -c, --create NAME             take one
  -a, --apply NAME              go back to one, by name or id
  -d, --delete NAME             delete one, by name
  -f, --format FMT              raw or qcow2; detected otherwise
  --image-opts                  FILENAME is a list of key=value pairs
  -U, --force-share             list while another program writes the image
  -q, --quiet                   say nothing

Examples:
  {0} snapshot -c before-upgrade disk.qcow2
  {0} snapshot -l disk.qcow2

See '{0} snapshot ACTION --help' for the options of an action.
)";

constexpr option kSnapshotLongOptions[] = {kHelpOption,
                                           kQuietOption,
                                           kObjectOption,
                                           kFormatOption,
                                           kImageOptsOption,
                                           kForceShareOption,
                                           {"list", no_argument, nullptr, 'l'},
                                           {"apply", required_argument, nullptr, 'a'},
                                           {"create", required_argument, nullptr, 'c'},
                                           {"delete", required_argument, nullptr, 'd'},
                                           kEndOfOptions};

constexpr std::size_t kNameBytesMax = 255;  // Longer ones are cut, as QEMU cuts them.

using Field = std::string SnapshotInfo::*;

std::optional<std::size_t> find_by(const std::vector<SnapshotInfo>& snapshots, Field field,
                                   std::string_view text) {
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    if (snapshots[i].*field == text) {
      return i;
    }
  }
  return std::nullopt;
}

std::string operation_words(const Error& error) {
  return error.code == ErrorCode::unsupported ? system_words(ENOTSUP) : short_words(error);
}

int create(Context& context, Image& image, const std::string& name) {
  const Result<SnapshotCreated> created =
      create_snapshot(image, new_snapshot(name.substr(0, kNameBytesMax)));
  if (!created) {
    context.error("Could not create snapshot '{}': {}", name, operation_words(created.error()));
    return 1;
  }
  return 0;
}

int apply(Context& context, Image& image, const std::string& name) {
  if (image.facts().format == Format::raw) {
    context.error("Could not apply snapshot '{}': Block driver does not support snapshots", name);
    return 1;
  }
  Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(image);
  Error error;
  error.code = ErrorCode::not_found;
  std::optional<std::size_t> index;
  if (!snapshots) {
    error = snapshots.error();
  } else if (!image.facts().data_file_name.empty()) {
    error.code = ErrorCode::unsupported;
  } else {
    index = find_by(*snapshots, &SnapshotInfo::id, name);
    index = index ? index : find_by(*snapshots, &SnapshotInfo::name, name);
  }
  if (index) {
    const Result<void> applied = apply_snapshot(image, *index);
    if (applied) {
      return 0;
    }
    error = applied.error();
  }
  context.error("Could not apply snapshot '{}': Failed to load snapshot: {}", name,
                operation_words(error));
  return 1;
}

int remove(Context& context, Image& image, const std::string& name) {
  std::optional<std::size_t> index;
  if (image.facts().format == Format::qcow2) {
    Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(image);
    if (!snapshots) {
      context.error("Could not delete snapshot '{}': {}", name, short_words(snapshots.error()));
      return 1;
    }
    // By name only, the first that has it: scripts that delete by id would hit the wrong one.
    index = find_by(*snapshots, &SnapshotInfo::name, name);
  }
  if (!index) {
    context.error("Could not delete snapshot '{}': snapshot not found", name);
    return 1;
  }
  const Result<void> deleted = delete_snapshot(image, *index);
  if (!deleted) {
    context.error("Could not delete snapshot '{}': {}", name, operation_words(deleted.error()));
    return 1;
  }
  return 0;
}

int list(Context& context, Image& image) {
  if (image.facts().format == Format::raw) {
    return 0;
  }
  Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(image);
  if (!snapshots) {
    context.error("Could not list snapshots: {}", short_words(snapshots.error()));
    return 1;
  }
  print("{}", format_snapshot_table(*snapshots));
  return 0;
}

int run_action(Context& context, Image& image, char action, const std::string& name) {
  switch (action) {
    case 'c':
      return create(context, image, name);
    case 'a':
      return apply(context, image, name);
    case 'd':
      return remove(context, image, name);
    default:
      return list(context, image);
  }
}

}  // namespace

int run_snapshot(Context& context, int argc, char** argv) {
  if (argc > 1 && context.program != "qemu-img" && is_own_snapshot_action(argv[1])) {
    return run_own_snapshot(context, argc - 1, argv + 1);
  }
  ImageArgument argument;
  char action = 0;
  std::string name;
  OptionParser parser(context, "snapshot", argc, argv, "hla:c:d:f:Uq", kSnapshotLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    switch (letter) {
      case 'h':
        print(kSnapshotHelp, context.program);
        return 0;
      case 'l':
      case 'a':
      case 'c':
      case 'd':
        if (action != 0) {
          return context.usage_error("snapshot", "Cannot mix '-l', '-a', '-c', '-d'");
        }
        action = static_cast<char>(letter);
        name = letter == 'l' ? "" : parser.value();
        break;
      case 'q':
        break;
      default:
        if (!take_image_option(letter, parser, argument)) {
          return context.print_try_help("snapshot");
        }
        break;
    }
  }
  if (!take_only_image(context, "snapshot", parser, argument)) {
    return 1;
  }
  argument.writable = action != 0 && action != 'l';
  std::optional<OpenedImage> opened = open_image(context, argument);
  if (!opened) {
    return 1;
  }
  const int code = run_action(context, *opened->image, action, name);
  return close_image(context, *opened) ? code : 1;
}

}  // namespace varve::tool
