// varve_load: one load on one file, measured inside the process; the figures go to standard output
// as one line of JSON. bench/compare runs it beside qemu-img and fio.
//
// Usage: varve_load WORK FILE [NAME=VALUE ...]
//   WORK   requests, fill, copy, create, apply, delete, cut
//   NAME   target=image|file  direct=0|1  write=0|1  order=step|random  count=N  depth=N  bytes=N
//          step=N  seed=N  name=SNAPSHOT  guest=DEPTH  aio=io_uring|threads
//          tables=0|1 (cut)
#include <charconv>
#include <cstdio>
#include <exception>
#include <optional>
#include <string_view>

#include "load.h"

namespace varve::bench {

namespace {

struct CommandLine {
  std::string_view work;
  LoadOptions options;
  EngineOptions engine;
};

bool take_number(LoadOptions& options, std::string_view name, std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size()) {
    return false;
  }
  const struct {
    std::string_view name;
    std::uint64_t* target;
  } numbers[] = {{"count", &options.count}, {"depth", &options.depth},
                 {"bytes", &options.bytes}, {"step", &options.step},
                 {"seed", &options.seed},   {"guest", &options.guest_depth}};
  for (const auto& number : numbers) {
    if (number.name == name) {
      *number.target = value;
      return true;
    }
  }
  const struct {
    std::string_view name;
    bool* target;
  } switches[] = {
      {"direct", &options.direct}, {"write", &options.write}, {"tables", &options.keep_tables}};
  for (const auto& one : switches) {
    if (one.name == name) {
      *one.target = value != 0;
      return true;
    }
  }
  return false;
}

bool take_option(CommandLine& line, std::string_view argument) {
  const std::size_t equals = argument.find('=');
  if (equals == std::string_view::npos) {
    return false;
  }
  const std::string_view name = argument.substr(0, equals);
  const std::string_view value = argument.substr(equals + 1);
  if (name == "target") {
    line.options.is_image = value == "image";
    return value == "image" || value == "file";
  }
  if (name == "order") {
    line.options.random_order = value == "random";
    return value == "random" || value == "step";
  }
  if (name == "aio") {
    line.engine.backend = value == "threads" ? AioBackend::threads : AioBackend::io_uring;
    return value == "threads" || value == "io_uring";
  }
  if (name == "name") {
    line.options.name = value;
    return true;
  }
  return take_number(line.options, name, value);
}

std::optional<CommandLine> parse(int argc, char** argv) {
  CommandLine line;
  if (argc < 3) {
    return std::nullopt;
  }
  line.work = argv[1];
  line.options.path = argv[2];
  for (int i = 3; i < argc; ++i) {
    if (!take_option(line, argv[i])) {
      std::fprintf(stderr, "varve_load: cannot use '%s'\n", argv[i]);
      return std::nullopt;
    }
  }
  return line;
}

std::optional<Result<LoadReport>> run_work(Engine& engine, const CommandLine& line) {
  const struct {
    std::string_view name;
    SnapshotWork work;
  } snapshots[] = {{"create", SnapshotWork::create},
                   {"apply", SnapshotWork::apply},
                   {"delete", SnapshotWork::remove}};
  for (const auto& snapshot : snapshots) {
    if (snapshot.name == line.work) {
      return run_snapshot(engine, line.options, snapshot.work);
    }
  }
  if (line.work == "requests") {
    return run_requests(engine, line.options);
  }
  if (line.work == "fill") {
    return run_fill(engine, line.options);
  }
  if (line.work == "cut") {
    return run_cut(engine, line.options);
  }
  if (line.work == "copy") {
    return run_copy(engine, line.options);
  }
  return std::nullopt;
}

void print_guest(const char* name, const GuestReport& guest) {
  std::printf(", \"%s\": {\"seconds\": %.9f, \"requests\": %llu, \"longest_gap\": %.9f}", name,
              guest.seconds, static_cast<unsigned long long>(guest.requests),
              guest.longest_gap_seconds);
}

void print_json(const LoadReport& report) {
  std::printf(
      "{\"requests\": %llu, \"seconds\": %.9f, \"flush_seconds\": %.9f, \"pause_seconds\": %.9f, "
      "\"usable_seconds\": %.9f",
      static_cast<unsigned long long>(report.requests), report.seconds, report.flush_seconds,
      report.pause_seconds, report.usable_seconds);
  if (report.beside.requests != 0) {
    print_guest("beside", report.beside);
    print_guest("undisturbed", report.undisturbed);
  }
  std::printf("}\n");
}

int run(int argc, char** argv) {
  const std::optional<CommandLine> line = parse(argc, argv);
  if (!line) {
    std::fprintf(stderr, "Usage: varve_load WORK FILE [NAME=VALUE ...]\n");
    return 2;
  }
  Result<std::unique_ptr<Engine>> engine = Engine::create(line->engine);
  if (!engine) {
    std::fprintf(stderr, "varve_load: %s\n", describe(engine.error()).c_str());
    return 1;
  }
  const std::optional<Result<LoadReport>> report = run_work(**engine, *line);
  if (!report) {
    std::fprintf(stderr, "varve_load: no such work\n");
    return 2;
  }
  if (!*report) {
    std::fprintf(stderr, "varve_load: %s: %s\n", line->options.path.c_str(),
                 describe(report->error()).c_str());
    return 1;
  }
  print_json(**report);
  return 0;
}

}  // namespace

}  // namespace varve::bench

int main(int argc, char** argv) {
  try {
    return varve::bench::run(argc, argv);
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "varve_load: %s\n", problem.what());
    return 1;
  }
}
