// varve info: what an image is. Opens no file but the one named, unless the chain is asked for.

#include <algorithm>

#include <sys/stat.h>
#include <varve/bitmap.h>
#include <varve/snapshot.h>

#include "image_argument.h"
#include "json_text.h"
#include "messages.h"
#include "options.h"
#include "printable.h"
#include "size_text.h"
#include "snapshot_table.h"
#include "verbs.h"

namespace varve::tool {

namespace {

constexpr const char* kInfoHelp = R"(Tell what an image is.  Usage:

  {0} info [-f FMT | --image-opts] [-b] [-U] [-v] [--untrusted] [--no-budget]
        [--output human|json] FILENAME

  -f, --format FMT              raw or qcow2; detected otherwise
  --image-opts                  FILENAME is a list of key=value pairs
  -b, --backing-chain           and every image below it
  -U, --force-share             also while another program writes it
  -v, --verbose                 and which I/O engine runs here
  --untrusted                   refuse an image that names another file, or whose tables lie
                                outside the file or over each other
  --no-budget                   however much memory and work the image asks for
  --output human|json           form of the answer

Examples:
  {0} info disk.qcow2
  {0} info --output json --backing-chain disk.qcow2
)";

constexpr option kInfoLongOptions[] = {
    kHelpOption,       kObjectOption,
    kFormatOption,     kOutputOption,
    kImageOptsOption,  {"backing-chain", no_argument, nullptr, 'b'},
    kForceShareOption, {"verbose", no_argument, nullptr, 'v'},
    kUntrustedOption,  kNoBudgetOption,
    kEndOfOptions};

constexpr std::uint64_t kSectorSize = 512;  // qemu-img counts disks and files in these.

// Everything told about one image of the chain.
struct Description {
  std::string filename;
  std::string format;
  ImageFacts facts;
  std::vector<SnapshotInfo> snapshots;
  std::vector<BitmapInfo> bitmaps;
  std::uint64_t file_length = 0;
  std::optional<std::uint64_t> disk_bytes;  // Allocated by the file system.
  std::pair<dev_t, ino_t> identity;         // Of the file, whatever the names that lead to it.
};

std::uint64_t in_sectors(std::uint64_t bytes) {
  return (bytes + kSectorSize - 1) / kSectorSize * kSectorSize;
}

std::optional<Description> describe_image(Context& context, OpenedImage& opened) {
  Description result;
  result.filename = opened.filename;
  result.format = opened.format;
  result.facts = opened.image->facts();
  result.file_length = in_sectors(result.facts.file_size);
  struct stat status {};
  if (::stat(opened.filename.c_str(), &status) == 0) {
    result.disk_bytes = static_cast<std::uint64_t>(status.st_blocks) * kSectorSize;
    result.identity = {status.st_dev, status.st_ino};
  }
  if (result.facts.format == Format::qcow2) {
    Result<std::vector<SnapshotInfo>> snapshots = list_snapshots(*opened.image);
    if (!snapshots) {
      context.error("{}: {}", opened.filename, tool::short_words(snapshots.error()));
      return std::nullopt;
    }
    result.snapshots = std::move(*snapshots);
    Result<std::vector<BitmapInfo>> bitmaps = list_bitmaps(*opened.image);
    if (!bitmaps) {
      context.error("Could not open '{}': {}", opened.filename, describe(bitmaps.error()));
      return std::nullopt;
    }
    result.bitmaps = std::move(*bitmaps);
  }
  return result;
}

std::string full_backing_name(const Description& image) {
  return resolve_name(image.filename, image.facts.backing_name);
}

const char* yes_no(bool value) {
  return value ? "true" : "false";
}

// The words of a bitmap's flags.
std::vector<const char*> flag_words(const BitmapInfo& bitmap) {
  std::vector<const char*> words;
  if (bitmap.in_use) {
    words.push_back("in-use");
  }
  if (bitmap.automatic) {
    words.push_back("auto");
  }
  return words;
}

void print_bitmaps(const std::vector<BitmapInfo>& bitmaps) {
  if (bitmaps.empty()) {
    return;
  }
  print("    bitmaps:\n");
  for (std::size_t i = 0; i < bitmaps.size(); ++i) {
    print("        [{}]:\n            flags:\n", i);
    const std::vector<const char*> words = flag_words(bitmaps[i]);
    for (std::size_t word = 0; word < words.size(); ++word) {
      print("                [{}]: {}\n", word, words[word]);
    }
    print("            name: {}\n            granularity: {}\n", printable(bitmaps[i].name),
          bitmaps[i].granularity_bytes);
  }
}

void print_format_specific(const Description& image) {
  const ImageFacts& facts = image.facts;
  const bool version_3 = facts.version >= 3;
  print("Format specific information:\n");
  print("    compat: {}\n", version_3 ? "1.1" : "0.10");
  print("    compression type: {}\n", facts.compression == Compression::zstd ? "zstd" : "zlib");
  if (version_3) {
    print("    lazy refcounts: {}\n", yes_no(facts.lazy_refcounts));
  }
  print_bitmaps(image.bitmaps);
  print("    refcount bits: {}\n", facts.refcount_bits);
  if (!facts.data_file_name.empty()) {
    print("    data file: {}\n", printable(facts.data_file_name));
    print("    data file raw: {}\n", yes_no(facts.data_file_raw));
  }
  if (version_3) {
    print("    corrupt: {}\n", yes_no(facts.corrupt));
    print("    extended l2: {}\n", yes_no(facts.extended_l2));
  }
}

void print_disk_size(const Description& image, const char* indent) {
  if (image.disk_bytes) {
    print("{}disk size: {}\n", indent, format_size(*image.disk_bytes));
  } else {
    print("{}disk size: unavailable\n", indent);
  }
}

void print_human(const Description& image) {
  const ImageFacts& facts = image.facts;
  const std::uint64_t size = in_sectors(facts.virtual_size);
  print("image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\n", printable(image.filename),
        image.format, format_size(size), size);
  print_disk_size(image, "");
  if (facts.format == Format::qcow2) {
    print("cluster_size: {}\n", facts.cluster_bytes);
  }
  if (facts.dirty) {
    print("cleanly shut down: no\n");
  }
  if (!facts.backing_name.empty()) {
    const std::string full = full_backing_name(image);
    print("backing file: {}{}\n", printable(facts.backing_name),
          full == facts.backing_name ? "" : fmt::format(" (actual path: {})", printable(full)));
    if (!facts.backing_format.empty()) {
      print("backing file format: {}\n", printable(facts.backing_format));
    }
  }
  print("{}", format_snapshot_table(image.snapshots));
  if (facts.format == Format::qcow2) {
    print_format_specific(image);
  }
  if (image.format != "file") {
    print("Child node '/file':\n    filename: {}\n    protocol type: file\n",
          printable(image.filename));
    print("    file length: {} ({} bytes)\n", format_size(image.file_length), image.file_length);
    print_disk_size(image, "    ");
  }
}

// The file an image stands in, as a node of its own.
Json file_json(const Description& image) {
  Json node;
  node["children"] = Json::array();
  node["virtual-size"] = image.file_length;
  node["filename"] = image.filename;
  node["format"] = "file";
  if (image.disk_bytes) {
    node["actual-size"] = *image.disk_bytes;
  }
  node["format-specific"]["type"] = "file";
  node["format-specific"]["data"] = Json::object();
  node["dirty-flag"] = false;
  return node;
}

Json snapshots_json(const std::vector<SnapshotInfo>& snapshots) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  Json list = Json::array();
  for (const SnapshotInfo& snapshot : snapshots) {
    Json entry;
    if (snapshot.icount != -1) {
      entry["icount"] = snapshot.icount;
    }
    entry["vm-clock-nsec"] = snapshot.vm_clock_nanoseconds % kSecond;
    entry["name"] = snapshot.name;
    entry["date-sec"] = snapshot.date_seconds;
    entry["date-nsec"] = snapshot.date_nanoseconds;
    entry["vm-clock-sec"] = snapshot.vm_clock_nanoseconds / kSecond;
    entry["id"] = snapshot.id;
    entry["vm-state-size"] = snapshot.vm_state_size;
    list.push_back(std::move(entry));
  }
  return list;
}

Json bitmaps_json(const std::vector<BitmapInfo>& bitmaps) {
  Json list = Json::array();
  for (const BitmapInfo& bitmap : bitmaps) {
    Json flags = Json::array();
    for (const char* word : flag_words(bitmap)) {
      flags.push_back(word);
    }
    list.push_back(Json{{"flags", std::move(flags)},
                        {"name", bitmap.name},
                        {"granularity", bitmap.granularity_bytes}});
  }
  return list;
}

Json format_specific_json(const Description& image) {
  const ImageFacts& facts = image.facts;
  const bool version_3 = facts.version >= 3;
  Json data;
  data["compat"] = version_3 ? "1.1" : "0.10";
  data["compression-type"] = facts.compression == Compression::zstd ? "zstd" : "zlib";
  if (version_3) {
    data["lazy-refcounts"] = facts.lazy_refcounts;
  }
  if (!image.bitmaps.empty()) {
    data["bitmaps"] = bitmaps_json(image.bitmaps);
  }
  data["refcount-bits"] = facts.refcount_bits;
  if (!facts.data_file_name.empty()) {
    data["data-file"] = facts.data_file_name;
    data["data-file-raw"] = facts.data_file_raw;
  }
  if (version_3) {
    data["corrupt"] = facts.corrupt;
    data["extended-l2"] = facts.extended_l2;
  }
  return Json{{"type", "qcow2"}, {"data", std::move(data)}};
}

// Keys in qemu-img's order.
Json image_json(const Description& image) {
  const ImageFacts& facts = image.facts;
  Json node;
  node["children"] = Json::array();
  if (image.format != "file") {
    node["children"].push_back(Json{{"name", "file"}, {"info", file_json(image)}});
  }
  if (!image.snapshots.empty()) {
    node["snapshots"] = snapshots_json(image.snapshots);
  }
  if (!facts.backing_format.empty()) {
    node["backing-filename-format"] = facts.backing_format;
  }
  node["virtual-size"] = in_sectors(facts.virtual_size);
  node["filename"] = image.filename;
  if (facts.format == Format::qcow2) {
    node["cluster-size"] = facts.cluster_bytes;
  }
  node["format"] = image.format;
  if (image.disk_bytes) {
    node["actual-size"] = *image.disk_bytes;
  }
  if (facts.format == Format::qcow2) {
    node["format-specific"] = format_specific_json(image);
  } else if (image.format == "file") {
    node["format-specific"]["type"] = "file";
    node["format-specific"]["data"] = Json::object();
  }
  if (!facts.backing_name.empty()) {
    node["full-backing-filename"] = full_backing_name(image);
    node["backing-filename"] = facts.backing_name;
  }
  node["dirty-flag"] = facts.dirty;
  return node;
}

// Whether the file has been looked at, by this or another name.
bool is_among(const std::vector<Description>& images, const std::string& filename) {
  struct stat status {};
  const bool exists = ::stat(filename.c_str(), &status) == 0;
  const std::pair<dev_t, ino_t> identity{status.st_dev, status.st_ino};
  return std::any_of(images.begin(), images.end(), [&](const Description& seen) {
    return seen.filename == filename || (exists && seen.identity == identity);
  });
}

// Every image from `argument` down; one without `chain`. Empty after a message.
std::vector<Description> describe_chain(Context& context, ImageArgument argument, bool chain) {
  constexpr std::size_t kChainMax = 200;
  std::vector<Description> images;
  while (images.size() < kChainMax) {
    std::optional<OpenedImage> opened = open_image(context, argument);
    if (!opened) {
      return {};
    }
    std::optional<Description> image = describe_image(context, *opened);
    if (!close_image(context, *opened) || !image) {
      return {};
    }
    images.push_back(std::move(*image));
    const Description& last = images.back();
    if (!chain || last.facts.backing_name.empty()) {
      return images;
    }
    argument.text = full_backing_name(last);
    argument.image_opts = false;
    argument.format = std::nullopt;
    if (!last.facts.backing_format.empty()) {
      argument.format = last.facts.backing_format;
    }
    if (is_among(images, argument.text)) {
      context.error("Backing file '{}' creates an infinite loop.", printable(argument.text));
      return {};
    }
  }
  context.error("{}: the backing chain is longer than {} images", argument.text, kChainMax);
  return {};
}

// A tree of JSON takes many times what the tables take. False after a message.
bool can_afford_json(const Context& context, const std::vector<Description>& images) {
  constexpr std::size_t kEntriesMax = 20'000;
  std::size_t entries = 0;
  for (const Description& image : images) {
    entries += image.snapshots.size() + image.bitmaps.size();
  }
  if (entries > kEntriesMax) {
    context.error(
        "the budget of memory for JSON is exhausted: {} snapshots and bitmaps (limit {}); "
        "--no-budget lifts it",
        entries, kEntriesMax);
  }
  return entries <= kEntriesMax;
}

void print_images(const std::vector<Description>& images, bool json, bool chain) {
  if (json) {
    Json list = Json::array();
    for (const Description& image : images) {
      list.push_back(image_json(image));
    }
    print("{}\n", format_json(chain ? list : list.front()));
    return;
  }
  for (std::size_t i = 0; i < images.size(); ++i) {
    print("{}", i == 0 ? "" : "\n");
    print_human(images[i]);
  }
}

}  // namespace

int run_info(Context& context, int argc, char** argv) {
  ImageArgument argument;
  argument.open_backing = false;
  argument.open_data_file = false;
  argument.on_budget = true;
  bool json = false;
  bool chain = false;
  bool verbose = false;
  OptionParser parser(context, "info", argc, argv, "hf:bUv", kInfoLongOptions);
  for (int letter = 0; (letter = parser.next()) != -1;) {
    switch (letter) {
      case 'h':
        print(kInfoHelp, context.program);
        return 0;
      case 'b':
        chain = true;
        break;
      case 'v':
        verbose = true;
        break;
      case kOptionOutput:
        if (!parse_output(context, "info", parser.value(), json)) {
          return 1;
        }
        break;
      default:
        if (!take_image_option(letter, parser, argument)) {
          return context.print_try_help("info");
        }
        break;
    }
  }
  if (!take_only_image(context, "info", parser, argument)) {
    return 1;
  }
  const std::vector<Description> images = describe_chain(context, argument, chain);
  if (images.empty() || (json && argument.on_budget && !can_afford_json(context, images))) {
    return 1;
  }
  print_images(images, json, chain);
  if (verbose && !json) {
    print("I/O engine: {}\n", engine_name(context.engine()->backend()));
  }
  return 0;
}

}  // namespace varve::tool
