// varve check: whether an image keeps the format's rules.

#include <cstring>

#include <varve/check.h>

#include "image_argument.h"
#include "json_text.h"
#include "messages.h"
#include "options.h"
#include "printable.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kCheckHelp = R"(Check whether an image's tables hold together.  Usage:

  {0} check [-f FMT | --image-opts] [-T CACHE_MODE] [-r leaks|all] [-U] [-q] [--untrusted]
        [--no-budget] [--output human|json] FILENAME

  -f, --format FMT              raw or qcow2; detected otherwise
  --image-opts                  FILENAME is a list of key=value pairs
  -T, --cache CACHE_MODE        none, writeback (default), ...
  -r, --repair leaks|all        give leaked clusters back; or make every count and flag true,
                                rebuild refcounts that cannot be trusted, and take snapshots
                                whose entries cannot be read out of the table
  -U, --force-share             also while another program writes it
  --output human|json           form of the answer
  -q, --quiet                   the exit code only
  --untrusted                   refuse an image that names another file
  --no-budget                   however much memory and work the image asks for (as with -r)

Exit codes: 0 clean, 1 not checked, 2 corruptions, 3 leaked clusters, 63 the format has no checks;
with -r what is left afterwards counts. Repairing never changes what the disk holds; each snapshot
that cannot be kept is named before anything is written.

Examples:
  {0} check disk.qcow2
  {0} check --output json disk.qcow2
)";

constexpr option kCheckLongOptions[] = {kHelpOption,
                                        kQuietOption,
                                        kObjectOption,
                                        kFormatOption,
                                        {"cache", required_argument, nullptr, 'T'},
                                        {"repair", required_argument, nullptr, 'r'},
                                        kForceShareOption,
                                        kOutputOption,
                                        kImageOptsOption,
                                        kUntrustedOption,
                                        kNoBudgetOption,
                                        kEndOfOptions};

enum CheckExitCode : int { kClean = 0, kFailed = 1, kCorrupt = 2, kLeaks = 3, kUnsupported = 63 };

struct CheckRequest {
  ImageArgument image;
  std::string cache = "writeback";
  std::optional<Repair> repair;
  bool quiet = false;
  bool json = false;
};

// What was wrong, what is wrong now, and how much of it was put right.
struct CheckResult {
  CheckReport before;
  CheckReport now;
  std::optional<Error> left;
  bool is_repaired = false;
  bool refcounts_rebuilt = false;
  std::uint64_t entries_mended = 0;
  std::uint64_t overlaps_separated = 0;
  std::uint64_t leaks_fixed = 0;
  std::uint64_t corruptions_fixed = 0;
};

constexpr std::uint64_t kCopiedFlag = std::uint64_t{1} << 63;

// The count recorded for a cluster, where a finding says it.
std::uint64_t recorded_count(const CheckReport& report, const Finding& finding) {
  for (const Finding& other : report.findings) {
    if (other.table == IoTag::refcount_block && other.host_offset == finding.host_offset) {
      return other.found;
    }
  }
  return (finding.expected & kCopiedFlag) != 0 ? 1 : 2;
}

bool is_count(const Finding& finding) {
  return finding.severity == Severity::leak ||
         (finding.table == IoTag::refcount_block && finding.severity != Severity::failure);
}

std::string finding_words(const CheckReport& report, const Finding& finding,
                          std::uint32_t cluster_bytes) {
  const std::uint64_t cluster = finding.host_offset / cluster_bytes;
  if (finding.severity == Severity::leak) {
    return fmt::format("Leaked cluster {} refcount={} reference={}", cluster, finding.found,
                       finding.expected);
  }
  if (finding.table == IoTag::refcount_block && finding.severity != Severity::failure) {
    return fmt::format("ERROR cluster {} refcount={} reference={}", cluster, finding.found,
                       finding.expected);
  }
  if (finding.table == IoTag::l2 && finding.reason == Corruption::copied_flag_wrong) {
    return fmt::format("ERROR OFLAG_COPIED data cluster: l2_entry={:x} refcount={}", finding.found,
                       recorded_count(report, finding));
  }
  if (finding.table == IoTag::l2 && finding.reason == Corruption::cluster_offset_unaligned) {
    return fmt::format(
        "ERROR offset={:x}: Data cluster is not properly aligned; L2 entry corrupted.",
        finding.found);
  }
  return fmt::format("ERROR {} at offset={:x}: {} (host offset {:x}, found {:x}, expected {:x})",
                     io_tag_name(finding.table), finding.offset, corruption_name(finding.reason),
                     finding.host_offset, finding.found, finding.expected);
}

// A flag that disagrees with a count which is itself wrong, and agrees with the true one: nothing
// is done to it when the count is put right.
bool is_true_flag(const CheckReport& report, const Finding& flag) {
  for (const Finding& other : report.findings) {
    if (is_count(other) && other.host_offset == flag.host_offset) {
      return ((flag.found & kCopiedFlag) != 0) == (other.expected == 1);
    }
  }
  return false;
}

bool is_flag(const Finding& finding) {
  return finding.reason == Corruption::copied_flag_wrong;
}

// In qemu-img's order: what is wrong, the counts that are put right, the flags, which it judges in
// a pass of its own.
void print_findings(const CheckResult& result, std::uint32_t cluster_bytes) {
  const CheckReport& report = result.before;
  for (const Finding& finding : report.findings) {
    if (!is_flag(finding)) {
      fmt::print(stderr, "{}\n", finding_words(report, finding, cluster_bytes));
    }
  }
  for (const Finding& finding : report.findings) {
    if (result.is_repaired && is_count(finding)) {
      fmt::print(stderr, "Repairing cluster {} refcount={} reference={}\n",
                 finding.host_offset / cluster_bytes, finding.found, finding.expected);
    }
  }
  for (const Finding& finding : report.findings) {
    if (!is_flag(finding) || (result.is_repaired && is_true_flag(report, finding))) {
      continue;
    }
    std::string words = finding_words(report, finding, cluster_bytes);
    if (result.is_repaired && words.starts_with("ERROR")) {
      words.replace(0, std::strlen("ERROR"), "Repairing");
    }
    fmt::print(stderr, "{}\n", words);
  }
}

void print_loss(const Loss& loss) {
  const std::string reason = corruption_name(loss.reason);
  if (loss.kind == Loss::Kind::rest_of_table) {
    fmt::print(stderr, "LOST snapshots {} to {} of the table: their entries cannot be found ({})\n",
               loss.index + 1, std::uint64_t{loss.index} + loss.count, reason);
    return;
  }
  if (loss.kind == Loss::Kind::bitmap && loss.name.empty()) {
    fmt::print(stderr, "LOST {} bitmaps whose directory cannot be read ({})\n", loss.count, reason);
    return;
  }
  if (loss.kind == Loss::Kind::bitmap) {
    fmt::print(stderr, "LOST bitmap '{}' ({})\n", printable(loss.name), reason);
    return;
  }
  const std::string snapshot = fmt::format("snapshot {} (id '{}', name '{}')", loss.index + 1,
                                           printable(loss.id), printable(loss.name));
  switch (loss.kind) {
    case Loss::Kind::machine_state:
      fmt::print(stderr, "LOST the machine state of {}; its disk is kept ({})\n", snapshot, reason);
      break;
    case Loss::Kind::disk_size:
      fmt::print(stderr, "LOST the size of {}: it is as large as the disk now ({})\n", snapshot,
                 reason);
      break;
    default:
      fmt::print(stderr, "LOST {} ({})\n", snapshot, reason);
      break;
  }
}

void print_done(const CheckResult& result) {
  if (result.refcounts_rebuilt) {
    fmt::print(stderr, "Rebuilt the refcount table and its blocks in free space\n");
  }
  if (result.entries_mended != 0) {
    fmt::print(stderr, "Cleared stray bits in {} entries of L1 and L2 tables\n",
               result.entries_mended);
  }
  if (result.overlaps_separated != 0) {
    fmt::print(stderr, "Gave {} clusters that lay over tables or other data a place of their own\n",
               result.overlaps_separated);
  }
}

void print_fixed(const CheckResult& result) {
  if (result.leaks_fixed + result.corruptions_fixed == 0) {
    return;
  }
  print("The following inconsistencies were found and repaired:\n\n");
  print("    {} leaked clusters\n    {} corruptions\n\n", result.leaks_fixed,
        result.corruptions_fixed);
  print("Double checking the fixed image now...\n");
}

void print_human(const CheckReport& report) {
  if (report.corruptions == 0 && report.leaks == 0 && report.failures == 0) {
    print("No errors were found on the image.\n");
  }
  if (report.corruptions != 0) {
    print("\n{} errors were found on the image.\n", report.corruptions);
    print("Data may be corrupted, or further writes to the image may corrupt it.\n");
  }
  if (report.leaks != 0) {
    print("\n{} leaked clusters were found on the image.\n", report.leaks);
    print("This means waste of disk space, but no harm to data.\n");
  }
  if (report.failures != 0) {
    print("\n{} internal errors have occurred during the check.\n", report.failures);
  }
  if (report.total_clusters != 0 && report.allocated_clusters != 0) {
    const auto allocated = static_cast<double>(report.allocated_clusters);
    print("{}/{} = {:.2f}% allocated, {:.2f}% fragmented, {:.2f}% compressed clusters\n",
          report.allocated_clusters, report.total_clusters,
          allocated * 100.0 / static_cast<double>(report.total_clusters),
          static_cast<double>(report.fragmented_clusters) * 100.0 / allocated,
          static_cast<double>(report.compressed_clusters) * 100.0 / allocated);
  }
  if (report.image_end_offset != 0) {
    print("Image end offset: {}\n", report.image_end_offset);
  }
}

// Keys in qemu-img's order; counts that are zero are left out.
void print_json(const CheckResult& result, const OpenedImage& opened) {
  const CheckReport& report = result.now;
  Json node;
  const auto add = [&node](const char* key, std::uint64_t value) {
    if (value != 0) {
      node[key] = value;
    }
  };
  add("image-end-offset", report.image_end_offset);
  add("compressed-clusters", report.compressed_clusters);
  add("total-clusters", report.total_clusters);
  add("corruptions-fixed", result.corruptions_fixed);
  add("corruptions", report.corruptions);
  node["check-errors"] = report.failures;
  add("leaks-fixed", result.leaks_fixed);
  add("leaks", report.leaks);
  add("allocated-clusters", report.allocated_clusters);
  node["filename"] = opened.filename;
  node["format"] = opened.format;
  add("fragmented-clusters", report.fragmented_clusters);
  print("{}\n", format_json(node));
}

int exit_code(const CheckReport& report) {
  if (report.corruptions != 0) {
    return kCorrupt;
  }
  if (report.leaks != 0) {
    return kLeaks;
  }
  return report.failures != 0 ? kFailed : kClean;
}

// Checks, and repairs where that is asked for.
Result<CheckResult> examine(Image& image, const CheckRequest& request) {
  CheckResult result;
  if (request.repair) {
    CheckOptions options;
    options.about_to_lose = print_loss;
    Result<RepairReport> repaired = repair(image, *request.repair, options);
    if (!repaired) {
      return repaired.error();
    }
    result.before = std::move(repaired->before);
    result.now = std::move(repaired->after);
    result.left = repaired->left;
    result.refcounts_rebuilt = repaired->refcounts_rebuilt;
    result.entries_mended = repaired->entries_mended;
    result.overlaps_separated = repaired->overlaps_separated;
    const auto less = [](std::uint64_t before, std::uint64_t after) {
      return before > after ? before - after : 0;
    };
    result.leaks_fixed = less(result.before.leaks, result.now.leaks);
    result.corruptions_fixed = less(result.before.corruptions, result.now.corruptions);
    result.is_repaired =
        result.leaks_fixed + result.corruptions_fixed != 0 && !result.left.has_value();
    for (const Finding& finding : result.before.findings) {
      const bool is_untouched = is_flag(finding) && is_true_flag(result.before, finding);
      result.corruptions_fixed -= result.is_repaired && is_untouched ? 1 : 0;
    }
    return result;
  }
  Result<CheckReport> report = check(image);
  if (!report) {
    return report.error();
  }
  result.before = *report;
  result.now = std::move(*report);
  return result;
}

int check_image(Context& context, const CheckRequest& request) {
  std::optional<OpenedImage> opened = open_image(context, request.image);
  if (!opened) {
    return kFailed;
  }
  if (opened->image->facts().format == Format::raw) {
    context.error("This image format does not support checks");
    (void)opened->image->close();
    return kUnsupported;
  }
  const std::uint32_t cluster_bytes = opened->image->facts().cluster_bytes;
  const Result<CheckResult> result = examine(*opened->image, request);
  if (!result) {
    context.error("Check failed: {}", short_words(result.error()));
    (void)opened->image->close();
    return kFailed;
  }
  print_findings(*result, cluster_bytes);
  print_done(*result);
  if (result->left) {
    context.error("{}: {}", opened->filename, describe(*result->left));
  }
  if (request.json) {
    print_json(*result, *opened);
  } else if (!request.quiet) {
    print_fixed(*result);
    print_human(result->now);
  }
  return close_image(context, *opened) ? exit_code(result->now) : kFailed;
}

// False after a message.
bool take_repair(const Context& context, const std::string& value, CheckRequest& request) {
  if (value != "leaks" && value != "all") {
    context.usage_error("check", "--repair (-r) expects 'leaks' or 'all' not '{}'", value);
    return false;
  }
  request.repair = value == "leaks" ? Repair::leaks : Repair::all;
  request.image.writable = true;
  return true;
}

}  // namespace

int run_check(Context& context, int argc, char** argv) {
  CheckRequest request;
  // What is damaged is looked at, and repaired, as far as it can be read.
  request.image.allow_corrupt = true;
  request.image.on_budget = true;
  OptionParser parser(context, "check", argc, argv, "hf:r:T:qU", kCheckLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    switch (letter) {
      case 'h':
        print(kCheckHelp, context.program);
        return 0;
      case 'r':
        if (!take_repair(context, parser.value(), request)) {
          return kFailed;
        }
        break;
      case 'T':
        request.cache = parser.value();
        break;
      case 'q':
        request.quiet = true;
        break;
      case kOptionOutput:
        if (!parse_output(context, "check", parser.value(), request.json)) {
          return kFailed;
        }
        break;
      default:
        if (!take_image_option(letter, parser, request.image)) {
          return context.print_try_help("check");
        }
        break;
    }
  }
  if (!take_only_image(context, "check", parser, request.image)) {
    return kFailed;
  }
  if (request.repair && request.image.untrusted) {
    context.error(
        "--untrusted and --repair are mutually exclusive: an untrusted image is only read");
    return kFailed;
  }
  if (request.repair) {
    request.image.on_budget = false;  // What is begun is brought to its end.
  } else {
    request.image.open_backing = false;
    request.image.open_data_file = false;
  }
  const std::optional<CacheMode> cache = parse_cache_mode(request.cache);
  if (!cache) {
    context.error("Invalid source cache option: {}", request.cache);
    return kFailed;
  }
  request.image.cache = *cache;
  return check_image(context, request);
}

}  // namespace varve::tool
