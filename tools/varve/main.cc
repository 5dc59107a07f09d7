// The tool: a table of verbs. Called as qemu-img it is that tool, called as qemu-io it is that one.

#include <array>
#include <cstdlib>
#include <cstring>

#include <getopt.h>

#include "context.h"
#include "verbs.h"

namespace varve::tool {
namespace {

struct Verb {
  const char* name;
  int (*run)(Context&, int, char**);
  const char* summary;
  bool of_qemu_img;
};

constexpr std::array<Verb, 15> kVerbs = {{
    {"audit", run_audit, "Tell what to know of an image before it is trusted", false},
    {"bench", run_bench, "Time requests on an image", true},
    {"check", run_check, "Check whether an image's tables hold together", true},
    {"compare", run_compare, "Compare the disks in two images", true},
    {"convert", run_convert, "Copy a disk into a new image, of any format", true},
    {"create", run_create, "Make a new image", true},
    {"ctl", run_ctl, "Control a running export: snapshots of the image it serves", false},
    {"info", run_info, "Tell what an image is", true},
    {"inspect", run_inspect, "Show the layers of an image and what each snapshot costs", false},
    {"io", run_io, "Run qemu-io's commands on an image", false},
    {"map", run_map, "Show where a disk's data stands", true},
    {"rescue", run_rescue, "Copy what can be read of an image that cannot be opened", false},
    {"resize", run_resize, "Make a disk larger", true},
    {"snapshot", run_snapshot, "Take, list, apply and delete the snapshots in an image", true},
    {"version", run_version, "Show the version, the features built in and the engine", false},
}};

bool set_engine(Context& context, std::string_view name) {
  if (name == "io_uring") {
    context.engine_options.backend = AioBackend::io_uring;
  } else if (name == "threads") {
    context.engine_options.backend = AioBackend::threads;
  } else {
    context.error("Invalid aio option: {}", name);
    return false;
  }
  return true;
}

// Takes Varve's own options out of the arguments, so that the verbs' abbreviations stay qemu-img's.
// bench and io have an --aio of their own.
bool take_own_options(Context& context, int& argc, char** argv) {
  const bool own_aio =
      argc > 0 && (std::strcmp(argv[0], "bench") == 0 || std::strcmp(argv[0], "io") == 0);
  int kept = 0;
  bool operands_only = false;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument = argv[i];
    operands_only = operands_only || argument == "--";
    if (!operands_only && !own_aio && argument == "--aio" && i + 1 < argc) {
      if (!set_engine(context, argv[++i])) {
        return false;
      }
    } else if (!operands_only && !own_aio && argument.starts_with("--aio=")) {
      if (!set_engine(context, argument.substr(6))) {
        return false;
      }
    } else if (!operands_only && argument == "--strict-format") {
      context.strict_format = true;
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return true;
}

bool read_environment(Context& context) {
  const char* strict = std::getenv("VARVE_STRICT_FORMAT");
  context.strict_format = strict != nullptr && std::strcmp(strict, "1") == 0;
  const char* aio = std::getenv("VARVE_AIO");
  return aio == nullptr || *aio == '\0' || set_engine(context, aio);
}

int print_help(const Context& context) {
  print("Create, inspect, change and snapshot qcow2 and raw disk images.  Usage:\n\n");
  print("  {} [--aio io_uring|threads] [--strict-format] VERB [--help | options]\n\n",
        context.program);
  print("Verbs (run {} VERB --help for the options of each):\n\n", context.program);
  for (const Verb& verb : kVerbs) {
    print("  {} - {}\n", verb.name, verb.summary);
  }
  print("\nEnvironment: VARVE_AIO=io_uring|threads, VARVE_STRICT_FORMAT=1\n");
  return 0;
}

int run_verb(Context& context, int argc, char** argv) {
  for (const Verb& verb : kVerbs) {
    const bool offered = verb.of_qemu_img || context.program != "qemu-img";
    if (offered && std::strcmp(verb.name, argv[0]) == 0) {
      return take_own_options(context, argc, argv) ? verb.run(context, argc, argv) : 1;
    }
  }
  return context.usage_error("", "Command not found: {}", argv[0]);
}

// Options before the verb.
int run_tool(Context& context, int argc, char** argv) {
  constexpr int kAio = 256;
  constexpr int kStrict = 257;
  static const option kOptions[] = {{"help", no_argument, nullptr, 'h'},
                                    {"version", no_argument, nullptr, 'V'},
                                    {"trace", required_argument, nullptr, 'T'},
                                    {"aio", required_argument, nullptr, kAio},
                                    {"strict-format", no_argument, nullptr, kStrict},
                                    {nullptr, 0, nullptr, 0}};
  argv[0] = context.program.data();
  for (int letter = 0; (letter = getopt_long(argc, argv, "+hVT:", kOptions, nullptr)) != -1;) {
    switch (letter) {
      case 'h':
        return print_help(context);
      case 'V':
        return run_version(context, 1, argv);
      case 'T':
        break;  // There is nothing to trace.
      case kAio:
        if (!set_engine(context, optarg)) {
          return 1;
        }
        break;
      case kStrict:
        context.strict_format = true;
        break;
      default:
        return context.print_try_help("");
    }
  }
  if (optind >= argc) {
    return context.usage_error("", "Not enough arguments");
  }
  return run_verb(context, argc - optind, argv + optind);
}

int start(int argc, char** argv) {
  Context context;
  if (argc > 0) {
    const char* slash = std::strrchr(argv[0], '/');
    context.program = slash == nullptr ? argv[0] : slash + 1;
  }
  if (!read_environment(context)) {
    return 1;
  }
  if (context.program == "qemu-io") {
    return run_io(context, argc, argv);
  }
  return run_tool(context, argc, argv);
}

}  // namespace
}  // namespace varve::tool

int main(int argc, char** argv) {
  try {
    return varve::tool::start(argc, argv);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "varve: {}\n", failure.what());
    return 1;
  }
}
