#include "create_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <vector>

#include "image_argument.h"
#include "messages.h"
#include "preallocation.h"
#include "size_text.h"

namespace varve::tool {

namespace {

enum class Kind : std::uint8_t { text, size, number, boolean };

struct OptionRow {
  const char* name;
  Kind kind;
  const char* help;
};

// In the order of qemu-img's "Formatting" line.
constexpr std::array<OptionRow, 22> kQcow2Rows = {{
    {"encryption", Kind::boolean,
     "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"},
    {"encrypt.format", Kind::text, "Encrypt the image, format choices: 'aes', 'luks'"},
    {"encrypt.key-secret", Kind::text, "ID of secret providing qcow AES key or LUKS passphrase"},
    {"encrypt.cipher-alg", Kind::text, "Name of encryption cipher algorithm"},
    {"encrypt.cipher-mode", Kind::text, "Name of encryption cipher mode"},
    {"encrypt.ivgen-alg", Kind::text, "Name of IV generator algorithm"},
    {"encrypt.ivgen-hash-alg", Kind::text, "Name of IV generator hash algorithm"},
    {"encrypt.hash-alg", Kind::text, "Name of encryption hash algorithm"},
    {"encrypt.iter-time", Kind::number, "Time to spend in PBKDF in milliseconds"},
    {"cluster_size", Kind::size, "qcow2 cluster size"},
    {"extended_l2", Kind::boolean, "Extended L2 tables"},
    {"preallocation", Kind::text,
     "Preallocation mode (allowed values: off, metadata, falloc, full)"},
    {"compression_type", Kind::text, "Compression method used for image cluster compression"},
    {"size", Kind::size, "Virtual disk size"},
    {"compat", Kind::text, "Compatibility level (v2 [0.10] or v3 [1.1])"},
    {"backing_file", Kind::text, "File name of a base image"},
    {"backing_fmt", Kind::text, "Image format of the base image"},
    {"data_file", Kind::text, "File name of an external data file"},
    {"data_file_raw", Kind::boolean, "The external data file must stay valid as a raw image"},
    {"lazy_refcounts", Kind::boolean, "Postpone refcount updates"},
    {"refcount_bits", Kind::number, "Width of a reference count entry in bits"},
    {"nocow", Kind::boolean, "Turn off copy-on-write (valid only on btrfs)"},
}};
constexpr OptionRow kExtentSizeHint = {"extent_size_hint", Kind::size,
                                       "Extent size hint for the image file, 0 to disable"};
constexpr std::array<OptionRow, 3> kRawRows = {{
    {"size", Kind::size, "Virtual disk size"},
    {"nocow", Kind::boolean, "Turn off copy-on-write (valid only on btrfs)"},
    {"preallocation", Kind::text, "Preallocation mode (allowed values: off, falloc, full)"},
}};

std::vector<OptionRow> rows_of(const std::string& format) {
  const std::span<const OptionRow> rows =
      format == "qcow2" ? std::span<const OptionRow>(kQcow2Rows) : kRawRows;
  std::vector<OptionRow> all(rows.begin(), rows.end());
  all.push_back(kExtentSizeHint);
  return all;
}

// `value` as it is kept and printed; nothing with the reason when it is of the wrong kind.
std::optional<std::string> normalise(const OptionRow& row, const std::string& value,
                                     std::string& reason) {
  if (row.kind == Kind::boolean) {
    if (value != "on" && value != "off" && value != "yes" && value != "no" && value != "true" &&
        value != "false" && value != "y" && value != "n") {
      reason = fmt::format("Parameter '{}' expects 'on' or 'off'", row.name);
      return std::nullopt;
    }
    return value == "on" || value == "yes" || value == "true" || value == "y" ? "on" : "off";
  }
  if (row.kind == Kind::size) {
    const ParsedSize parsed = parse_size(value);
    if (parsed.status == SizeStatus::out_of_range) {
      reason = fmt::format("Value '{}' is out of range for parameter '{}'", value, row.name);
      return std::nullopt;
    }
    if (parsed.status == SizeStatus::malformed) {
      reason = fmt::format(
          "Parameter '{}' expects a non-negative number below 2^64\n"
          "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
          "and exabytes, respectively.",
          row.name);
      return std::nullopt;
    }
    return std::to_string(parsed.bytes);
  }
  if (row.kind == Kind::number) {
    std::uint64_t number = 0;
    const char* end = value.data() + value.size();
    const auto [stop, problem] = std::from_chars(value.data(), end, number);
    if (problem != std::errc() || stop != end) {
      reason = fmt::format("Parameter '{}' expects a number", row.name);
      return std::nullopt;
    }
    return std::to_string(number);
  }
  return value;
}

std::string escape_commas(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    escaped.append(c == ',' ? 2 : 1, c);
  }
  return escaped;
}

bool refuse(std::string& reason, std::string text) {
  reason = std::move(text);
  return false;
}

}  // namespace

bool CreateValues::add(const KeyValueList& list, std::string& reason) {
  const std::vector<OptionRow> rows = rows_of(format_);
  for (const auto& [key, value] : list) {
    const auto row = std::find_if(rows.begin(), rows.end(),
                                  [&name = key](const OptionRow& r) { return r.name == name; });
    if (row == rows.end()) {
      return refuse(reason, fmt::format("Invalid parameter '{}'", key));
    }
    const std::optional<std::string> kept = normalise(*row, value, reason);
    if (!kept) {
      return false;
    }
    values_[key] = *kept;
  }
  return true;
}

std::optional<std::string> CreateValues::find(std::string_view name) const {
  const auto found = values_.find(std::string(name));
  return found == values_.end() ? std::nullopt : std::optional(found->second);
}

std::string CreateValues::listing() const {
  std::map<std::string, std::string> shown = values_;
  if (format_ == "qcow2") {
    shown.emplace("cluster_size", "65536");
    shown.emplace("extended_l2", "off");
    shown.emplace("compression_type", "zlib");
    shown.emplace("lazy_refcounts", "off");
    shown.emplace("refcount_bits", "16");
  }
  std::string text;
  for (const OptionRow& row : rows_of(format_)) {
    const auto found = shown.find(row.name);
    if (found != shown.end()) {
      text += fmt::format(" {}={}", row.name, escape_commas(found->second));
    }
  }
  return text;
}

bool CreateValues::check_version_2(std::string& reason) const {
  constexpr const char* kNeeds = "compatibility level 1.1 {}above (use version=v3 or greater)";
  const auto needs = [&](const char* what, const char* joint) {
    return refuse(reason, std::string(what) + fmt::format(kNeeds, joint));
  };
  if (find("lazy_refcounts") == "on") {
    return needs("Lazy refcounts only supported with ", "and ");
  }
  if (find("extended_l2") == "on") {
    return needs("Extended L2 entries are only supported with ", "and ");
  }
  if (find("refcount_bits").value_or("16") != "16") {
    return needs("Different refcount widths than 16 bits require ", "or ");
  }
  if (find("data_file")) {
    return needs("External data files are only supported with ", "and ");
  }
  if (find("compression_type").value_or("zlib") != "zlib") {
    return needs("Non-zlib compression type is only supported with ", "and ");
  }
  return true;
}

bool CreateValues::check_combinations(const CreateOptions& options, std::string& reason) const {
  const std::uint64_t cluster = std::stoull(find("cluster_size").value_or("65536"));
  const std::uint64_t bits = std::stoull(find("refcount_bits").value_or("16"));
  if (cluster < 512 || cluster > 2048 * 1024 || (cluster & (cluster - 1)) != 0) {
    return refuse(reason, "Cluster size must be a power of two between 512 and 2048k");
  }
  if (options.extended_l2 && cluster < 16384) {
    return refuse(reason,
                  "Extended L2 entries are only supported with cluster sizes of at least 16384 "
                  "bytes");
  }
  if (!options.backing_name.empty() && options.preallocation != Preallocation::off &&
      !options.extended_l2) {
    return refuse(reason,
                  "Backing file and preallocation can only be used at the same time if "
                  "extended_l2 is on");
  }
  if (bits < 1 || bits > 64 || (bits & (bits - 1)) != 0) {
    return refuse(reason, "Refcount width must be a power of two and may not exceed 64 bits");
  }
  if (options.version == 2 && !check_version_2(reason)) {
    return false;
  }
  if (options.backing_name.empty() && !options.backing_format.empty()) {
    return refuse(reason, "Backing format cannot be used without backing file");
  }
  if (options.data_file_raw && options.data_file_name.empty()) {
    return refuse(reason, "data-file-raw requires data-file");
  }
  if (options.data_file_raw && !options.backing_name.empty()) {
    return refuse(reason, "Backing file and data-file-raw cannot be used at the same time");
  }
  return true;
}

bool CreateValues::to_qcow2(CreateOptions& options, std::string& reason) const {
  if (find("encryption") == "on" || find("encrypt.format")) {
    return refuse(reason, "Encryption is not supported");
  }
  const std::string compat = find("compat").value_or("1.1");
  const bool version_2 = compat == "0.10" || compat == "v2";
  if (!version_2 && compat != "1.1" && compat != "v3") {
    return refuse(reason, fmt::format("Parameter 'version' does not accept value '{}'", compat));
  }
  options.version = version_2 ? 2 : 3;
  const std::string compression = find("compression_type").value_or("zlib");
  if (compression != "zlib" && compression != "zstd") {
    return refuse(reason, fmt::format("Parameter 'compression-type' does not accept value '{}'",
                                      compression));
  }
  options.compression = compression == "zstd" ? Compression::zstd : Compression::zlib;
  options.backing_name = find("backing_file").value_or("");
  options.backing_format = find("backing_fmt").value_or("");
  if (!options.backing_format.empty() && !format_by_name(options.backing_format)) {
    return refuse(reason, fmt::format("Parameter 'backing-fmt' does not accept value '{}'",
                                      options.backing_format));
  }
  options.data_file_name = find("data_file").value_or("");
  options.data_file_raw = find("data_file_raw") == "on";
  options.lazy_refcounts = find("lazy_refcounts") == "on";
  options.extended_l2 = find("extended_l2") == "on";
  if (!check_combinations(options, reason)) {
    return false;
  }
  options.cluster_bytes =
      static_cast<std::uint32_t>(std::stoull(find("cluster_size").value_or("65536")));
  options.refcount_bits =
      static_cast<std::uint32_t>(std::stoull(find("refcount_bits").value_or("16")));
  return true;
}

std::optional<CreateOptions> CreateValues::to_options(std::string& reason) const {
  CreateOptions options;
  options.format = *format_by_name(format_);
  options.size_bytes = std::stoull(find("size").value_or("0"));
  const std::string preallocation = find("preallocation").value_or("off");
  const std::optional<Preallocation> mode = preallocation_by_name(preallocation);
  if (!mode) {
    reason =
        format_ == "qcow2"
            ? fmt::format("Parameter 'preallocation' does not accept value '{}'", preallocation)
            : fmt::format("invalid parameter value: {}", preallocation);
    return std::nullopt;
  }
  options.preallocation = *mode;
  if (options.format == Format::raw && *mode == Preallocation::metadata) {
    reason = "Unsupported preallocation mode: metadata";
    return std::nullopt;
  }
  if (options.format == Format::qcow2 && !to_qcow2(options, reason)) {
    return std::nullopt;
  }
  return options;
}

void print_create_help(const std::string& format, bool protocol) {
  std::vector<OptionRow> rows = rows_of(format);
  if (!protocol) {
    std::erase_if(rows, [&](const OptionRow& row) {
      const std::string_view name = row.name;
      return name == "nocow" || name == "extent_size_hint" ||
             (format == "raw" && name == "preallocation");
    });
  }
  std::sort(rows.begin(), rows.end(), [](const OptionRow& a, const OptionRow& b) {
    return std::string_view(a.name) < std::string_view(b.name);
  });
  constexpr std::array<const char*, 4> kKinds = {"str", "size", "num", "bool (on/off)"};
  if (protocol) {
    print("Supported options:\n");
  } else {
    print("Supported {} options:\n", format);
  }
  for (const OptionRow& row : rows) {
    const std::string left =
        fmt::format("{}=<{}>", row.name, kKinds[static_cast<std::size_t>(row.kind)]);
    print("  {:<22} - {}\n", left, row.help);
  }
  if (!protocol) {
    print("\nThe protocol level may support further options.\n");
    print("Specify the target filename to include those options.\n");
  }
}

std::string create_words(const Error& error, const std::string& path, const std::string& format) {
  if (error.code == ErrorCode::busy) {
    return open_words(error, path, true);
  }
  if (error.code == ErrorCode::out_of_range || error.os_errno == EFBIG) {
    return fmt::format("The image size is too large for file format '{}'{}", format,
                       format == "qcow2" ? " (try using a larger cluster size)" : "");
  }
  if (error.code == ErrorCode::not_found || error.code == ErrorCode::io ||
      error.code == ErrorCode::read_only) {
    return error.os_errno != 0
               ? fmt::format("Could not create '{}': {}", path, system_words(error.os_errno))
               : describe(error);
  }
  return short_words(error);
}

}  // namespace varve::tool
