// varve rescue: all that can be read of an image that cannot be opened or repaired.

#include <algorithm>
#include <filesystem>

#include <varve/create.h>
#include <varve/rescue.h>

#include "json_text.h"
#include "own_verb.h"
#include "progress.h"
#include "size_text.h"
#include "verbs.h"

#include <CLI/CLI.hpp>

namespace varve::tool {

namespace {

enum RescueExitCode : int {
  kRescueWhole = 0,
  kRescueFailed = 1,
  kRescueLost = 2,
  kRescueDoubtful = 3
};

struct RescueRequest {
  std::string source;
  std::string target;
  std::string format = "qcow2";
  std::string cluster_size;
  std::string size;
  std::string l1_offset;
  std::string extended_l2;
  std::string compression;
  RescueOptions options;
  bool json = false;
  bool progress = false;
};

const char* reason_words(Corruption reason) {
  return reason == Corruption::none ? "unreadable" : corruption_name(reason);
}

void print_human(const RescueRequest& request, const Rescue& rescue, const RescueReport& report) {
  for (const std::string& note : rescue.notes()) {
    print("Note: {}\n", note);
  }
  if (!rescue.backing_name().empty()) {
    print("Note: {} of the disk are not in the image; its backing file '{}' may hold them\n",
          format_size(report.unallocated_bytes), rescue.backing_name());
  }
  print("Copied {} of data to {}\n", format_size(report.copied_bytes), request.target);
  if (report.lost_bytes == 0) {
    print("Nothing is lost.\n");
    return;
  }
  print("Lost {} in {} ranges, zeros in the copy:\n", format_size(report.lost_bytes),
        report.lost_ranges);
  constexpr const char* kRow = "{:<18} {:<18} {:<18} {}\n";
  print(kRow, "Offset", "Length", "Looked for at", "Why");
  for (const LostRange& range : report.lost) {
    print(kRow, fmt::format("{:#x}", range.offset), fmt::format("{:#x}", range.length),
          fmt::format("{:#x}", range.source_offset), reason_words(range.reason));
  }
  if (report.lost.size() < report.lost_ranges) {
    print("... and {} more\n", report.lost_ranges - report.lost.size());
  }
}

void print_json(const RescueRequest& request, const Rescue& rescue, const RescueReport& report) {
  Json lost = Json::array();
  for (const LostRange& range : report.lost) {
    Json node;
    node["start"] = range.offset;
    node["length"] = range.length;
    node["source-offset"] = range.source_offset;
    node["reason"] = reason_words(range.reason);
    lost.push_back(std::move(node));
  }
  Json notes = Json::array();
  for (const std::string& note : rescue.notes()) {
    notes.push_back(note);
  }
  Json root;
  root["filename"] = request.source;
  root["target"] = request.target;
  root["virtual-size"] = rescue.size();
  root["cluster-size"] = rescue.cluster_bytes();
  if (!rescue.backing_name().empty()) {
    root["backing-filename"] = rescue.backing_name();
  }
  root["copied-bytes"] = report.copied_bytes;
  root["unallocated-bytes"] = report.unallocated_bytes;
  root["lost-bytes"] = report.lost_bytes;
  root["lost-ranges"] = report.lost_ranges;
  root["lost"] = std::move(lost);
  root["notes"] = std::move(notes);
  print("{}\n", format_json(root));
}

// False after a message.
bool take_number(const Context& context, const char* option, const std::string& text,
                 std::optional<std::uint64_t>& value) {
  if (text.empty()) {
    return true;
  }
  const ParsedSize parsed = parse_size(text);
  if (parsed.status != SizeStatus::ok) {
    context.usage_error("rescue", "{}: '{}' is not a number of bytes", option, text);
    return false;
  }
  value = parsed.bytes;
  return true;
}

bool take_options(const Context& context, RescueRequest& request) {
  std::optional<std::uint64_t> cluster;
  if (!take_number(context, "--cluster-size", request.cluster_size, cluster) ||
      !take_number(context, "--size", request.size, request.options.size_bytes) ||
      !take_number(context, "--l1-offset", request.l1_offset, request.options.l1_offset)) {
    return false;
  }
  if (cluster) {
    // Whatever is no cluster size is refused as one.
    constexpr std::uint64_t kMax = 0xffff'ffff;
    request.options.cluster_bytes = static_cast<std::uint32_t>(std::min(*cluster, kMax));
  }
  if (!request.extended_l2.empty()) {
    request.options.extended_l2 = request.extended_l2 == "on";
  }
  if (!request.compression.empty()) {
    request.options.compression =
        request.compression == "zstd" ? Compression::zstd : Compression::zlib;
  }
  return true;
}

// The new image, open for writing; null after a message.
std::unique_ptr<Image> make_target(Context& context, const RescueRequest& request,
                                   const Rescue& rescue) {
  CreateOptions options;
  options.format = request.format == "raw" ? Format::raw : Format::qcow2;
  options.size_bytes = rescue.size();
  options.cluster_bytes = std::max(rescue.cluster_bytes(), options.cluster_bytes);
  const Result<void> made = create_image(*context.engine(), request.target, options);
  if (!made) {
    context.error("{}: {}", request.target, describe(made.error()));
    return nullptr;
  }
  OpenOptions open_options;
  open_options.format = options.format;
  open_options.writable = true;
  auto target = Image::open(*context.engine(), request.target, open_options);
  if (!target) {
    context.error("{}: {}", request.target, describe(target.error()));
    return nullptr;
  }
  return std::move(*target);
}

int rescue_image(Context& context, RescueRequest& request) {
  std::error_code ignored;
  if (std::filesystem::exists(request.target, ignored)) {
    context.error("{}: exists already; rescue writes to a new file", request.target);
    return kRescueFailed;
  }
  if (context.engine() == nullptr) {
    return kRescueFailed;
  }
  auto source = open_file(*context.engine(), request.source, FileOptions{});
  if (!source) {
    context.error("{}: {}", request.source, describe(source.error()));
    return kRescueFailed;
  }
  catch_interrupts();
  Progress progress(request.progress, 1.0);
  request.options.cancel = &interrupted();
  request.options.progress = [&progress](std::uint64_t done, std::uint64_t total) {
    progress.report(done, total);
  };
  Result<Rescue> rescue = Rescue::open(std::move(*source), request.options);
  if (!rescue) {
    context.error("{}: {}", request.source, describe(rescue.error()));
    return kRescueFailed;
  }
  const std::unique_ptr<Image> target = make_target(context, request, *rescue);
  if (target == nullptr) {
    return kRescueFailed;
  }
  const Result<RescueReport> report = rescue->copy_to(*target);
  const Result<void> closed = target->close();
  if (!report && report.error().code == ErrorCode::cancelled) {
    exit_by_signal();
  }
  if (!report || !closed) {
    context.error("{}: {}", request.target, describe(report ? closed.error() : report.error()));
    return kRescueFailed;
  }
  if (request.json) {
    print_json(request, *rescue, *report);
  } else {
    print_human(request, *rescue, *report);
  }
  if (report->lost_bytes != 0) {
    return kRescueLost;
  }
  return rescue->notes().empty() ? kRescueWhole : kRescueDoubtful;
}

}  // namespace

int run_rescue(Context& context, int argc, char** argv) {
  RescueRequest request;
  CLI::App app(
      "Copy all that can be read of a qcow2 image that cannot be opened or repaired to a new "
      "image, and tell what could not.",
      context.program + " rescue");
  app.add_option("source", request.source, "The image; only read")->required();
  app.add_option("target", request.target, "The new image; must not exist")->required();
  app.add_option("-O,--target-format", request.format, "Of the new image: qcow2 (default) or raw")
      ->check(CLI::IsMember({"qcow2", "raw"}));
  app.add_option("--cluster-size", request.cluster_size, "Instead of the header's");
  app.add_option("--size", request.size, "Of the disk, instead of the header's");
  app.add_option("--l1-offset", request.l1_offset,
                 "Where the L1 table stands: the disk's, or a snapshot's to rescue that");
  app.add_option("--l1-entries", request.options.l1_entries, "How many entries it has");
  app.add_option("--extended-l2", request.extended_l2, "on or off, instead of the header's")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--compression", request.compression, "zlib or zstd, instead of the header's")
      ->check(CLI::IsMember({"zlib", "zstd"}));
  app.add_flag("--json", request.json, "Answer as JSON");
  app.add_flag("-p,--progress", request.progress, "Show progress");
  app.footer(
      fmt::format("Exit codes: 0 all is copied, 1 error, 2 something is lost, 3 all is "
                  "copied but the header was not believed.\n\nExamples:\n"
                  "  {0} rescue broken.qcow2 saved.qcow2\n"
                  "  {0} rescue --cluster-size 64k --l1-offset 0x30000 --size 40G "
                  "broken.qcow2 saved.qcow2",
                  context.program));
  if (const std::optional<int> code = parse_own(context, "rescue", app, argc, argv)) {
    return *code;
  }
  return take_options(context, request) ? rescue_image(context, request) : kRescueFailed;
}

}  // namespace varve::tool
